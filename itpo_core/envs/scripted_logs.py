"""Holding logged conversations of any domain with a scripted assistant: talk, finish, number."""

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Protocol

from itpo_core.envs.base import Businesses, Environment, Sent, TurnOracle
from itpo_core.envs.dice import pick
from itpo_core.identifiers import derive_seed, stable_id
from itpo_core.types import (
    Acceptance,
    Conversation,
    Failure,
    FinishReason,
    Message,
    Role,
    Scenario,
    Split,
    StopReason,
    Turn,
)


class Speak(Protocol):
    """What the assistant says next."""

    def __call__(self, scenario: Scenario, messages: Sequence[Message], *, random: Random) -> str:
        """Given what was said so far; `random` are its own dice."""
        ...


@dataclass(frozen=True, slots=True)
class ScriptedTalk:
    """Conversations of a scripted assistant with the users of a domain.

    With `businesses` somebody stands between both, and what the assistant says is a suggestion.
    """

    environment: Environment
    oracle: TurnOracle
    businesses: Businesses | None = None

    def conversations(self, speak: Speak, *, count: int, seed: int) -> list[Conversation]:
        """`count` conversations over seen scenarios; each depends on the seed and its place alone."""
        scenarios = self.environment.scenarios(Split.SEEN, count=count, seed=derive_seed(seed, "logs"))
        held = [
            self.held(scenario, speak, seed=derive_seed(seed, "log", index))
            for index, scenario in enumerate(scenarios)
        ]
        return numbered(held)

    def held(self, scenario: Scenario, speak: Speak, *, seed: int) -> Conversation:
        """One conversation to its end. Raises RuntimeError when a scripted speaker fails."""
        random = Random(derive_seed(seed, "assistant"))
        user = self.environment.user(scenario, seed=seed)
        send = self._desk(scenario, seed=seed)
        messages = list(scenario.opening)
        said: list[tuple[str, Sent]] = []
        while True:
            text = speak(scenario, messages, random=random)
            said.append((text, send(messages, text)))
            messages.append(Message(Role.ASSISTANT, said[-1][1].text))
            reply = user.reply(messages)
            if isinstance(reply, Failure):
                raise RuntimeError(f"scenario {scenario.scenario_id}: {reply.cause}")
            if reply.text is not None:
                messages.append(Message(Role.USER, reply.text))
            if reply.stop is not None:
                return self._finished(scenario, messages, said=said, seed=seed, stop=reply.stop)

    def answered(self, scenario: Scenario, answer: str, *, seed: int) -> Conversation:
        """A conversation of one assistant turn that ends it: what a direct request is."""
        messages = [*scenario.opening, Message(Role.ASSISTANT, answer)]
        said = [(answer, Sent(answer, Acceptance.AUTONOMOUS))]
        return self._finished(scenario, messages, said=said, seed=seed, stop=StopReason.COMPLETED)

    def _desk(self, scenario: Scenario, *, seed: int) -> Callable[[Sequence[Message], str], Sent]:
        """What becomes of his words: nobody is asked, or the business person of this conversation."""
        if self.businesses is None:
            return lambda messages, text: Sent(text, Acceptance.AUTONOMOUS)
        person = self.businesses.person(scenario, seed=derive_seed(seed, "business"))

        def send(messages: Sequence[Message], text: str) -> Sent:
            sent = person.send(messages, text)
            if isinstance(sent, Failure):
                raise RuntimeError(f"scenario {scenario.scenario_id}: {sent.cause}")
            return sent

        return send

    def _finished(
        self,
        scenario: Scenario,
        messages: Sequence[Message],
        *,
        said: Sequence[tuple[str, Sent]],
        seed: int,
        stop: StopReason,
    ) -> Conversation:
        return Conversation(
            conversation_id="",  # named by numbered
            group_id=stable_id(scenario.domain, "logs", scenario.scenario_id),
            sample_index=0,
            seed=seed,
            scenario=scenario,
            messages=tuple(messages),
            turns=self._turns(scenario, messages, said=said),
            outcome=self.environment.outcome(scenario, messages),
            stop=stop,
        )

    def _turns(
        self, scenario: Scenario, messages: Sequence[Message], *, said: Sequence[tuple[str, Sent]]
    ) -> tuple[Turn, ...]:
        truths = self.oracle.truths(scenario, messages)
        return tuple(
            Turn(
                turn_index=index,
                text=text,
                finish=FinishReason.END_OF_TURN,
                truth=truth,
                sent_text=None if sent.acceptance is Acceptance.AUTONOMOUS else sent.text,
                acceptance=sent.acceptance,
            )
            for index, ((text, sent), truth) in enumerate(zip(said, truths, strict=True))
        )


def to_ask_about(
    names: Sequence[str], *, told: Collection[str], remembers: float, random: Random
) -> Sequence[str]:
    """What the next question may be about: what was not told yet, or (forgetful) anything."""
    untold = [name for name in names if name not in told]
    return untold if untold and random.random() < remembers else names


def told_at_once(
    needed: Sequence[str], names: Sequence[str], *, extra: float, random: Random
) -> tuple[str, ...]:
    """What the user of a direct request names: all that is needed in any order, and sometimes one more."""
    told = sorted(needed, key=lambda _: random.random())
    if random.random() < extra:
        other = pick(random, [name for name in names if name not in needed])
        told.insert(int(random.random() * (len(told) + 1)), other)
    return tuple(told)


def numbered(conversations: Sequence[Conversation]) -> list[Conversation]:
    """With ids; those of one scenario are numbered by `sample_index` in their order."""
    met: Counter[str] = Counter()
    named = []
    for conversation in conversations:
        scenario = conversation.scenario
        name = stable_id(scenario.domain, scenario.scenario_id, conversation.seed, met[scenario.scenario_id])
        sample = met[scenario.scenario_id]
        named.append(replace(conversation, conversation_id=name, sample_index=sample))
        met[scenario.scenario_id] += 1
    return named
