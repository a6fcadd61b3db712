"""A scripted tutor, decent but not good; a first policy starts from his conversations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random

from itpo_core.envs.dice import pick
from itpo_core.envs.math_language import TUTOR_PHRASES, told_first, told_numbers, working
from itpo_core.envs.math_oracle import MathOracle
from itpo_core.envs.math_problem import Problem, draw_problem_of, first_message, problem_of, scenario_of
from itpo_core.envs.math_school import School, school_of
from itpo_core.envs.math_tutoring import MathEnvironment
from itpo_core.envs.scripted_logs import ScriptedTalk, numbered, to_ask_about
from itpo_core.identifiers import derive_seed
from itpo_core.types import Conversation, Message, Role, Scenario, Split


@dataclass(frozen=True, slots=True)
class TutorHabits:
    """How the scripted assistant chooses; all are chances."""

    answers: float = 0.9  # once he knows all numbers, or has one turn left
    answers_early: float = 0.03  # before that, guessing what he does not know
    chats: float = 0.15  # otherwise
    says_step: float = 0.1  # otherwise, when something can be reckoned already
    stays_with_problem: float = 0.5  # asks for a number of this kind of problem, when he asks
    remembers: float = 0.85  # asks only what he was not told, when he asks


class ScriptedTutor:
    """Logged conversations of one preset, over seen problems only.

    A conversation depends on the seed and its place alone. Those of one scenario share a group and are
    numbered by `sample_index` within the call.
    """

    def __init__(self, preset: str, habits: TutorHabits | None = None) -> None:
        self._school = school_of(preset)
        self._habits = TutorHabits() if habits is None else habits
        self._talk = ScriptedTalk(MathEnvironment(preset), MathOracle(preset))

    def conversations(self, *, count: int, seed: int) -> list[Conversation]:
        """Ordinary ones: the assistant asks, chats and answers, the user evades and may leave."""
        return self._talk.conversations(self.speak, count=count, seed=seed)

    def direct_requests(self, *, count: int, seed: int) -> list[Conversation]:
        """Short ones: the user says all numbers at once in any order, the assistant answers rightly."""
        return numbered([self._request(derive_seed(seed, "request", index)) for index in range(count)])

    def speak(self, scenario: Scenario, messages: Sequence[Message], *, random: Random) -> str:
        """What he says next: he asks, chats or answers, or says a step."""
        problem = problem_of(scenario, self._school)
        told = told_numbers(messages, problem.kind.quantities)
        spoken = sum(message.role is Role.ASSISTANT for message in messages)
        is_time = len(told) == len(problem.values) or spoken == self._school.habits.max_turns - 1
        if random.random() < (self._habits.answers if is_time else self._habits.answers_early):
            return answer(problem, guessed(problem, told, school=self._school, random=random), random=random)
        if random.random() < self._habits.chats:
            return pick(random, TUTOR_PHRASES.small_talk)
        first = told_first(problem.kind, told)
        if len(first) > 1 and random.random() < self._habits.says_step:
            return pick(random, TUTOR_PHRASES.step).format(working=working(problem.kind, first))
        return question(problem, self._school, habits=self._habits, told=told, random=random)

    def _request(self, seed: int) -> Conversation:
        random = Random(derive_seed(seed, "user"))
        problem = draw_problem_of(self._school, Split.SEEN, random=random)
        told = tuple(sorted(problem.kind.quantities, key=lambda _: random.random()))
        problem = replace(problem, volunteered=told)
        opening = first_message(problem, self._school, random=random)
        scenario = scenario_of(problem, self._school, opening=opening)
        return self._talk.answered(scenario, answer(problem, problem.numbers, random=random), seed=seed)


def answer(problem: Problem, numbers: Sequence[int], *, random: Random) -> str:
    """The final answer for these numbers, with its working."""
    return pick(random, TUTOR_PHRASES.answer).format(working=working(problem.kind, numbers))


def guessed(problem: Problem, told: Mapping[str, int], *, school: School, random: Random) -> list[int]:
    """All numbers in order: those told, and any that it could be for the others."""
    return [
        told[name] if name in told else pick(random, options)
        for name, options in zip(problem.kind.quantities, school.values_of(problem.kind), strict=True)
    ]


def question(
    problem: Problem, school: School, *, habits: TutorHabits, told: Mapping[str, int], random: Random
) -> str:
    """A question about one quantity, of this kind of problem or (absent-minded) any; told already or not."""
    stays = random.random() < habits.stays_with_problem
    names = problem.kind.quantities if stays else school.names
    choices = to_ask_about(names, told=told, remembers=habits.remembers, random=random)
    return pick(random, TUTOR_PHRASES.question).format(name=pick(random, choices))
