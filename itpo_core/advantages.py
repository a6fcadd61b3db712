"""Turn rewards to advantages. Pure: tensors in, tensors out.

Axes: B conversations, flat, with the index of their group in `group_B` (int64); K turns (right-padded). Flat
groups may be ragged and lie in any order. r is the conversation's reward, G_k the return-to-go of turn k.

Exact definitions; `sql/advantages_grpo.sql` and `sql/advantages_rloo.sql` compute the same numbers.

Over a group's n *valid* members, with their mean m and their sample standard deviation
s = sqrt(sum (r - m)^2 / (n - 1)):

- grpo: A_i = (r_i - m) / (s + std_floor).            Source: GRPO (arXiv:2402.03300), std_floor added to s.
- rloo: A_i = r_i - (n m - r_i) / (n - 1).            Source: RLOO (arXiv:2402.14740).

Per turn, the same two over the returns-to-go G_ik = sum_{j>=k} reward_ij (undiscounted, turns that
happened), each turn index k by itself, among the valid members of the group in which turn k happened; n, m
and s are theirs.

Named rules, in this order:
1. an invalid member never votes and its advantage is 0, whatever its reward holds (also NaN);
2. fewer than two valid members (per turn: fewer than two that reached the turn): 0, counted by `group_facts`;
3. zero variance, that is the largest reward equals the smallest: exactly 0, no rounding noise over a tiny s;
4. NaN or infinity in the reward of a valid member: ValueError that names the row.

`whiten`: mu = sum w v / sum w, sd = sqrt(sum w (v - mu)^2 / sum w) (population), result
(v - mu) / (sd + 1e-6), and 0 where w = 0. Here w is the turn's count of policy tokens.

| algorithm       | advantage at turn k that happened (0 elsewhere); A_i from grpo or rloo on r             |
|-----------------|-----------------------------------------------------------------------------------------|
| outcome         | A_i                                                                                     |
| uniform         | A_i (equal shares: the same numbers as outcome, kept as the control of the split)       |
| dirichlet       | A_i * K_i * d_k, d_k = E_k / sum E                                                      |
| itpo            | grpo or rloo per turn on the turn rewards S_k                                           |
| norm_itpo       | grpo or rloo per turn on the turn rewards R W_k - cost_k (published form)               |
| norm_itpo_plain | grpo or rloo per turn on the turn rewards R W_k - cost_k (plain softmax)                |
| norm_itpo_share | A_i * weight_k, weight_k = 1 + a * (K_i W_k - 1), W signed by A_i (>= -1e-9: +)         |
| oracle_pi       | whiten(Q^pi - V^pi) with token weights over the whole batch                             |

Turn rewards, R, W_k, weight_k, E, cost_k and K_i are defined in `itpo_core.turn_rewards`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

from itpo_core import turn_rewards
from itpo_core.turn_rewards import Knobs, TurnBatch

WHITEN_FLOOR = 1e-6


@dataclass(frozen=True, slots=True)
class GroupFacts:
    """How many groups there are, and how many of them teach nothing under rules 2 and 3."""

    groups: int
    too_few_valid: int
    zero_variance: int


@dataclass(frozen=True, slots=True)
class Estimator:
    """One estimator in its two forms: of whole conversations, and of every turn's return-to-go."""

    whole: Callable[..., Tensor]  # (rewards_B, group_B, *, valid_B, std_floor)
    per_turn: Callable[..., Tensor]  # (rewards_BK, happened_BK, *, group_B, valid_B, std_floor)


@dataclass(frozen=True, slots=True)
class _GroupStatistics:
    """Of each member's group, column by column: votes, mean, sum of squared deviations, and who learns."""

    count_BK: Tensor
    mean_BK: Tensor
    squares_BK: Tensor
    teaches_BK: Tensor


def grpo_baseline(rewards_B: Tensor, group_B: Tensor, *, valid_B: Tensor, std_floor: float) -> Tensor:
    """(r - mean) / (sample std + floor) over the group's valid members; rules 1 to 4 of the module's head."""
    return _grpo(rewards_B[:, None], group_B, votes_BK=valid_B[:, None], std_floor=std_floor)[:, 0]


def rloo_baseline(rewards_B: Tensor, group_B: Tensor, *, valid_B: Tensor, std_floor: float) -> Tensor:
    """r minus the mean of the group's other valid members; rules 1 to 4 of the module's head.

    `std_floor` is taken for the common signature and has no part: nothing here is divided by a spread.
    """
    return _rloo(rewards_B[:, None], group_B, votes_BK=valid_B[:, None])[:, 0]


