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
and s are theirs. The other estimators and the conventions of frameworks are `estimators.py`.

Named rules, in this order:
1. an invalid member never votes and its advantage is 0, whatever its reward holds (also NaN);
2. fewer than two valid members (per turn: fewer than two that reached the turn): 0, counted by `group_facts`;
3. zero variance, that is the largest reward equals the smallest: exactly 0, no rounding noise over a tiny s;
4. NaN or infinity in the reward of a valid member: ValueError that names the row.

z is `normalisation.whiten` over the whole batch, every turn weighted by its count of policy tokens.

| algorithm                 | advantage at turn k that happened (0 elsewhere); A_i by the estimator on r    |
|---------------------------|-------------------------------------------------------------------------------|
| outcome, uniform          | A_i (equal shares give the same numbers: the control of the split)            |
| dirichlet                 | A_i * K_i * d_k, d_k = E_k / sum E                                            |
| dirichlet_matched         | A_i * the row's own weights of norm_itpo_share in the order of E              |
| judge                     | A_i * K_i * j_k / sum j                                                       |
| norm_itpo_share           | A_i * weight_k, weight_k = 1 + a * (K_i W_k - 1), W signed by A_i (0: +)      |
| itpo, norm_itpo, _plain   | the estimator per turn on the returns-to-go of the turn rewards               |
| norm_itpo_signed          | z(R W+_k - (1 - R) W-_k - cost_k)                                             |
| itpo_plus_outcome         | u * A_i + w * z(the estimator per turn on the returns-to-go of S)             |
| immediate_plus_outcome    | u * A_i + w * z(S_k)                                                          |
| prefix_value              | u * A_i + w * z(V_(k+1) - V_k, at the last turn r - V_k)                      |
| dueling_advantage         | u * A_i + w * z(log-ratio term of the dueling Q)                              |
| oracle_pi, oracle_star    | u * A_i + w * z(Q - V)                                                        |

u is `outcome_weight`, w `signal_weight`: 1 and 0.5 unless given, 0 and 1 for prefix_value and the oracles,
which know the outcome already. Where the outcome's advantage differs from turn to turn (GAE), it stands for
A_i, and A_i itself only says which sign the shares have. Turn rewards, R, W_k, weight_k, E, cost_k
and K_i are defined in `itpo_core.turn_rewards`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

import torch
from torch import Tensor

from itpo_core import turn_rewards, turn_shares
from itpo_core.group_baselines import GroupRules, against_group, group_statistics
from itpo_core.normalisation import whiten
from itpo_core.turn_batch import Knobs, TurnBatch

__all__ = ["ALGORITHMS", "ESTIMATORS", "Estimator", "GroupFacts", "group_facts", "whiten"]


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
class Mix:
    """An algorithm's own weights of the outcome's advantage and of its signal."""

    outcome: float
    signal: float


BESIDE = Mix(1.0, turn_rewards.SIGNAL_WEIGHT)
ALONE = Mix(0.0, 1.0)


def grpo_baseline(rewards_B: Tensor, group_B: Tensor, *, valid_B: Tensor, std_floor: float) -> Tensor:
    """(r - mean) / (sample std + floor) over the group's valid members; rules 1 to 4 of the module's head."""
    rules = GroupRules(floor=std_floor)
    return against_group(rewards_B[:, None], group_B, votes_BK=valid_B[:, None], rules=rules)[:, 0]


def rloo_baseline(rewards_B: Tensor, group_B: Tensor, *, valid_B: Tensor, std_floor: float) -> Tensor:
    """r minus the mean of the group's other valid members; rules 1 to 4 of the module's head.

    `std_floor` is taken for the common signature and has no part: nothing here is divided by a spread.
    """
    return against_group(rewards_B[:, None], group_B, votes_BK=valid_B[:, None], rules=LEAVE_ONE_OUT)[:, 0]


def grpo_per_turn(
    rewards_BK: Tensor, happened_BK: Tensor, *, group_B: Tensor, valid_B: Tensor, std_floor: float
) -> Tensor:
    """GRPO on the returns-to-go of the same turn index among the valid siblings that reached it."""
    votes_BK = happened_BK & valid_B[:, None]
    returns_BK = turn_rewards.returns_to_go(rewards_BK, votes_BK)
    return against_group(returns_BK, group_B, votes_BK=votes_BK, rules=GroupRules(floor=std_floor))


