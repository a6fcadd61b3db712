"""What every turn of a sales conversation was worth, replayed from the transcript."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from itpo_core.envs.acts import Question, SeveralQuestions, SmallTalk
from itpo_core.envs.asking_values import (
    ASK,
    CHAT,
    IRRELEVANT,
    REPEAT,
    SEVERAL,
    State,
    act_weights,
    gains,
    policy_advantage,
    policy_values,
)
from itpo_core.envs.sales_language import (
    CERTAIN,
    Act,
    Doubt,
    Recommendation,
    as_told,
    parse_in,
    success_chance,
    told_slots,
)
from itpo_core.envs.sales_need import Need, need_of
from itpo_core.envs.sales_shop import Habits, Shop, shop_for, shop_of
from itpo_core.envs.sales_values import (
    RECOMMEND,
    ShopGame,
    guess_value,
    optimal_action_value,
    optimal_value,
    truth_chance,
)
from itpo_core.envs.scenarios import assistant_places
from itpo_core.types import Message, Role, Scenario, TurnTruth


class SalesOracle:
    """Exact turn truth of one preset."""

    def __init__(self, preset: str) -> None:
        self._shop = shop_of(preset)

    def truths(self, scenario: Scenario, messages: Sequence[Message]) -> list[TurnTruth]:
        """One truth per assistant message. `success_if_final` is set where the turn recommends.

        Raises ValueError when there are more assistant messages than a conversation can have.
        """
        shop = shop_for(self._shop, scenario.persona_id)
        need, limit = need_of(scenario, shop), shop.habits.max_turns
        if shop.habits.mistakes:
            need = as_told(need, messages, slots=shop.slots)
        places = assistant_places(scenario, messages, limit=limit)
        return [
            turn_truth(
                parse_in(shop, messages[place].content),
                need,
                shop=shop,
                told=told_slots(messages[:place], shop.slots),
                turns_left=limit - turn,
                doubt=doubt_of(messages[:place], shop),
            )
            for turn, place in enumerate(places)
        ]

    def policy_advantages(
        self, truths: Sequence[Sequence[TurnTruth]], *, personas: Sequence[str] | None = None
    ) -> list[list[float]]:
        """A^pi = Q^pi - V^pi of every turn under the average policy of these conversations.

        The policy is read as frequencies of asking, recommending and useless turns per state, over customers
        of every persona, for it cannot tell them apart; a customer's answers are averaged with the exact
        probabilities of his own persona.
        """
        met = ["default"] * len(truths) if personas is None else personas
        habits = {name: shop_for(self._shop, name).habits for name in set(met)}
        spoken = [(row, habits[name]) for row, name in zip(truths, met, strict=True)]
        values = {name: _policy_values(spoken, own) for name, own in habits.items()}
        return [
            _advantages(row, values[name], habits=habits[name]) for row, name in zip(truths, met, strict=True)
        ]


def _policy_values(
    spoken: Sequence[tuple[Sequence[TurnTruth], Habits]], habits: Habits
) -> Mapping[State, float]:
    """V^pi of these conversations with a customer of these habits, given that all he tells is true."""
    turns = [
        believed(truth, row[0].missing, told_by=own, heard=habits) for row, own in spoken for truth in row
    ]
    return policy_values(act_weights(turns, habits), habits, answer_now=ShopGame(habits).answer_now)


def _advantages(truths: Sequence[TurnTruth], values: Mapping[State, float], *, habits: Habits) -> list[float]:
    """Those of one conversation; the chance that all its facts are true is the same throughout."""
    start = truths[0].missing if truths else 0
    believing = [believed(truth, start, told_by=habits, heard=habits) for truth in truths]
    is_true = truth_chance(start, habits)
    return [is_true * policy_advantage(truth, values, patience=habits) for truth in believing]


def believed(truth: TurnTruth, start: int, *, told_by: Habits, heard: Habits) -> TurnTruth:
    """A recommendation with the chance that it has with a customer who tells the truth, for one like `heard`.

    `start` facts were missing at first. What is recommended against a told fact keeps the chance that it has
    of its own customer; other turns stay as they are.
    """
    if truth.success_if_final is None:
        return truth
    weight = truth_chance(start - truth.missing, told_by) * truth_chance(truth.missing, heard)
    return replace(truth, success_if_final=truth.success_if_final / weight)


def doubt_of(messages: Sequence[Message], shop: Shop) -> Doubt:
    """What a customer told in answers may be wrong, if he makes mistakes; his opening never is."""
    if shop.habits.mistakes == 0:
        return CERTAIN
    answered = next((i for i, each in enumerate(messages) if each.role is Role.ASSISTANT), len(messages))
    at_once = told_slots(messages[:answered], shop.slots)
    return Doubt(told_slots(messages, shop.slots) - at_once, shop.habits.mistakes)


def turn_truth(
    act: Act,
    need: Need,
    *,
    shop: Shop,
    told: frozenset[str],
    turns_left: int,
    doubt: Doubt = CERTAIN,
) -> TurnTruth:
    """The truth of one turn, given what the customer has told before it; his need is as he told it."""
    needs = shop.needs_of(need.product)
    needed = frozenset(slot.name for slot in needs)
    state, kind = State(len(needed - told), turns_left), kind_of(act, needed=needed, told=told)
    final = None
    if isinstance(act, Recommendation):
        known = {slot: need.values[slot] for slot in told}
        final = success_chance(act, need.product, needs=needs, known=known, doubt=doubt)
    doubtful = len(needed & doubt.slots)
    return TurnTruth(
        kind=kind,
        missing=state.missing,
        turns_left=state.turns_left,
        optimal_value=optimal_value(state, shop.habits, doubtful=doubtful),
        optimal_action_value=(
            optimal_action_value(kind, state, habits=shop.habits, doubtful=doubtful)
            if final is None
            else final
        ),
        success_if_final=final,
    )


def kind_of(act: Act, *, needed: frozenset[str], told: frozenset[str]) -> str:
    """The name of a turn: what the act does for a customer with these needed slots who has told these."""
    match act:
        case Recommendation():
            return RECOMMEND
        case SeveralQuestions():
            return SEVERAL
        case SmallTalk():
            return CHAT
        case Question(slot) if slot in told:
            return REPEAT
        case Question(slot):
            return ASK if slot in needed else IRRELEVANT


def information_gains(truths: Sequence[TurnTruth], outcome: float) -> list[float]:
    """gI: the same with the chance that a guess now is right; sums to y - 3^-m at the start."""
    return gains([guess_value(truth.missing) for truth in truths], outcome)
