"""Exact values of the shop by recursion: of the best assistant (V*, Q*), of a given one (V^pi, Q^pi).

All are exact for needs drawn uniformly, as the domain defines them; that a fifth of the needs is held out is
not exploited. Chances are in [0, 1].
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import NamedTuple

from itpo_core.envs.sales_shop import Habits
from itpo_core.types import TurnTruth

CHOICES = 3  # values per slot
PRIOR_TURNS = 1.0  # what a state's neighbours in time count for, against one for each turn of its own
ASK, IRRELEVANT, REPEAT = "ask", "irrelevant", "repeat"
SEVERAL, CHAT, RECOMMEND = "several", "chat", "recommend"
USELESS, SUCCESS = "useless", "success"


class State(NamedTuple):
    """What matters before a turn: needed facts not yet told, assistant turns left (this one included)."""

    missing: int
    turns_left: int


Value = Callable[[State], float]
Weights = Mapping[tuple[State, str], float]


def state_of(truth: TurnTruth) -> State:
    """The state before a turn."""
    return State(truth.missing, truth.turns_left)


def guess_value(missing: int) -> float:
    """Chance that a recommendation at once is right when every missing fact is guessed."""
    return (1 / CHOICES) ** missing


@cache
def optimal_value(state: State, habits: Habits) -> float:
    """V*: the better of recommending now and asking for a needed fact; 0 without turns left."""
    if state.turns_left == 0:
        return 0.0
    now = guess_value(state.missing)
    if state.missing == 0 or state.turns_left == 1:
        return now
    return max(now, optimal_action_value(ASK, state, habits=habits))


def optimal_action_value(kind: str, state: State, *, habits: Habits) -> float:
    """Q* of an act that does not recommend; the customer's luck is averaged out."""
    return value_after(kind, state, value=lambda after: optimal_value(after, habits), habits=habits)


def value_after(kind: str, state: State, *, value: Value, habits: Habits) -> float:
    """Expected value of the next state: a needed fact may be evaded, a useless turn may lose the customer."""
    same = value(State(state.missing, state.turns_left - 1))
    if kind != ASK:
        return (1 - habits.leaves) * same
    told = value(State(state.missing - 1, state.turns_left - 1))
    return (1 - habits.evades) * told + habits.evades * same


def act_weights(turns: Iterable[TurnTruth], habits: Habits) -> Weights:
    """How often each group of acts was chosen in each state, and the summed chances of its recommendations.

    To every state comes one turn made of the average of all turns with as many facts missing, so that a state
    met rarely or never borrows from its neighbours in time.
    """
    weights: defaultdict[tuple[State, str], float] = defaultdict(float)
    pooled: defaultdict[tuple[int, str], float] = defaultdict(float)
    turns_met: defaultdict[int, int] = defaultdict(int)
    for truth in turns:
        turns_met[truth.missing] += 1
        for group, share in _shares(truth).items():
            weights[state_of(truth), group] += share
            pooled[truth.missing, group] += share
    for (missing, group), share in pooled.items():
        for turns_left in range(1, habits.max_turns + 1):
            weights[State(missing, turns_left), group] += PRIOR_TURNS * share / turns_met[missing]
    return weights


def _shares(truth: TurnTruth) -> dict[str, float]:
    if truth.success_if_final is not None:
        return {RECOMMEND: 1.0, SUCCESS: truth.success_if_final}
    return {ASK if truth.kind == ASK else USELESS: 1.0}


def policy_values(weights: Weights, habits: Habits) -> dict[State, float]:
    """V^pi by backward recursion over the turns left.

    With as many missing facts as were never met, nothing is known of the policy: it is taken to recommend.
    """
    most_missing = max((state.missing for state, _ in weights), default=0)
    values = {State(missing, 0): 0.0 for missing in range(most_missing + 1)}
    for turns_left in range(1, habits.max_turns + 1):
        for missing in range(most_missing + 1):
            state = State(missing, turns_left)
            values[state] = _policy_value(state, weights, value=values.__getitem__, habits=habits)
    return values


def _policy_value(state: State, weights: Weights, *, value: Value, habits: Habits) -> float:
    weight = {group: weights.get((state, group), 0.0) for group in (ASK, USELESS, RECOMMEND, SUCCESS)}
    total = weight[ASK] + weight[USELESS] + weight[RECOMMEND]
    if total == 0:
        return guess_value(state.missing)
    won = weight[SUCCESS]  # the weight of recommendations times their mean chance
    for group in (ASK, USELESS):
        if weight[group]:
            won += weight[group] * value_after(group, state, value=value, habits=habits)
    return won / total


def policy_advantage(truth: TurnTruth, values: Mapping[State, float], *, habits: Habits) -> float:
    """A^pi = Q^pi - V^pi of one turn; a recommendation is taken at its own chance of success."""
    state = state_of(truth)
    if truth.success_if_final is not None:
        return truth.success_if_final - values[state]
    return value_after(truth.kind, state, value=values.__getitem__, habits=habits) - values[state]
