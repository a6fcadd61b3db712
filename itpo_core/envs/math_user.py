"""A simulated user with a math problem: tells numbers when asked, evades, errs, and may leave."""

from collections.abc import Mapping, Sequence
from random import Random

from itpo_core.envs.acts import Question, SeveralQuestions, SmallTalk
from itpo_core.envs.base import Reply
from itpo_core.envs.dice import pick
from itpo_core.envs.math_language import (
    Act,
    Answer,
    Step,
    known_steps,
    parse,
    told_numbers,
)
from itpo_core.envs.math_problem import Problem, fact
from itpo_core.envs.math_school import School
from itpo_core.envs.personas import Persona
from itpo_core.envs.replies import not_spoken_to, rambled, said_value, stop_after
from itpo_core.types import Failure, Message, StopReason


class MathUser:
    """One user of one conversation, with random numbers of his own.

    What he has told already he reads off the transcript, so only the dice are state. He believes what he has
    told: a number told by mistake stays, and steps are right when they follow from it.
    """

    def __init__(self, problem: Problem, school: School, *, persona: Persona, seed: int) -> None:
        self._problem = problem
        self._school = school
        self._persona = persona
        self._random = Random(seed)

    def reply(self, messages: Sequence[Message]) -> Reply | Failure:
        """Answer the last message, which must be the assistant's; otherwise a Failure says so."""
        failure = not_spoken_to(messages)
        if failure is not None:
            return failure
        act = parse(messages[-1].content, self._school.names)
        if isinstance(act, Answer):
            return Reply(None, StopReason.COMPLETED)
        told = told_numbers(messages, self._problem.kind.quantities)
        text = self._answer(act, told)
        stop = stop_after(
            messages,
            is_useless=self._is_useless(act, told),
            leaves=self._persona.leaves,
            max_turns=self._school.habits.max_turns,
            random=self._random,
        )
        return Reply(self._rambled(text)) if stop is None else stop

    def _is_useless(self, act: Act, told: Mapping[str, int]) -> bool:
        match act:
            case Question(name):
                return name in told or name not in self._problem.values
            case Step(number):
                return number not in known_steps(self._problem.kind, told)
            case _:
                return True

    def _answer(self, act: Act, told: Mapping[str, int]) -> str:
        phrases = self._school.phrases
        match act:
            case Question(name) if name in told:
                return pick(self._random, phrases.told_before)
            case Question(name) if name in self._problem.values:
                return self._fact_or_evasion(name)
            case Question():
                return pick(self._random, phrases.not_there)
            case SeveralQuestions():
                return pick(self._random, phrases.several)
            case Step(number):
                is_right = number in known_steps(self._problem.kind, told)
                return pick(self._random, phrases.right_step if is_right else phrases.wrong_step)
            case SmallTalk() | Answer():
                return pick(self._random, phrases.small_talk)

    def _fact_or_evasion(self, name: str) -> str:
        if self._random.random() < self._persona.evades:
            return pick(self._random, self._school.phrases.evasion)
        return fact(self._number(name), name, school=self._school, random=self._random)

    def _number(self, name: str) -> int:
        """The right one, or by mistake another that it could be."""
        (options,) = (each.values for each in self._school.quantities if each.name == name)
        mistakes = self._persona.mistakes
        return said_value(self._problem.values[name], options, mistakes=mistakes, random=self._random)

    def _rambled(self, text: str) -> str:
        phrases = self._school.phrases.ramble
        return rambled(text, phrases, chance=self._persona.rambles, random=self._random)
