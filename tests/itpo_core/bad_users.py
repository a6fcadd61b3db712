"""Simulated users with one planted fault each, around any faithful one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from itpo_core.envs.base import Environment, Reply, UserSimulator
from itpo_core.envs.dice import pick
from itpo_core.envs.user_acts import Acts
from itpo_core.fidelity_talks import words_of
from itpo_core.identifiers import derive_seed
from itpo_core.types import Failure, Message, Outcome, Role, Scenario, Split, StopReason

# What a bad user makes of the faithful answer, given what was said: a function, picked from a table.
Spoil = Callable[[Sequence[Message], Reply], Reply]
# What a user has told so far, in words that somebody may repeat to him.
Facts = Callable[[Sequence[Message]], list[str]]
LIKES = "nice , thanks for asking ."
STAYS, MISTYPED = 3, 0.06  # answers like anybody; share of words
AGREEING = frozenset({"fact", "has", "right_step", "small_talk"})


@dataclass(frozen=True, slots=True)
class SpoiltUser:
    """One user whose answers are spoilt; the turn limit ends his conversations all the same."""

    faithful: UserSimulator
    spoil: Spoil
    max_turns: int

    def reply(self, messages: Sequence[Message]) -> Reply | Failure:
        reply = self.faithful.reply(messages)
        if isinstance(reply, Failure):
            return reply
        spoilt = self.spoil(messages, reply)
        turns = sum(each.role is Role.ASSISTANT for each in messages)
        is_cut = spoilt.stop is None and turns >= self.max_turns
        return Reply(None, StopReason.TURN_LIMIT) if is_cut else spoilt


class SpoiltEnvironment:
    """An environment all of whose users have the same fault."""

    def __init__(self, faithful: Environment, spoil: Spoil) -> None:
        self.name, self.version, self.digest = faithful.name, faithful.version, faithful.digest
        self.max_turns = faithful.max_turns
        self._faithful = faithful
        self._spoil = spoil

    def scenarios(self, split: Split, *, count: int, seed: int) -> list[Scenario]:
        return self._faithful.scenarios(split, count=count, seed=seed)

    def user(self, scenario: Scenario, *, seed: int) -> SpoiltUser:
        return SpoiltUser(self._faithful.user(scenario, seed=seed), self._spoil, self.max_turns)

    def outcome(self, scenario: Scenario, messages: Sequence[Message]) -> Outcome:
        return self._faithful.outcome(scenario, messages)


def too_agreeable(acts: Acts) -> Spoil:
    """Likes whatever he hears instead of refusing or denying, and never walks away."""

    def spoil(messages: Sequence[Message], reply: Reply) -> Reply:
        refuses = reply.text is not None and acts(reply.text) not in AGREEING
        return Reply(LIKES) if refuses or reply.stop is StopReason.USER_LEFT else reply

    return spoil


def never_stops(messages: Sequence[Message], reply: Reply) -> Reply:
    """Goes on talking until the turn limit."""
    is_chosen = reply.stop in (StopReason.COMPLETED, StopReason.USER_LEFT)
    return Reply("ok , can we go on ?") if is_chosen else reply


def stops_on_confirm(facts: Facts) -> Spoil:
    """Is done as soon as a question repeats a fact that he has told."""

    def spoil(messages: Sequence[Message], reply: Reply) -> Reply:
        heard = messages[-1].content
        repeats = "?" in heard and any(fact in heard for fact in facts(messages))
        return Reply(None, StopReason.COMPLETED) if repeats else reply

    return spoil


def repeats_its_opening(messages: Sequence[Message], reply: Reply) -> Reply:
    """Says his first message again every other time."""
    spoken = sum(each.role is Role.USER for each in messages)
    return Reply(messages[0].content) if reply.stop is None and spoken % 2 else reply


def answers_as_the_assistant(asks: str) -> Spoil:
    """Asks what an assistant would ask."""
    return lambda messages, reply: reply if reply.text is None else Reply(asks, reply.stop)


def turns_terse(messages: Sequence[Message], reply: Reply) -> Reply:
    """Answers like anybody three times, and with a single word from then on."""
    turns = sum(each.role is Role.ASSISTANT for each in messages)
    return reply if turns <= STAYS else is_terse(messages, reply)


def is_terse(messages: Sequence[Message], reply: Reply) -> Reply:
    """Says the last word of what he would have said."""
    return reply if reply.text is None else Reply(words_of(reply.text)[-1], reply.stop)


def mistypes(share: float, *, seed: int = 0) -> Spoil:
    """Mistypes this share of his words of three letters and more, anywhere in the word."""

    def spoil(messages: Sequence[Message], reply: Reply) -> Reply:
        said = [each.content for each in messages]
        random = Random(derive_seed(seed, "slips", *said, reply.text or ""))
        words = (reply.text or "").split(" ")
        typed = [
            slipped(word, random) if len(word) >= 3 and word.isalpha() and random.random() < share else word
            for word in words
        ]
        return reply if reply.text is None else Reply(" ".join(typed), reply.stop)

    return spoil


def slipped(word: str, random: Random) -> str:
    """The word with a letter left out, doubled, changed with the next one, or another in its place."""
    at = int(random.random() * (len(word) - 1))
    before, letter, following, after = word[:at], word[at], word[at + 1], word[at + 2 :]
    other = pick(random, "abcdefghijklmnopqrstuvwxyz")
    typed = pick(random, [following, 2 * letter + following, following + letter, other + following])
    return f"{before}{typed}{after}"


FAULTS = (
    "too agreeable",
    "never stops",
    "stops on confirm",
    "repeats its opening",
    "answers as the assistant",
    "turns terse",
    "mistypes too often",
)


def spoil_of(fault: str, *, acts: Acts, facts: Facts, asks: str) -> Spoil:
    """The user with this fault, of a domain with these kinds of messages, told facts and questions."""
    spoils: dict[str, Spoil] = {
        "too agreeable": too_agreeable(acts),
        "never stops": never_stops,
        "stops on confirm": stops_on_confirm(facts),
        "repeats its opening": repeats_its_opening,
        "answers as the assistant": answers_as_the_assistant(asks),
        "turns terse": turns_terse,
        "mistypes too often": mistypes(MISTYPED),
    }
    return spoils[fault]