def rloo_per_turn(
    rewards_BK: Tensor, happened_BK: Tensor, *, group_B: Tensor, valid_B: Tensor, std_floor: float
) -> Tensor:
    """Leave-one-out on the returns-to-go of the same turn index among the valid siblings that reached it.

    `std_floor` is taken for the common signature and has no part.
    """
    votes_BK = happened_BK & valid_B[:, None]
    returns_BK = turn_rewards.returns_to_go(rewards_BK, votes_BK)
    return against_group(returns_BK, group_B, votes_BK=votes_BK, rules=LEAVE_ONE_OUT)


LEAVE_ONE_OUT = GroupRules(baseline="leave_one_out", deviation="none")
ESTIMATORS: Mapping[str, Estimator] = MappingProxyType(
    {
        "grpo": Estimator(whole=grpo_baseline, per_turn=grpo_per_turn),
        "rloo": Estimator(whole=rloo_baseline, per_turn=rloo_per_turn),
    }
)


def group_facts(rewards_B: Tensor, group_B: Tensor, *, valid_B: Tensor) -> GroupFacts:
    """Counts the groups without a lesson: too few valid members, or all valid members alike."""
    facts = group_statistics(rewards_B[:, None], group_B, votes_BK=valid_B[:, None])
    groups_G, slot_B = group_B.unique(return_inverse=True)
    zeros_G = torch.zeros(len(groups_G), dtype=torch.int64)
    valid_G = zeros_G.scatter_add(0, slot_B, valid_B.long())
    taught_G = zeros_G.scatter_add(0, slot_B, (valid_B & facts.varies_BK[:, 0]).long())
    return GroupFacts(
        groups=len(groups_G),
        too_few_valid=int((valid_G < 2).sum()),
        zero_variance=int(((valid_G >= 2) & (taught_G == 0)).sum()),
    )


def broadcast_outcome(turns: TurnBatch, knobs: Knobs, *, estimator: Estimator) -> Tensor:
    """The conversation's advantage at every turn that happened."""
    return torch.where(turns.happened_BK, outcome_advantages(turns), 0)


def random_split(turns: TurnBatch, knobs: Knobs, *, estimator: Estimator) -> Tensor:
    """The conversation's advantage times K d_k: the same mean over turns, at random places."""
    counts_B1 = turn_shares.turn_counts(turns.happened_BK)[:, None]
    return _weighted(turns, counts_B1 * turn_shares.random_shares(turns))


def matched_split(turns: TurnBatch, knobs: Knobs, *, estimator: Estimator) -> Tensor:
    """The conversation's advantage times its own share weights, each at a random turn."""
    return _weighted(turns, turn_shares.matched_weights(turns, knobs))


def judged_split(turns: TurnBatch, knobs: Knobs, *, estimator: Estimator) -> Tensor:
    """The conversation's advantage times K times the judge's shares."""
    counts_B1 = turn_shares.turn_counts(turns.happened_BK)[:, None]
    return _weighted(turns, counts_B1 * turn_shares.judged_shares(turns))


def signed_split(turns: TurnBatch, knobs: Knobs, *, estimator: Estimator) -> Tensor:
    """The conversation's advantage times its share weights: mean and sign kept, the turns told apart."""
    return _weighted(turns, turn_shares.weights_of(turns, knobs))


def of_stream(
    turns: TurnBatch, knobs: Knobs, *, estimator: Estimator, reward: turn_rewards.TurnReward
) -> Tensor:
    """The turn rewards, to go unless told otherwise, by the estimator per turn."""
    return _against_siblings(reward(turns, knobs), turns, knobs=knobs, estimator=estimator)


def of_signal(
    turns: TurnBatch, knobs: Knobs, *, estimator: Estimator, reward: turn_rewards.TurnReward, mix: Mix
) -> Tensor:
    """u A_i + w z(signal): the signal estimates an advantage itself, so that nothing is summed to go."""
    signal_BK = reward(turns, knobs)
    if knobs.to_go == "reward_to_go":
        signal_BK = turn_rewards.returns_to_go(signal_BK, turns.happened_BK)
    return _beside_outcome(signal_BK, turns, knobs=knobs, mix=mix)


