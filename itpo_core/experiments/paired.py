"""Whether one policy is better than another: fresh collections, or the same unseen scenarios for both.

Axes: B conversations, C clusters (scenarios).
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import TypeVar

import torch
from torch import Tensor
from transformers import PreTrainedModel

from itpo_core.decision import Gain
from itpo_core.experiments.batches import talk
from itpo_core.experiments.world import World
from itpo_core.optimisation import seeded
from itpo_core.reward_fit import Judging
from itpo_core.statistics import paired_interval
from itpo_core.types import Conversation, Scored, Split

NORMAL_95 = 1.96
Group = TypeVar("Group", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Evidence:
    """A paired evaluation: the kept policy's and the candidate's success, their difference, the decision."""

    kept_success: float
    candidate_success: float
    paired_change: float
    paired_lower: float
    paired_upper: float
    pairs: int
    promotes: bool
    promoted_success: float


def improvement_on_unseen(
    of: World,
    *,
    old: PreTrainedModel,
    new: PreTrainedModel,
    scenarios: int,
    purpose: str,
    judging: Judging,
) -> Evidence:
    """One conversation of each policy with the same unseen users, who have the same luck."""
    found = [_outcomes(of, policy, scenarios=scenarios, purpose=purpose) for policy in (old, new)]
    return evidence(*found, judging=judging)


def evidence(old: Mapping[str, float], new: Mapping[str, float], *, judging: Judging) -> Evidence:
    """Compare outcomes by scenario; where either conversation broke there is no pair.

    The candidate is promoted when the interval's lower bound lies above 0. Raises ValueError for fewer than
    two pairs.
    """
    common = sorted(old.keys() & new.keys())
    found = paired_interval(
        [new[name] - old[name] for name in common],
        common,
        confidence=judging.confidence,
        draws=judging.draws,
        seed=judging.seed,
    )
    kept, candidate = (sum(side[name] for name in common) / len(common) for side in (old, new))
    promotes = found.lower > 0
    return Evidence(
        kept_success=kept,
        candidate_success=candidate,
        paired_change=found.mean,
        paired_lower=found.lower,
        paired_upper=found.upper,
        pairs=found.pairs,
        promotes=promotes,
        promoted_success=candidate if promotes else kept,
    )


def change(before_B: Tensor, after_B: Tensor, *, before_group_B: Tensor, after_group_B: Tensor) -> Gain:
    """Mean after minus mean before, of independent collections, with a 95 % normal interval.

    Conversations of one scenario stay together. Raises ValueError for fewer than two scenarios on a side.
    """
    error = (mean_error(before_B, before_group_B) ** 2 + mean_error(after_B, after_group_B) ** 2) ** 0.5
    mean = float(after_B.double().mean() - before_B.double().mean())
    return Gain(mean, mean - NORMAL_95 * error, mean + NORMAL_95 * error, pairs=len(after_B))


def mean_error(values_B: Tensor, group_B: Tensor) -> float:
    """Standard error of the mean over whole scenarios: sqrt(C / (C - 1) sum_c (sum of residuals)^2) / B."""
    _, slot_B = group_B.unique(return_inverse=True)
    count = int(slot_B.max()) + 1 if len(slot_B) else 0
    if count < 2:
        raise ValueError(f"{count} scenario: a standard error needs at least two")
    residuals_B = values_B.double() - values_B.double().mean()
    sums_C = torch.zeros(count, dtype=torch.float64).scatter_add(0, slot_B, residuals_B)
    return float((count / (count - 1) * (sums_C**2).sum()).sqrt()) / len(values_B)


def held_out_scenarios(groups: Sequence[Group], *, share: float, seed: int) -> frozenset[Group]:
    """At least `share` of the scenarios, drawn by the seed; never all of them when there are several."""
    names = sorted(set(groups), key=str)
    count = min(ceil(share * len(names)), max(len(names) - 1, 0))
    order = torch.randperm(len(names), generator=seeded(seed, "held_out_scenarios"))
    return frozenset(names[place] for place in order[:count].tolist())


def success_weight(success: float) -> float:
    """Success per logit at this mean success: p (1 - p), the slope of the logistic function."""
    return success * (1 - success)


def _outcomes(of: World, policy: PreTrainedModel, *, scenarios: int, purpose: str) -> dict[str, float]:
    spoken = talk(of, policy, split=Split.UNSEEN, scenarios=scenarios, group_size=1, purpose=purpose)
    return {each.group_id: _value(each) for each in spoken if isinstance(each.outcome, Scored)}


def _value(conversation: Conversation) -> float:
    outcome = conversation.outcome
    return outcome.value if isinstance(outcome, Scored) else float("nan")
