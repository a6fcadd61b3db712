"""Credit methods beside each other on the same conversations, as figures. Pure: tensors in, numbers out.

Axes: B conversations, K turns (right-padded), M methods. "A turn" is one that happened.

- Agreement: Spearman's correlation of two methods' advantages over all turns.
- Variance: of the advantages over all turns, and which part of it lies inside conversations; the sparse
  outcome tells conversations apart and no turns, so its part is 0.
- Conservation: how far the turn rewards of a conversation add up to its reward.
- Gradient weight by depth: mean |advantage| * policy tokens at each turn index over who reached it, and the
  part of all such weight that lies there.
- Invariance: the largest change when the two halves of the batch are scored alone, over the root mean square
  of what changes. Groups stay whole, so that a baseline among siblings alone changes nothing.
- Sign flips: the part of the turns whose advantage has the sign opposite to the outcome's.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from operator import attrgetter

import numpy as np
import torch
from torch import Tensor

from itpo_core.statistics import midranks, spearman
from itpo_core.turn_batch import TurnBatch

Values = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Given:
    """What one method gave to a batch: turn rewards and advantages, [B, K]."""

    rewards_BK: Tensor
    advantages_BK: Tensor


@dataclass(frozen=True, slots=True)
class Depth:
    """Gradient weight at one turn index: mean |advantage| * tokens, and its part of the whole (0 to 1)."""

    turn_index: int
    weight: float
    part: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """Every figure of every method that could be scored, and why the others could not, in their own words."""

    figures: Mapping[str, Values]
    depths: Mapping[str, tuple[Depth, ...]]
    agreement: Mapping[tuple[str, str], float]
    refused: Mapping[str, str]


Method = Callable[[TurnBatch], Given]
YARDSTICK = "outcome"


def compare(turns: TurnBatch, methods: Mapping[str, Method], *, has_oracle: bool, deepest: int) -> Comparison:
    """Score the batch with every method, whole and in halves. `methods` holds the sparse outcome.

    A method that refuses the batch (ValueError) is named with its reason. Raises ValueError when the sparse
    outcome is refused: then nothing here has a meaning.
    """
    given, refused = _given(turns, methods)
    if YARDSTICK not in given:
        raise ValueError(f"the sparse outcome cannot be scored: {refused.get(YARDSTICK, 'it is not given')}")
    outcome_BK = given[YARDSTICK].advantages_BK
    found = {
        name: {
            **figures(each, turns, outcome_BK=outcome_BK, has_oracle=has_oracle),
            **invariance_figures(each, scored_in_halves(turns, methods[name]), happened_BK=turns.happened_BK),
        }
        for name, each in given.items()
    }
    return Comparison(
        figures=found,
        depths={name: depths(each.advantages_BK, turns, deepest=deepest) for name, each in given.items()},
        agreement=agreement({name: each.advantages_BK for name, each in given.items()}, turns.happened_BK),
        refused=refused,
    )


def _given(turns: TurnBatch, methods: Mapping[str, Method]) -> tuple[dict[str, Given], dict[str, str]]:
    given: dict[str, Given] = {}
    refused: dict[str, str] = {}
    for name, method in methods.items():
        try:
            given[name] = method(turns)
        except ValueError as reason:
            refused[name] = str(reason)
    return given, refused


def rows_of(turns: TurnBatch, rows: Tensor) -> TurnBatch:
    """The batch of these conversations alone."""
    names = [field.name for field in fields(turns)]
    tensors = dict(zip(names, attrgetter(*names)(turns), strict=True))
    return replace(turns, **{name: one[rows] for name, one in tensors.items() if one is not None})


def halves(group_B: Tensor) -> tuple[Tensor, Tensor]:
    """Rows of every other group and rows of the others; the second is empty with a single group."""
    _, place_B = group_B.unique(return_inverse=True)
    return (place_B % 2 == 0).nonzero()[:, 0], (place_B % 2 == 1).nonzero()[:, 0]


def scored_in_halves(turns: TurnBatch, method: Method) -> Given:
    """Each half of the batch scored alone, put back in place."""
    parts = [(rows, method(rows_of(turns, rows))) for rows in halves(turns.group_B) if len(rows)]
    order = torch.cat([rows for rows, _ in parts]).argsort()
    return Given(
        rewards_BK=torch.cat([part.rewards_BK for _, part in parts])[order],
        advantages_BK=torch.cat([part.advantages_BK for _, part in parts])[order],
    )


def figures(given: Given, turns: TurnBatch, *, outcome_BK: Tensor, has_oracle: bool) -> Values:
    """Variance, conservation, flips against the outcome's advantages and, where it is known, the oracle."""
    known = oracle_figures(given.advantages_BK, turns) if has_oracle else {}
    return {
        **variance_figures(given.advantages_BK, turns.happened_BK),
        **conservation_figures(given.rewards_BK, turns),
        **flip_figures(given.advantages_BK, outcome_BK, happened_BK=turns.happened_BK),
        **known,
    }