def grpo_per_turn(
    rewards_BK: Tensor, happened_BK: Tensor, *, group_B: Tensor, valid_B: Tensor, std_floor: float
) -> Tensor:
    """GRPO on the returns-to-go of the same turn index among the valid siblings that reached it."""
    votes_BK = happened_BK & valid_B[:, None]
    returns_BK = turn_rewards.returns_to_go(rewards_BK, votes_BK)
    return _grpo(returns_BK, group_B, votes_BK=votes_BK, std_floor=std_floor)


def rloo_per_turn(
    rewards_BK: Tensor, happened_BK: Tensor, *, group_B: Tensor, valid_B: Tensor, std_floor: float
) -> Tensor:
    """Leave-one-out on the returns-to-go of the same turn index among the valid siblings that reached it.

    `std_floor` is taken for the common signature and has no part.
    """
    votes_BK = happened_BK & valid_B[:, None]
    return _rloo(turn_rewards.returns_to_go(rewards_BK, votes_BK), group_B, votes_BK=votes_BK)


ESTIMATORS: Mapping[str, Estimator] = MappingProxyType(
    {
        "grpo": Estimator(whole=grpo_baseline, per_turn=grpo_per_turn),
        "rloo": Estimator(whole=rloo_baseline, per_turn=rloo_per_turn),
    }
)


def group_facts(rewards_B: Tensor, group_B: Tensor, *, valid_B: Tensor) -> GroupFacts:
    """Counts the groups without a lesson: too few valid members, or all valid members alike."""
    facts = _statistics(rewards_B[:, None], group_B, votes_BK=valid_B[:, None])
    groups_G, slot_B = group_B.unique(return_inverse=True)
    zeros_G = torch.zeros(len(groups_G), dtype=torch.int64)
    valid_G = zeros_G.scatter_add(0, slot_B, valid_B.long())
    taught_G = zeros_G.scatter_add(0, slot_B, facts.teaches_BK[:, 0].long())
    return GroupFacts(
        groups=len(groups_G),
        too_few_valid=int((valid_G < 2).sum()),
        zero_variance=int(((valid_G >= 2) & (taught_G == 0)).sum()),
    )


