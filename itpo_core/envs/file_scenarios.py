"""Scenarios of the user's own files as an environment: who answers is a language model, what ends, is code.

Free language has no grammar that would make a truth, so that there are no rule-based users, turn truths or
scripted logs here. What an assistant has to write to be done he is told in a system message.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from types import MappingProxyType

from itpo_core.envs.base import Reply
from itpo_core.envs.document_article import DOMAIN as DOCUMENT
from itpo_core.envs.document_articles import article_outcome, read_articles
from itpo_core.envs.document_drafts import has_draft
from itpo_core.envs.math_answers import same_answer, stated_answer
from itpo_core.envs.math_problem import DOMAIN as MATH
from itpo_core.envs.math_problems import problem_answer, read_problems
from itpo_core.envs.medical_cases import has_diagnosis, read_cases
from itpo_core.envs.medical_illness import DOMAIN as MEDICAL
from itpo_core.identifiers import stable_id
from itpo_core.types import (
    Failure,
    FailureKind,
    Message,
    Outcome,
    Role,
    Scenario,
    Scored,
    Split,
    StopReason,
    Unscored,
)

VERSION = "file-1"  # raised when a rule of the code here changes
NumberedRow = tuple[int, Mapping[str, object]]
Rule = Callable[[Scenario, Sequence[Message]], Outcome]


@dataclass(frozen=True, slots=True)
class FileKind:
    """How files of one domain are read and their conversations ended.

    `read` makes scenarios of numbered rows; `instruction` tells the assistant what ends a conversation, which
    `is_done` finds in his text. `rule` scores without a judge; None where only a judge can.
    """

    domain: str
    read: Callable[[Iterable[NumberedRow]], list[Scenario]]
    instruction: str
    is_done: Callable[[str], bool]
    rule: Rule | None


class TooFewScenarios(ValueError):
    """A file has fewer scenarios of a split than are asked for; none is given twice."""


class FileEnvironment:
    """The scenarios of one file under the turn limit that the configuration gives (see `Environment`)."""

    def __init__(self, kind: FileKind, scenarios: Sequence[Scenario], *, max_turns: int) -> None:
        self.name = kind.domain
        self.version = VERSION
        self.max_turns = max_turns
        self._kind = kind
        self._pools = {
            split: [instructed(each, kind.instruction) for each in scenarios if each.split is split]
            for split in Split
        }
        told = [text for each in scenarios for text in _told(each)]
        self.digest = stable_id("file-scenarios", VERSION, kind.domain, kind.instruction, max_turns, *told)

    def scenarios(self, split: Split, *, count: int, seed: int) -> list[Scenario]:
        """`count` different scenarios of the split in an order that the seed decides; a longer list from the
        same seed begins with the shorter one. Raises TooFewScenarios where the file has not so many."""
        pool = list(self._pools[split])
        if count > len(pool):
            raise TooFewScenarios(f"the file has {len(pool)} {split} scenarios, {count} are asked for")
        Random(seed).shuffle(pool)
        return pool[:count]

    def count(self, split: Split) -> int:
        """How many scenarios of the split there are."""
        return len(self._pools[split])

    def user(self, scenario: Scenario, *, seed: int) -> "ListeningUser":
        """A user who only knows when a conversation is over; what is said before, a language model says."""
        return ListeningUser(self._kind.is_done, max_turns=self.max_turns)

    def outcome(self, scenario: Scenario, messages: Sequence[Message]) -> Outcome:
        """What the domain's rule says of free text within the turn limit; Unscored where it has none."""
        if self._kind.rule is None:
            return Unscored(f"no rule scores free text of {self.name}: it takes a judge")
        spoken = [place for place, each in enumerate(messages) if each.role is Role.ASSISTANT]
        if not spoken:
            return Unscored("the assistant said nothing")
        last = spoken[: self.max_turns][-1]
        return self._kind.rule(scenario, messages[: last + 1])


class ListeningUser:
    """Code alone: a text that ends a conversation ends it, whatever anybody makes of it."""

    def __init__(self, is_done: Callable[[str], bool], *, max_turns: int) -> None:
        self._is_done = is_done
        self._max_turns = max_turns

    def reply(self, messages: Sequence[Message]) -> Reply | Failure:
        """See `UserSimulator.reply`. He has no words of his own: where some are needed, he breaks."""
        if not messages or messages[-1].role is not Role.ASSISTANT:
            return Failure(FailureKind.USER_ERROR, "a user answers an assistant, who has not spoken last")
        if self._is_done(messages[-1].content):
            return Reply(None, StopReason.COMPLETED)
        if sum(message.role is Role.ASSISTANT for message in messages) >= self._max_turns:
            return Reply(None, StopReason.TURN_LIMIT)
        return Failure(
            FailureKind.USER_ERROR,
            "scenarios of a file have no rule-based user; let a language model play the users",
        )


def instructed(scenario: Scenario, instruction: str) -> Scenario:
    """The scenario with what ends it told to the assistant, behind a system message of its own if any."""
    first, *others = scenario.opening
    if first.role is not Role.SYSTEM:
        return replace(scenario, opening=(Message(Role.SYSTEM, instruction), *scenario.opening))
    told = Message(Role.SYSTEM, f"{first.content}\n\n{instruction}")
    return replace(scenario, opening=(told, *others))


def problem_outcome(scenario: Scenario, messages: Sequence[Message]) -> Outcome:
    """1 when the first answer that the assistant states is the problem's, else 0; 0 too without one."""
    stated = (stated_answer(each.content) for each in messages if each.role is Role.ASSISTANT)
    given = next((answer for answer in stated if answer is not None), None)
    return Scored(float(given is not None and same_answer(given, problem_answer(scenario))))


def _told(scenario: Scenario) -> list[str]:
    said = [part for message in scenario.opening for part in (message.role.value, message.content)]
    return [scenario.scenario_id, scenario.split.value, scenario.latent_json, *said]


FILE_KINDS: Mapping[str, FileKind] = MappingProxyType(
    {
        MATH: FileKind(
            MATH,
            read_problems,
            "Help the user with a problem. He tells what he knows when you ask for it. Once you know enough, "
            "end with `answer:` and the final answer.",
            lambda text: stated_answer(text) is not None,
            problem_outcome,
        ),
        DOCUMENT: FileKind(
            DOCUMENT,
            read_articles,
            "Help the user to write a text. He tells what he wants when you ask for it. Once you know "
            "enough, write `draft:` and behind it nothing but the text.",
            has_draft,
            article_outcome,
        ),
        MEDICAL: FileKind(
            MEDICAL,
            read_cases,
            "Help the patient. He tells what he feels when you ask for it. Once you know enough, end with "
            "`diagnosis:` and what he has, then `recommendation:` and what he should do.",
            has_diagnosis,
            None,
        ),
    }
)
