"""What every turn of a math conversation was worth, replayed from the transcript."""

from collections.abc import Mapping, Sequence

from itpo_core.envs.acts import Question, SeveralQuestions, SmallTalk
from itpo_core.envs.asking_values import (
    ASK,
    CHAT,
    IRRELEVANT,
    REPEAT,
    SEVERAL,
    STEP,
    State,
    act_weights,
    best_value,
    idle_value,
    policy_advantage,
    policy_values,
    question_value,
)
from itpo_core.envs.math_language import (
    Act,
    Answer,
    Step,
    known_steps,
    parse,
    told_numbers,
)
from itpo_core.envs.math_problem import Problem, problem_of
from itpo_core.envs.math_school import School, school_of
from itpo_core.envs.math_values import ProblemGame, chances
from itpo_core.envs.personas import Persona, persona_of
from itpo_core.envs.scenarios import assistant_places
from itpo_core.types import Message, Scenario, TurnTruth

ANSWER, WRONG_STEP = "answer", "wrong_step"


class MathOracle:
    """Exact turn truth of one preset."""

    def __init__(self, preset: str) -> None:
        self._school = school_of(preset)

    def truths(self, scenario: Scenario, messages: Sequence[Message]) -> list[TurnTruth]:
        """One truth per assistant message. `success_if_final` is set where the turn answers.

        Raises ValueError when there are more assistant messages than a conversation can have.
        """
        problem, limit = problem_of(scenario, self._school), self._school.habits.max_turns
        places = assistant_places(scenario, messages, limit=limit)
        game = game_of(problem, self._school, persona=persona_of(scenario.persona_id))
        return [
            turn_truth(
                parse(messages[place].content, self._school.names),
                problem,
                game=game,
                told=told_numbers(messages[:place], problem.kind.quantities),
                turns_left=limit - turn,
            )
            for turn, place in enumerate(places)
        ]

    def policy_advantages(
        self, truths: Sequence[Sequence[TurnTruth]], *, personas: Sequence[str] | None = None
    ) -> list[list[float]]:
        """A^pi = Q^pi - V^pi of every turn under the average policy of these conversations.

        The policy is read as frequencies of asking, saying a step, answering and useless turns per state,
        over users of every persona who errs as often: how often he errs decides what an answer is worth.
        """
        met = [persona_of(name) for name in personas or ["default"] * len(truths)]
        values = {persona: self._values(persona, truths, met=met) for persona in set(met)}
        return [
            [
                policy_advantage(truth, values[persona], patience=self._school.manner_of(persona))
                for truth in conversation
            ]
            for conversation, persona in zip(truths, met, strict=True)
        ]

    def _values(
        self, persona: Persona, truths: Sequence[Sequence[TurnTruth]], *, met: Sequence[Persona]
    ) -> dict[State, float]:
        turns = [
            truth
            for conversation, other in zip(truths, met, strict=True)
            for truth in conversation
            if other.mistakes == persona.mistakes
        ]
        manner = self._school.manner_of(persona)
        return policy_values(act_weights(turns, manner), manner, answer_now=self._guess)

    def _guess(self, missing: int) -> float:
        """Of a policy of which nothing is known: it guesses every missing number."""
        return (1 / min(len(quantity.values) for quantity in self._school.quantities)) ** missing


def game_of(problem: Problem, school: School, *, persona: Persona) -> ProblemGame:
    """What can be known of a problem, asked of such a user."""
    return ProblemGame(
        problem.kind.operations,
        school.values_of(problem.kind),
        school.manner_of(persona),
        mistakes=persona.mistakes,
        sure=frozenset(problem.kind.quantities.index(name) for name in problem.volunteered),
    )


def turn_truth(
    act: Act, problem: Problem, *, game: ProblemGame, told: Mapping[str, int], turns_left: int
) -> TurnTruth:
    """The truth of one turn, given what the user has told before it."""
    known = tuple(told.get(name) for name in problem.kind.quantities)
    kind = kind_of(act, problem, told=told)
    final = chances(game, known).get(act.number, 0.0) if isinstance(act, Answer) else None
    return TurnTruth(
        kind=kind,
        missing=known.count(None),
        turns_left=turns_left,
        optimal_value=best_value(game, known, turns_left=turns_left),
        optimal_action_value=_worth(act, kind, problem=problem, game=game, told=told, turns_left=turns_left)
        if final is None
        else final,
        success_if_final=final,
    )


def _worth(
    act: Act, kind: str, *, problem: Problem, game: ProblemGame, told: Mapping[str, int], turns_left: int
) -> float:
    """Q* of an act that does not answer."""
    known = tuple(told.get(name) for name in problem.kind.quantities)
    if kind != ASK or not isinstance(act, Question):
        return idle_value(game, known, turns_left=turns_left, kind=kind)
    missing = [name for name in problem.kind.quantities if name not in told]
    options = game.questions(known)[missing.index(act.slot)]
    return question_value(game, known, turns_left=turns_left, told=options)


def kind_of(act: Act, problem: Problem, *, told: Mapping[str, int]) -> str:
    """The name of a turn: what the act does for a user with this problem who has told these numbers."""
    match act:
        case Answer():
            return ANSWER
        case Step(number):
            return STEP if number in known_steps(problem.kind, told) else WRONG_STEP
        case SeveralQuestions():
            return SEVERAL
        case SmallTalk():
            return CHAT
        case Question(name) if name in told:
            return REPEAT
        case Question(name):
            return ASK if name in problem.values else IRRELEVANT
