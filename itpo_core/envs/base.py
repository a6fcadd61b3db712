"""What can be swapped about a domain: environment, users, business, judge, turn truth, scripted logs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from itpo_core.types import (
    Acceptance,
    Conversation,
    Failure,
    Message,
    ModelCall,
    Outcome,
    Scenario,
    Split,
    StopReason,
    TurnTruth,
)


@dataclass(frozen=True, slots=True)
class Reply:
    """A user's answer. `stop` is set when the conversation ends here; `text` may then be None (silence).

    `calls` are those of a language model that it took.
    """

    text: str | None
    stop: StopReason | None = None
    calls: tuple[ModelCall, ...] = ()


class UserSimulator(Protocol):
    """One user of one conversation: single-use, no reset."""

    def reply(self, messages: Sequence[Message]) -> Reply | Failure:
        """Answer the last assistant message. A user that breaks returns a Failure, it does not raise."""
        ...


@dataclass(frozen=True, slots=True)
class Sent:
    """What a business person sent to the user, and what became of the suggestion."""

    text: str
    acceptance: Acceptance
    calls: tuple[ModelCall, ...] = ()


class Business(Protocol):
    """A person between the policy and one user, who sends what he thinks right: single-use, no reset."""

    def send(self, messages: Sequence[Message], suggestion: str) -> Sent | Failure:
        """Answer the user, given what both have said so far and what the policy suggests to say now."""
        ...


class Businesses(Protocol):
    """Where business people come from; `digest` identifies their habits in every row."""

    digest: str

    def person(self, scenario: Scenario, *, seed: int) -> Business:
        """A fresh person for one conversation; the same seed makes the same choices."""
        ...


class Judge(Protocol):
    """Scores one finished conversation: single-use, no reset."""

    def score(self, messages: Sequence[Message]) -> Outcome | Failure:
        """The outcome, Unscored with the reason, or a Failure; a judge that fails never yields zero."""
        ...


class Judges(Protocol):
    """Where judges come from that stand in for a domain's own rule; `digest` identifies them in every row."""

    digest: str

    def judge(self, scenario: Scenario, *, seed: int) -> Judge:
        """A judge for one conversation; the same seed asks the same questions."""
        ...


class Environment(Protocol):
    """A domain: its scenarios, their users, and how a finished conversation is scored.

    `name`, `version` and `digest` identify the simulator in every row that it produced; `max_turns` is the
    limit on assistant turns.
    """

    name: str
    version: str
    digest: str
    max_turns: int

    def scenarios(self, split: Split, *, count: int, seed: int) -> list[Scenario]:
        """`count` scenarios of the split; the same arguments give the same list."""
        ...

    def user(self, scenario: Scenario, *, seed: int) -> UserSimulator:
        """A fresh user; the same seed makes the same choices."""
        ...

    def outcome(self, scenario: Scenario, messages: Sequence[Message]) -> Outcome:
        """The success of a finished conversation, from what was said alone."""
        ...


class TurnOracle(Protocol):
    """Exact turn contributions of a simulated domain; a domain without one has none (None at assembly)."""

    def truths(self, scenario: Scenario, messages: Sequence[Message]) -> list[TurnTruth]:
        """One truth per assistant message, replayed from what was said; none where nothing can be known."""
        ...

    def policy_advantages(
        self, truths: Sequence[Sequence[TurnTruth]], *, personas: Sequence[str] | None = None
    ) -> list[list[float]]:
        """Advantage of every turn under the policy that held these conversations (user luck removed).

        `personas` are the users' persona ids by conversation; without them all are like everybody.
        """
        ...


class LoggingPolicy(Protocol):
    """A scripted assistant that produces logged conversations to start from."""

    def conversations(self, *, count: int, seed: int) -> list[Conversation]:
        """Complete scored conversations over seen scenarios, without token ids."""
        ...

    def direct_requests(self, *, count: int, seed: int) -> list[Conversation]:
        """Short ones over seen scenarios whose user says all at once; they teach a policy to copy facts."""
        ...
