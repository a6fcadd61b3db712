"""A value against its siblings: what a group's mean and deviation take away. Pure: tensors in, tensors out.

Axes: B conversations, flat, with the index of their group in `group_B` (int64); K columns that are compared
each by itself (turns, or one column for whole conversations). Groups may be ragged and lie in any order.

Over the n *voters* of a group in one column, m their mean, s their deviation with `ddof`:

- baseline "group_mean": v - m; "leave_one_out": v - (n m - v) / (n - 1);
- deviation "group": divided by s + floor; "others": by the deviation of the n - 1 other voters + floor;
  "batch": by the deviation of all voters of the column's batch + floor; "none": not divided.

Named rules, in this order:
1. who does not take part gets 0, whatever its value holds (also NaN); by default nobody votes who does not
   take part;
2. fewer than two voters: 0 (`lonely` "zero"), the value itself, over 1 + floor where others are divided
   ("raw"), or a ValueError ("refuse");
3. zero variance, that is the largest value equals the smallest: exactly 0, no rounding noise over a tiny
   deviation ("zero"); or whatever the division gives ("divide"); with "undivided" nothing is divided by a
   deviation of 0, exactly measured among those whose deviation it is;
4. NaN or infinity in the value of a voter: ValueError that names the row.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class GroupRules:
    """How a value is compared with its group; the defaults are the safe GRPO."""

    baseline: str = "group_mean"
    deviation: str = "group"
    ddof: int = 1
    floor: float = 1e-4
    lonely: str = "zero"
    zero_variance: str = "zero"


@dataclass(frozen=True, slots=True)
class GroupStatistics:
    """Of each member's group, column by column: voters, their mean and squared deviations, and who learns."""

    count_BK: Tensor
    mean_BK: Tensor
    squares_BK: Tensor
    varies_BK: Tensor


def against_group(
    values_BK: Tensor,
    group_B: Tensor,
    *,
    votes_BK: Tensor,
    rules: GroupRules,
    takes_part_BK: Tensor | None = None,
) -> Tensor:
    """Every value against the voters of its group in its column; rules 1 to 4 of the module's head.

    `takes_part_BK` (default: the voters) gets an advantage. Raises ValueError by rules 2 and 4.
    """
    takes_part_BK = votes_BK if takes_part_BK is None else takes_part_BK
    facts = group_statistics(values_BK, group_B, votes_BK=votes_BK)
    kept_BK = torch.where(votes_BK, values_BK, 0)
    others_BK = (facts.count_BK - 1).clamp(min=1)
    left_out_BK = (facts.mean_BK * facts.count_BK - kept_BK) / others_BK
    baseline_BK = left_out_BK if rules.baseline == "leave_one_out" else facts.mean_BK
    compared_BK = _divided(kept_BK - baseline_BK, kept_BK, votes_BK=votes_BK, facts=facts, rules=rules)
    if rules.zero_variance == "zero":
        compared_BK = torch.where(facts.varies_BK, compared_BK, 0)
    alone_BK = takes_part_BK & (facts.count_BK < 2)
    if rules.lonely == "refuse" and bool(alone_BK.any()):
        row, column = (int(index) for index in alone_BK.nonzero()[0])
        raise ValueError(
            f"row {row}, turn {column}: it has no sibling to be compared with and the profile refuses groups"
            " of one; collect at least two valid conversations a group, or choose the profile 'safe'"
        )
    # A framework that lets the raw score through takes its mean as 0 and its deviation as 1.
    divisor = 1 if rules.deviation == "none" else 1 + rules.floor
    lonely_BK = kept_BK / divisor if rules.lonely == "raw" else torch.zeros_like(kept_BK)
    return torch.where(takes_part_BK, torch.where(alone_BK, lonely_BK, compared_BK), 0)