def variance_figures(advantages_BK: Tensor, happened_BK: Tensor) -> Values:
    """Population variance over all turns; the part inside conversations is 0 where nothing varies."""
    values = advantages_BK[happened_BK].double()
    if values.numel() == 0:
        return {}
    kept_BK = torch.where(happened_BK, advantages_BK, 0).double()
    mean_B1 = kept_BK.sum(1, keepdim=True) / happened_BK.sum(1, keepdim=True).clamp(min=1)
    inside = float((kept_BK - mean_B1)[happened_BK].square().mean())
    whole = float(values.var(correction=0))
    return {"variance": whole, "variance_inside": min(inside / whole, 1.0) if whole > 0 else 0.0}


def conservation_figures(rewards_BK: Tensor, turns: TurnBatch) -> Values:
    """Mean sum of a conversation's turn rewards, and its mean and largest distance from the reward."""
    spoken_B = turns.happened_BK.any(dim=1)
    if not bool(spoken_B.any()):
        return {}
    sums = torch.where(turns.happened_BK, rewards_BK, 0).double().sum(1)[spoken_B]
    off = (sums - turns.reward_B[spoken_B].double()).abs()
    return {
        "reward_sum": float(sums.mean()),
        "reward_sum_off": float(off.mean()),
        "reward_sum_most_off": float(off.max()),
    }


def flip_figures(advantages_BK: Tensor, outcome_BK: Tensor, *, happened_BK: Tensor) -> Values:
    """Part of the turns, among those where the outcome's advantage is not 0, with the opposite sign."""
    told_BK = happened_BK & (outcome_BK != 0)
    if not bool(told_BK.any()):
        return {}
    flipped_BK = (advantages_BK.sign() * outcome_BK.sign()) < 0
    return {"sign_flips": float(flipped_BK[told_BK].double().mean())}


def oracle_figures(advantages_BK: Tensor, turns: TurnBatch) -> Values:
    """Rank correlation with Q^pi - V^pi over all turns, and over those that do not end their conversation.

    A correlation that is not defined, as of a method that gives every turn the same, is left out.
    """
    later_BK = turns.happened_BK.long().flip(1).cumsum(1).flip(1)
    found = {
        "oracle": _correlation(advantages_BK, turns.oracle_BK, among=turns.happened_BK),
        "oracle_not_last": _correlation(
            advantages_BK, turns.oracle_BK, among=turns.happened_BK & (later_BK > 1)
        ),
    }
    return {name: value for name, value in found.items() if value is not None}


def invariance_figures(whole: Given, alone: Given, *, happened_BK: Tensor) -> Values:
    """Largest change of turn rewards and of advantages when the halves of the batch are scored alone."""
    return {
        "batch_moves_rewards": largest_change(whole.rewards_BK, alone.rewards_BK, among=happened_BK),
        "batch_moves_advantages": largest_change(whole.advantages_BK, alone.advantages_BK, among=happened_BK),
    }


def largest_change(before: Tensor, after: Tensor, *, among: Tensor) -> float:
    """max |after - before| over the root mean square of `before`; 0 where nothing changes."""
    if not bool(among.any()):
        return 0.0
    change = float((after - before)[among].double().abs().max())
    size = float(before[among].double().square().mean().sqrt())
    return 0.0 if change == 0 else change / max(size, torch.finfo(torch.float64).tiny)


def depths(advantages_BK: Tensor, turns: TurnBatch, *, deepest: int) -> tuple[Depth, ...]:
    """Gradient weight by turn index; the turns from `deepest` on are taken together under that index."""
    weights_BK = torch.where(turns.happened_BK, advantages_BK.abs() * turns.tokens_BK, 0).double()
    total = float(weights_BK.sum())
    slots = [slice(turn, turn + 1) for turn in range(min(deepest, weights_BK.shape[1]))]
    slots += [slice(deepest, None)] if weights_BK.shape[1] > deepest else []
    return tuple(
        Depth(
            turn_index=slot.start,
            weight=float(weights_BK[:, slot].sum()) / int(turns.happened_BK[:, slot].sum()),
            part=float(weights_BK[:, slot].sum()) / total if total > 0 else 0.0,
        )
        for slot in slots
        if bool(turns.happened_BK[:, slot].any())
    )


def agreement(advantages: Mapping[str, Tensor], happened_BK: Tensor) -> dict[tuple[str, str], float]:
    """Spearman's correlation of every pair of methods over all turns; pairs without one are left out.

    Every method is ranked once, so that M methods cost M sorts and not M squared.
    """
    ranks = {
        name: midranks(values_BK[happened_BK].double().numpy()) for name, values_BK in advantages.items()
    }
    telling = {name: rank_N for name, rank_N in ranks.items() if rank_N.size > 1 and np.ptp(rank_N) > 0}
    if not telling:
        return {}
    matrix_MM = np.atleast_2d(np.corrcoef(np.stack(list(telling.values()))))
    names: Sequence[str] = list(telling)
    return {
        (first, second): float(matrix_MM[row, column])
        for row, first in enumerate(names)
        for column, second in enumerate(names)
    }


def _correlation(first_BK: Tensor, second_BK: Tensor, *, among: Tensor) -> float | None:
    return spearman(first_BK[among].tolist(), second_BK[among].tolist())
