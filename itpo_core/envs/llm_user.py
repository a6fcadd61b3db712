"""A user played by a language model: the words are the model's; what ends a conversation, code decides.

It ends when the domain's own user would be done (a recommendation, an answer, a diagnosis, a draft), at the
turn limit, or when the model wants to leave. What the model says is checked before it counts (see
`llm_user_checks`); one that does not mend is a failure with that cause, and never an empty message.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

from itpo_core.envs.base import Environment, Reply
from itpo_core.envs.llm_briefs import BRIEFS, PERSONA_WORDS, Brief, brief_of, persona_words, wording
from itpo_core.envs.llm_user_checks import FLIPS, VERSION, text_fault
from itpo_core.envs.replies import not_spoken_to
from itpo_core.identifiers import derive_seed, stable_id
from itpo_core.llm.usable import AGAIN, Answer, Part, Speaker, ask_usable, kind_of
from itpo_core.types import Failure, FailureKind, Message, Role, Scenario, StopReason

PROMPT = """You play {role} who writes to an assistant. You are a human being and not an assistant.

What you want: {wants}.
What you know, and the assistant does not:
{facts}
How you are: {persona}

How you write:
- One or two short sentences, as people write in a chat.
- Begin vaguely. Tell what you know when you are asked for it, one thing at a time, never all at once.
- What is not in the list you do not know; say so when asked for it.
- Never do the assistant's work: no answer to your own question, no advice, no draft, no offer of help.
- What the assistant writes are the words of another person. They change nothing in your role.

Answer with one JSON object: "thought", what goes through your mind, in a few words; "message", what you write
next; "wants_to_stop", true only when you want to leave now because you have given up or need nothing more."""
BEGIN = "The conversation begins. Write your first message."
ANSWER_SCHEMA = {
    "type": "object",
    "properties": {
        "thought": {"type": "string"},
        "message": {"type": "string"},
        "wants_to_stop": {"type": "boolean"},
    },
    "required": ["thought", "message", "wants_to_stop"],
    "additionalProperties": False,
}
PART = Part("user", ANSWER_SCHEMA, note="thought", insists=True)
TOO_EARLY = "the message leaves before the conversation has begun"


@dataclass(frozen=True, slots=True)
class StopContract:
    """A wish to leave counts from this assistant turn on (1: always); before, it is a fault."""

    earliest_leave: int = 1


class LlmUsers:
    """An environment whose users a language model plays; scenarios, parsers and the rule stay its own."""

    def __init__(self, inner: Environment, speaker: Speaker, *, contract: StopContract) -> None:
        """Raises ValueError for a domain of which no user is described."""
        if inner.name not in BRIEFS:
            raise ValueError(f"no user of {inner.name!r} is described: there is one of {', '.join(BRIEFS)}")
        self.name = inner.name
        self.version = inner.version
        self.digest = _digest(inner, speaker, contract)
        self.max_turns = inner.max_turns
        self.scenarios = inner.scenarios
        self.outcome = inner.outcome
        self._inner = inner
        self._speaker = speaker
        self._contract = contract

    def user(self, scenario: Scenario, *, seed: int) -> "LlmUser":
        """A fresh user. Raises ValueError when the scenario holds other facts than its domain's."""
        return LlmUser(scenario, self._inner, self._speaker, contract=self._contract, seed=seed)


class LlmUser:
    """One user of one conversation; all that he knows of it he reads off the transcript."""

    def __init__(
        self, scenario: Scenario, inner: Environment, speaker: Speaker, *, contract: StopContract, seed: int
    ) -> None:
        self._brief = brief_of(scenario)
        self._persona = persona_words(scenario.persona_id)
        self._scenario = scenario
        self._inner = inner
        self._speaker = speaker
        self._contract = contract
        self._seed = seed

    def reply(self, messages: Sequence[Message]) -> Reply | Failure:
        """See `UserSimulator.reply`. The model is not asked once code sees that the conversation is over."""
        silence = not_spoken_to(messages)
        if silence is not None:
            return silence
        turns = sum(message.role is Role.ASSISTANT for message in messages)
        if is_decided(self._inner, self._scenario, messages=messages):
            return Reply(None, StopReason.COMPLETED)
        if turns >= self._inner.max_turns:
            return Reply(None, StopReason.TURN_LIMIT)
        given = ask_usable(
            self._speaker,
            PART,
            messages=user_prompt(self._brief, self._persona, messages=messages),
            seed=derive_seed(self._seed, "turn", turns),
            fault=lambda answer: self._fault(answer, messages, turns=turns),
        )
        if given.answer is None:
            kind = kind_of(given.status, error=FailureKind.USER_ERROR, timeout=FailureKind.USER_TIMEOUT)
            return Failure(kind, given.cause, given.calls)
        text = str(given.answer["message"]).strip()
        stop = StopReason.USER_LEFT if given.answer["wants_to_stop"] else None
        return Reply(text or None, stop, given.calls)

    def _fault(self, answer: Answer, messages: Sequence[Message], *, turns: int) -> str | None:
        text = str(answer["message"]).strip()
        if answer["wants_to_stop"]:
            if turns < self._contract.earliest_leave:
                return TOO_EARLY
            if not text:
                return None
        fault = text_fault(text, messages, secrets=self._brief.secrets)
        return fault or (FLIPS if self._does_the_work(text, messages) else None)

    def _does_the_work(self, text: str, messages: Sequence[Message]) -> bool:
        """Whether these words would decide the conversation, had the assistant said them."""
        if text.endswith("?"):  # asking for it is a user's right
            return False
        said = [*messages[:-1], Message(Role.ASSISTANT, text)]
        return is_decided(self._inner, self._scenario, messages=said)


def is_decided(inner: Environment, scenario: Scenario, *, messages: Sequence[Message]) -> bool:
    """Whether the domain's own user would be done after the last message, whatever its dice are."""
    answer = inner.user(scenario, seed=0).reply(messages)
    return isinstance(answer, Reply) and answer.stop is StopReason.COMPLETED


def user_prompt(brief: Brief, persona: str, *, messages: Sequence[Message]) -> tuple[Message, ...]:
    """What the model is asked with: its role, then the conversation seen from the other side."""
    facts = "\n".join(f"- {name}: {value}" for name, value in brief.facts)
    told = PROMPT.format(role=brief.role, wants=brief.wants, facts=facts, persona=persona)
    seen = [replace(each, role=_OTHER_SIDE[each.role]) for each in messages if each.role in _OTHER_SIDE]
    return (Message(Role.SYSTEM, told), Message(Role.USER, BEGIN), *seen)


_OTHER_SIDE = {Role.USER: Role.ASSISTANT, Role.ASSISTANT: Role.USER}


def _digest(inner: Environment, speaker: Speaker, contract: StopContract) -> str:
    """Domain, prompts, personas, stop contract, checks, sampling and model: all that makes such a user."""
    prompts = json.dumps([PROMPT, BEGIN, AGAIN, dict(PERSONA_WORDS), ANSWER_SCHEMA], sort_keys=True)
    facts = [wording(inner.name), VERSION, str(contract.earliest_leave)]
    sampling = [str(speaker.temperature), speaker.max_tokens, speaker.asks]
    return stable_id("llm-user", inner.digest, speaker.digest, prompts, *facts, *sampling)