def group_statistics(values_BK: Tensor, group_B: Tensor, *, votes_BK: Tensor) -> GroupStatistics:
    """What each member's group says, column by column. Raises ValueError by rule 4."""
    refuse_broken(values_BK, votes_BK)
    groups_G, slot_B = group_B.unique(return_inverse=True)
    slot_BK = slot_B[:, None].expand_as(values_BK)
    kept_BK = torch.where(votes_BK, values_BK, 0)
    zeros_GK = values_BK.new_zeros(len(groups_G), values_BK.shape[1])
    count_BK = zeros_GK.scatter_add(0, slot_BK, votes_BK.to(values_BK.dtype))[slot_B]
    mean_BK = zeros_GK.scatter_add(0, slot_BK, kept_BK)[slot_B] / count_BK.clamp(min=1)
    deviations_BK = torch.where(votes_BK, kept_BK - mean_BK, 0)
    squares_BK = zeros_GK.scatter_add(0, slot_BK, deviations_BK.square())[slot_B]
    varies_BK = _varies(values_BK, votes_BK, slot_BK=slot_BK, groups=len(groups_G))[slot_B]
    return GroupStatistics(count_BK, mean_BK, squares_BK, varies_BK)


def refuse_broken(values_BK: Tensor, votes_BK: Tensor) -> None:
    """Raise ValueError naming the first voter whose value is not finite."""
    broken_BK = votes_BK & ~values_BK.isfinite()
    if bool(broken_BK.any()):
        row, turn = (int(index) for index in broken_BK.nonzero()[0])
        raise ValueError(
            f"row {row}, turn {turn}: reward {float(values_BK[row, turn])} is not finite, but counts;"
            " mark the conversation invalid or mend its outcome"
        )


def _divided(
    centred_BK: Tensor, kept_BK: Tensor, *, votes_BK: Tensor, facts: GroupStatistics, rules: GroupRules
) -> Tensor:
    if rules.deviation == "none":
        return centred_BK
    std_BK = _DEVIATIONS[rules.deviation](kept_BK, votes_BK, facts, rules.ddof)
    if rules.zero_variance == "undivided":
        return torch.where(std_BK > 0, centred_BK / (std_BK + rules.floor), centred_BK)
    return centred_BK / (std_BK + rules.floor)


def _group_deviation(kept_BK: Tensor, votes_BK: Tensor, facts: GroupStatistics, ddof: int) -> Tensor:
    return (facts.squares_BK / (facts.count_BK - ddof).clamp(min=1)).sqrt()


def _others_deviation(kept_BK: Tensor, votes_BK: Tensor, facts: GroupStatistics, ddof: int) -> Tensor:
    # Taking a row out of n lowers the sum of squares by n / (n - 1) times its squared distance to the mean.
    count_BK = facts.count_BK.clamp(min=2)
    lost_BK = (kept_BK - facts.mean_BK).square() * count_BK / (count_BK - 1)
    left_BK = facts.squares_BK - lost_BK
    # What is left of equal others is rounding, not a deviation.
    left_BK = torch.where(left_BK > 1e-9 * facts.squares_BK, left_BK, 0)
    return (left_BK / (count_BK - 1 - ddof).clamp(min=1)).sqrt()


def _batch_deviation(kept_BK: Tensor, votes_BK: Tensor, facts: GroupStatistics, ddof: int) -> Tensor:
    count_K = votes_BK.sum(dim=0)
    mean_K = kept_BK.sum(dim=0) / count_K.clamp(min=1)
    squares_K = torch.where(votes_BK, (kept_BK - mean_K).square(), 0).sum(dim=0)
    return (squares_K / (count_K - ddof).clamp(min=1)).sqrt().expand_as(kept_BK)


_DEVIATIONS = {"group": _group_deviation, "others": _others_deviation, "batch": _batch_deviation}


def _varies(values_BK: Tensor, votes_BK: Tensor, *, slot_BK: Tensor, groups: int) -> Tensor:
    # Compared, not computed: a variance of rounding errors would pass for one.
    shape = (groups, values_BK.shape[1])
    high_GK = values_BK.new_full(shape, -torch.inf)
    low_GK = values_BK.new_full(shape, torch.inf)
    high_GK = high_GK.scatter_reduce(0, slot_BK, torch.where(votes_BK, values_BK, -torch.inf), "amax")
    low_GK = low_GK.scatter_reduce(0, slot_BK, torch.where(votes_BK, values_BK, torch.inf), "amin")
    return high_GK > low_GK