def signed_rewards(turns: TurnBatch, knobs: Knobs, *, estimator: Estimator) -> Tensor:
    """z of the signed Norm-ITPO rewards alone: the outcome is in them already."""
    rewards_BK = turn_rewards.norm_itpo_signed(turns, knobs)
    if knobs.to_go == "reward_to_go":
        rewards_BK = turn_rewards.returns_to_go(rewards_BK, turns.happened_BK)
    return _z(rewards_BK, turns, knobs=knobs)


def itpo_beside_outcome(turns: TurnBatch, knobs: Knobs, *, estimator: Estimator) -> Tensor:
    """u A_i + w z(reward-to-go of the implicit turn rewards against the siblings)."""
    compared_BK = of_stream(turns, knobs, estimator=estimator, reward=turn_rewards.itpo)
    return _beside_outcome(compared_BK, turns, knobs=knobs, mix=BESIDE)


def outcome_advantages(turns: TurnBatch) -> Tensor:
    """The outcome's advantage at every turn, [B, K] or [B, 1] where it is the same at all of them."""
    if turns.outcome_advantages_BK is not None:
        return turns.outcome_advantages_BK
    return turns.advantage_B[:, None]


Algorithm = Callable[..., Tensor]  # (turns, knobs, *, estimator) -> advantages_BK
ALGORITHMS: Mapping[str, Algorithm] = MappingProxyType(
    {
        "outcome": broadcast_outcome,
        "uniform": broadcast_outcome,
        "dirichlet": random_split,
        "dirichlet_matched": matched_split,
        "judge": judged_split,
        "itpo": partial(of_stream, reward=turn_rewards.itpo),
        "norm_itpo": partial(of_stream, reward=turn_rewards.norm_itpo),
        "norm_itpo_plain": partial(of_stream, reward=turn_rewards.norm_itpo_plain),
        "norm_itpo_signed": signed_rewards,
        "norm_itpo_share": signed_split,
        "itpo_plus_outcome": itpo_beside_outcome,
        "immediate_plus_outcome": partial(of_signal, reward=turn_rewards.itpo, mix=BESIDE),
        "prefix_value": partial(of_signal, reward=turn_rewards.prefix_value, mix=ALONE),
        "dueling_advantage": partial(of_signal, reward=turn_rewards.dueling_advantage, mix=BESIDE),
        "oracle_pi": partial(of_signal, reward=turn_rewards.oracle_pi, mix=ALONE),
        "oracle_star": partial(of_signal, reward=turn_rewards.oracle_star, mix=ALONE),
    }
)


def _weighted(turns: TurnBatch, weights_BK: Tensor) -> Tensor:
    return torch.where(turns.happened_BK, outcome_advantages(turns) * weights_BK, 0)


def _beside_outcome(signal_BK: Tensor, turns: TurnBatch, *, knobs: Knobs, mix: Mix) -> Tensor:
    outcome = mix.outcome if knobs.outcome_weight is None else knobs.outcome_weight
    signal = mix.signal if knobs.signal_weight is None else knobs.signal_weight
    beside_BK = signal * _z(signal_BK, turns, knobs=knobs)
    return beside_BK + torch.where(turns.happened_BK, outcome * outcome_advantages(turns), 0)


def _z(values_BK: Tensor, turns: TurnBatch, *, knobs: Knobs) -> Tensor:
    return whiten(
        values_BK,
        torch.where(turns.happened_BK, turns.tokens_BK, 0),
        form=knobs.whiten_form,
        ddof=knobs.whiten_ddof,
        floor=knobs.whiten_floor,
    )


def _against_siblings(rewards_BK: Tensor, turns: TurnBatch, *, knobs: Knobs, estimator: Estimator) -> Tensor:
    return estimator.per_turn(
        rewards_BK,
        turns.happened_BK,
        group_B=turns.group_B,
        valid_B=turns.valid_B,
        std_floor=knobs.std_floor,
    )