def whiten(values: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean 0 and population standard deviation 1; 0 where the weight is 0."""
    weights = weights.to(values.dtype)
    kept = torch.where(weights > 0, values, 0)
    total = weights.sum().clamp(min=torch.finfo(values.dtype).tiny)
    centred = kept - (weights * kept).sum() / total
    spread = ((weights * centred.square()).sum() / total).sqrt()
    return torch.where(weights > 0, centred / (spread + WHITEN_FLOOR), 0)


def broadcast_outcome(turns: TurnBatch, knobs: Knobs, *, estimator: Estimator) -> Tensor:
    """The conversation's advantage at every turn that happened."""
    return torch.where(turns.happened_BK, turns.advantage_B[:, None], 0)


def random_split(turns: TurnBatch, knobs: Knobs, *, estimator: Estimator) -> Tensor:
    """The conversation's advantage times K d_k: the same mean over turns, at random places."""
    counts_B1 = turn_rewards.turn_counts(turns.happened_BK)[:, None]
    weights_BK = counts_B1 * turn_rewards.random_shares(turns)
    return torch.where(turns.happened_BK, turns.advantage_B[:, None] * weights_BK, 0)


def signed_split(turns: TurnBatch, knobs: Knobs, *, estimator: Estimator) -> Tensor:
    """The conversation's advantage times its share weights: mean and sign kept, the turns told apart."""
    weights_BK = turn_rewards.weights_of(turns, knobs)
    return torch.where(turns.happened_BK, turns.advantage_B[:, None] * weights_BK, 0)


def of_itpo(turns: TurnBatch, knobs: Knobs, *, estimator: Estimator) -> Tensor:
    """Reward-to-go of the implicit turn rewards against the siblings."""
    return _against_siblings(turn_rewards.itpo(turns, knobs), turns, knobs=knobs, estimator=estimator)


def of_norm_itpo(turns: TurnBatch, knobs: Knobs, *, estimator: Estimator) -> Tensor:
    """Reward-to-go of the published Norm-ITPO turn rewards against the siblings."""
    return _against_siblings(turn_rewards.norm_itpo(turns, knobs), turns, knobs=knobs, estimator=estimator)


def of_norm_itpo_plain(turns: TurnBatch, knobs: Knobs, *, estimator: Estimator) -> Tensor:
    """Reward-to-go of the plain Norm-ITPO turn rewards against the siblings."""
    rewards_BK = turn_rewards.norm_itpo_plain(turns, knobs)
    return _against_siblings(rewards_BK, turns, knobs=knobs, estimator=estimator)


def whitened_oracle(turns: TurnBatch, knobs: Knobs, *, estimator: Estimator) -> Tensor:
    """Q^pi - V^pi, whitened over the batch with every turn weighted by its policy tokens."""
    return whiten(turns.oracle_BK, torch.where(turns.happened_BK, turns.tokens_BK, 0))


Algorithm = Callable[..., Tensor]  # (turns, knobs, *, estimator) -> advantages_BK
ALGORITHMS: Mapping[str, Algorithm] = MappingProxyType(
    {
        "outcome": broadcast_outcome,
        "uniform": broadcast_outcome,
        "dirichlet": random_split,
        "itpo": of_itpo,
        "norm_itpo": of_norm_itpo,
        "norm_itpo_plain": of_norm_itpo_plain,
        "norm_itpo_share": signed_split,
        "oracle_pi": whitened_oracle,
    }
)


def _against_siblings(rewards_BK: Tensor, turns: TurnBatch, *, knobs: Knobs, estimator: Estimator) -> Tensor:
    return estimator.per_turn(
        rewards_BK,
        turns.happened_BK,
        group_B=turns.group_B,
        valid_B=turns.valid_B,
        std_floor=knobs.std_floor,
    )


def _grpo(values_BK: Tensor, group_B: Tensor, *, votes_BK: Tensor, std_floor: float) -> Tensor:
    facts = _statistics(values_BK, group_B, votes_BK=votes_BK)
    std_BK = (facts.squares_BK / (facts.count_BK - 1).clamp(min=1)).sqrt()
    return torch.where(facts.teaches_BK, (values_BK - facts.mean_BK) / (std_BK + std_floor), 0)


def _rloo(values_BK: Tensor, group_B: Tensor, *, votes_BK: Tensor) -> Tensor:
    facts = _statistics(values_BK, group_B, votes_BK=votes_BK)
    others_BK = (facts.mean_BK * facts.count_BK - values_BK) / (facts.count_BK - 1).clamp(min=1)
    return torch.where(facts.teaches_BK, values_BK - others_BK, 0)


def _statistics(values_BK: Tensor, group_B: Tensor, *, votes_BK: Tensor) -> _GroupStatistics:
    _check(values_BK, votes_BK)
    groups_G, slot_B = group_B.unique(return_inverse=True)
    slot_BK = slot_B[:, None].expand_as(values_BK)
    kept_BK = torch.where(votes_BK, values_BK, 0)
    zeros_GK = values_BK.new_zeros(len(groups_G), values_BK.shape[1])
    count_BK = zeros_GK.scatter_add(0, slot_BK, votes_BK.to(values_BK.dtype))[slot_B]
    mean_BK = zeros_GK.scatter_add(0, slot_BK, kept_BK)[slot_B] / count_BK.clamp(min=1)
    deviations_BK = torch.where(votes_BK, kept_BK - mean_BK, 0)
    squares_BK = zeros_GK.scatter_add(0, slot_BK, deviations_BK.square())[slot_B]
    varies_BK = _varies(values_BK, votes_BK, slot_BK=slot_BK, groups=len(groups_G))[slot_B]
    return _GroupStatistics(count_BK, mean_BK, squares_BK, votes_BK & (count_BK >= 2) & varies_BK)


def _varies(values_BK: Tensor, votes_BK: Tensor, *, slot_BK: Tensor, groups: int) -> Tensor:
    # Compared, not computed: a variance of rounding errors would pass for one.
    shape = (groups, values_BK.shape[1])
    high_GK = values_BK.new_full(shape, -torch.inf)
    low_GK = values_BK.new_full(shape, torch.inf)
    high_GK = high_GK.scatter_reduce(0, slot_BK, torch.where(votes_BK, values_BK, -torch.inf), "amax")
    low_GK = low_GK.scatter_reduce(0, slot_BK, torch.where(votes_BK, values_BK, torch.inf), "amin")
    return high_GK > low_GK


def _check(values_BK: Tensor, votes_BK: Tensor) -> None:
    broken_BK = votes_BK & ~values_BK.isfinite()
    if bool(broken_BK.any()):
        row, turn = (int(index) for index in broken_BK.nonzero()[0])
        raise ValueError(
            f"row {row}, turn {turn}: reward {float(values_BK[row, turn])} of a valid conversation is not"
            " finite; mark the conversation invalid or mend its outcome"
        )
