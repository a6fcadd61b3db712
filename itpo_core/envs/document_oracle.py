"""What each assistant turn was really worth, replayed from what was said."""

from collections.abc import Sequence

from itpo_core.envs.acts import Question
from itpo_core.envs.asking_values import (
    ASK,
    State,
    act_weights,
    best_value,
    idle_value,
    policy_advantage,
    policy_values,
    question_value,
)
from itpo_core.envs.document_article import Article, article_of
from itpo_core.envs.document_language import Act, Draft, parse, told_facts
from itpo_core.envs.document_press import press_for, press_of
from itpo_core.envs.document_values import Belief, Known, Writing, expected_score, mean_answer_now
from itpo_core.envs.sales_oracle import kind_of
from itpo_core.envs.scenarios import assistant_places
from itpo_core.types import Message, Scenario, TurnTruth

DRAFTS = "draft"


class DocumentOracle:
    """Exact turn truth of one preset.

    V* is that of the best assistant who drafts in the scripted form, for any facts told and any guess or gap
    where none was told. A draft is taken at its own expected score; one in other words may be worth a little
    more than V*, when it sits between the wordings that users have in mind.
    """

    def __init__(self, preset: str) -> None:
        self._press = press_of(preset)

    def truths(self, scenario: Scenario, messages: Sequence[Message]) -> list[TurnTruth]:
        """One truth per assistant message. `success_if_final` is set where the turn drafts.

        Raises ValueError when there are more assistant messages than a conversation can have.
        """
        article, limit = article_of(scenario, self._press), self._press.habits.max_turns
        game = Writing(self._press.preset, article.topic, scenario.persona_id)
        places = assistant_places(scenario, messages, limit=limit)
        return [
            turn_truth(
                parse(self._press, messages[place].content),
                game,
                article=article,
                told=told_facts(messages[:place], self._press),
                turns_left=limit - turn,
            )
            for turn, place in enumerate(places)
        ]

    def policy_advantages(
        self, truths: Sequence[Sequence[TurnTruth]], *, personas: Sequence[str] | None = None
    ) -> list[list[float]]:
        """A^pi = Q^pi - V^pi of every turn under the average policy of these conversations.

        The policy is read as frequencies of asking, drafting and useless turns by missing facts and turns
        left, over all topics and personas; drafts count at their mean expected score there. A user's answers
        are averaged with the exact chances of his own persona.
        """
        turns = [truth for conversation in truths for truth in conversation]
        met = ["default"] * len(truths) if personas is None else personas
        habits = {name: press_for(self._press, name).habits for name in set(met)}
        values = {
            name: policy_values(act_weights(turns, own), own, answer_now=self._guess)
            for name, own in habits.items()
        }
        return [
            [policy_advantage(truth, values[name], patience=habits[name]) for truth in conversation]
            for conversation, name in zip(truths, met, strict=True)
        ]

    def _guess(self, missing: int) -> float:
        return mean_answer_now(self._press.preset, missing)


def turn_truth(
    act: Act, game: Writing, *, article: Article, told: dict[str, str], turns_left: int
) -> TurnTruth:
    """The truth of one turn, given what the user has told before it."""
    known = known_of(game, article=article, told=told)
    state = State(sum(belief.value is None for belief in known), turns_left)
    kind = _kind(act, game, told=told)
    final = expected_score(game, known, draft=act.text) if isinstance(act, Draft) else None
    return TurnTruth(
        kind=kind,
        missing=state.missing,
        turns_left=state.turns_left,
        optimal_value=best_value(game, known, turns_left=turns_left),
        optimal_action_value=_action_value(act, game, known=known, turns_left=turns_left, kind=kind)
        if final is None
        else final,
        success_if_final=final,
    )


def known_of(game: Writing, *, article: Article, told: dict[str, str]) -> Known:
    """What the user's words say of each fact; what he said at once, before any mistake, is beyond doubt."""
    makes_mistakes = game.patience.persona.mistakes > 0
    return tuple(
        Belief(told.get(slot.name), makes_mistakes and slot.name in told.keys() - set(article.volunteered))
        for slot in game.needs
    )


def _kind(act: Act, game: Writing, *, told: dict[str, str]) -> str:
    if isinstance(act, Draft):
        return DRAFTS
    return kind_of(act, needed=frozenset(slot.name for slot in game.needs), told=frozenset(told))


def _action_value(act: Act, game: Writing, *, known: Known, turns_left: int, kind: str) -> float:
    if kind != ASK or not isinstance(act, Question):
        return idle_value(game, known, turns_left=turns_left, kind=kind)
    place = [slot.name for slot in game.needs].index(act.slot)
    return question_value(game, known, turns_left=turns_left, told=game.told(known, place))
