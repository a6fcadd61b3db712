"""From log-ratios to turn scores, and from turn scores to turn rewards. Pure: tensors in, tensors out.

Axes: B conversations, K turns (right-padded), T tokens. S is a turn's score, L its count of policy tokens,
R the outcome, r the policy's reward (outcome minus the token cost), A the whole conversation's advantage,
tau the temperature, a the share.

Exact definitions; the statements in `sql/` compute the same numbers.

- A turn *happened* when its conversation is valid and it holds at least one policy token (L > 0). An empty
  turn has reward, share and advantage 0 and is counted nowhere: not in K_i, not in a mean, not in a softmax.
- cost_k = (R - r) * L_k / sum L: the token cost lies on the turns that spent the tokens.

| turn reward     | value at a turn that happened                                          | sum       |
|-----------------|------------------------------------------------------------------------|-----------|
| outcome         | r at the last turn that happened, 0 before                             | r         |
| uniform         | r / K_i                                                                | r         |
| dirichlet       | r * E_k / sum E, E given draws of Exp(1)                               | r         |
| itpo            | S_k                                                                    | sum S     |
| norm_itpo       | R * W_k - cost_k, W = softmax_k((S_k / Z) / L_k * Lbar / tau)          | r         |
| norm_itpo_plain | R * W_k - cost_k, W = softmax_k(S_k / tau)                             | r         |
| norm_itpo_share | r * weight_k / K_i, weight_k = 1 + a * (K_i * W_k - 1),                | r         |
|                 | W = softmax_k(S_k / tau) if A >= -1e-9 else softmax_k(-S_k / tau)      |           |
| oracle_pi       | Q^pi - V^pi, given by the environment                                  | not fixed |

(-1e-9 and not 0, so that an advantage of exactly 0 has the same sign wherever its last bit was rounded.)

Lbar is the mean of L over the turns that happened in the whole batch; Z is the largest |sum_{j>=k} S_j| over
them, plus 1e-6. Both depend on the batch, so they are passed explicitly and belong in the record.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

SCALE_FLOOR = 1e-6
SIGN_TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True)
class BatchScalars:
    """The two figures by which the published Norm-ITPO makes a turn's share depend on its batch."""

    mean_turn_tokens: float
    largest_return: float


@dataclass(frozen=True, slots=True)
class TurnBatch:
    """Everything that credit is computed from, for one batch of conversations.

    `happened_BK` is what `happened` returns; `advantage_B` is the whole conversation's advantage (GRPO or
    RLOO); `draws_BK` are positive Exp(1) draws; `oracle_BK` is Q^pi - V^pi, zeros where nobody knows it.
    """

    group_B: Tensor
    valid_B: Tensor
    outcome_B: Tensor
    reward_B: Tensor
    advantage_B: Tensor
    happened_BK: Tensor
    tokens_BK: Tensor
    scores_BK: Tensor
    draws_BK: Tensor
    oracle_BK: Tensor


@dataclass(frozen=True, slots=True)
class Knobs:
    """Scalars of credit: temperature (tau), strength of the shares (a, 0 to 1), floor under a group's std."""

    temperature: float
    share: float
    std_floor: float
    scalars: BatchScalars


def happened(tokens_BK: Tensor, valid_B: Tensor) -> Tensor:
    """Which turns count: those of valid conversations with at least one policy token."""
    return (tokens_BK > 0) & valid_B[:, None]


def turn_sums(values_BT: Tensor, turn_index_BT: Tensor, *, turns: int) -> Tensor:
    """Sum of the tokens of every turn, [B, turns]; tokens with turn index -1 belong to no turn.

    Raises ValueError for an index that is not below `turns`.
    """
    if turn_index_BT.numel() and int(turn_index_BT.max()) >= turns:
        raise ValueError(f"turn index {int(turn_index_BT.max())} does not fit {turns} turns: raise `turns`")
    in_turn_BT = turn_index_BT >= 0
    sums_BK = values_BT.new_zeros(len(values_BT), turns)
    return sums_BK.scatter_add(1, turn_index_BT.clamp(min=0), torch.where(in_turn_BT, values_BT, 0))


def implicit_scores(
    logprobs_BT: Tensor, reference_logprobs_BT: Tensor, *, turn_index_BT: Tensor, beta: float, turns: int
) -> Tensor:
    """S_k: beta times the summed log-ratio of the turn's own tokens. Source: ITPO (arXiv:2603.23550)."""
    return beta * turn_sums(logprobs_BT - reference_logprobs_BT, turn_index_BT, turns=turns)


def batch_scalars(scores_BK: Tensor, tokens_BK: Tensor, *, happened_BK: Tensor) -> BatchScalars:
    """Lbar and Z of the module's head; 1 and the floor alone when no turn happened."""
    if not bool(happened_BK.any()):
        return BatchScalars(mean_turn_tokens=1.0, largest_return=SCALE_FLOOR)
    returns_BK = returns_to_go(scores_BK, happened_BK)
    return BatchScalars(
        mean_turn_tokens=float(tokens_BK[happened_BK].double().mean()),
        largest_return=float(returns_BK[happened_BK].abs().max()) + SCALE_FLOOR,
    )


def returns_to_go(rewards_BK: Tensor, happened_BK: Tensor) -> Tensor:
    """Each turn's own reward and all later ones, undiscounted; 0 where no turn happened."""
    kept_BK = torch.where(happened_BK, rewards_BK, 0)
    return torch.where(happened_BK, kept_BK.flip(1).cumsum(1).flip(1), 0)


def masked_softmax(logits_BK: Tensor, happened_BK: Tensor) -> Tensor:
    """Softmax over the turns that happened, 0 elsewhere; a row without a turn is all zeros, never NaN."""
    return _exponentials(logits_BK, happened_BK) / _totals(_exponentials(logits_BK, happened_BK))


def signed_shares(scores_BK: Tensor, happened_BK: Tensor, *, sign_B: Tensor, temperature: float) -> Tensor:
    """W+ or W-: who earned a success is who scored high, who earned a failure is who scored low."""
    return masked_softmax(_signed_logits(scores_BK, sign_B, temperature=temperature), happened_BK)


def share_weights(
    scores_BK: Tensor, happened_BK: Tensor, *, sign_B: Tensor, temperature: float, share: float
) -> Tensor:
    """1 + share * (K W - 1): positive, mean 1 over the turns that happened, 0 elsewhere.

    Exactly 1 when `share` is 0, when one turn happened and when all scores are equal: K is multiplied in
    before the division, so that K equal exponentials give K / K.
    """
    exponentials_BK = _exponentials(_signed_logits(scores_BK, sign_B, temperature=temperature), happened_BK)
    relative_BK = turn_counts(happened_BK)[:, None] * exponentials_BK / _totals(exponentials_BK)
    return torch.where(happened_BK, 1 + share * (relative_BK - 1), 0)


def weights_of(turns: TurnBatch, knobs: Knobs) -> Tensor:
    """`share_weights` of a batch, signed by the conversations' advantages."""
    return share_weights(
        turns.scores_BK,
        turns.happened_BK,
        sign_B=turns.advantage_B,
        temperature=knobs.temperature,
        share=knobs.share,
    )


def turn_counts(happened_BK: Tensor) -> Tensor:
    """K_i: how many turns of each conversation happened."""
    return happened_BK.sum(dim=1)


def token_costs(outcome_B: Tensor, reward_B: Tensor, *, tokens_BK: Tensor, happened_BK: Tensor) -> Tensor:
    """The conversation's token cost, laid on its turns in proportion to their policy tokens."""
    spent_BK = torch.where(happened_BK, tokens_BK, 0).to(reward_B.dtype)
    cost_BK = (outcome_B - reward_B)[:, None] * spent_BK / spent_BK.sum(1, keepdim=True).clamp(min=1)
    return torch.where(happened_BK, cost_BK, 0)


def outcome_at_end(turns: TurnBatch, knobs: Knobs) -> Tensor:
    """The sparse reward: all of it at the last turn that happened."""
    later_BK = turns.happened_BK.long().flip(1).cumsum(1).flip(1)
    return torch.where(turns.happened_BK & (later_BK == 1), turns.reward_B[:, None], 0)


def uniform(turns: TurnBatch, knobs: Knobs) -> Tensor:
    """The same part of the reward to every turn."""
    part_B = turns.reward_B / turn_counts(turns.happened_BK).clamp(min=1)
    return torch.where(turns.happened_BK, part_B[:, None], 0)


def dirichlet(turns: TurnBatch, knobs: Knobs) -> Tensor:
    """The placebo: a random split, Dirichlet(1, ..., 1), without any information about the turns."""
    return torch.where(turns.happened_BK, turns.reward_B[:, None] * random_shares(turns), 0)


def random_shares(turns: TurnBatch) -> Tensor:
    """d_k = E_k / sum E over the turns that happened. Raises ValueError for a draw that is not above 0."""
    if bool((turns.draws_BK[turns.happened_BK] <= 0).any()):
        raise ValueError("Dirichlet draws must be above 0: pass draws of the exponential distribution")
    draws_BK = torch.where(turns.happened_BK, turns.draws_BK, 0)
    return draws_BK / _totals(draws_BK)


def itpo(turns: TurnBatch, knobs: Knobs) -> Tensor:
    """The implicit turn reward itself, R_k = S_k. Source: ITPO (arXiv:2603.23550)."""
    return torch.where(turns.happened_BK, turns.scores_BK, 0)


def norm_itpo(turns: TurnBatch, knobs: Knobs) -> Tensor:
    """Norm-ITPO as published: shares of the outcome, length-normalised and scaled by the batch."""
    tokens_BK = turns.tokens_BK.clamp(min=1).to(turns.scores_BK.dtype)
    per_token_BK = turns.scores_BK / knobs.scalars.largest_return / tokens_BK
    return _outcome_split(turns, per_token_BK * knobs.scalars.mean_turn_tokens / knobs.temperature)


def norm_itpo_plain(turns: TurnBatch, knobs: Knobs) -> Tensor:
    """Norm-ITPO as its text has it: shares are softmax(S / tau), the same whatever the batch."""
    return _outcome_split(turns, turns.scores_BK / knobs.temperature)


def norm_itpo_share(turns: TurnBatch, knobs: Knobs) -> Tensor:
    """The reward split by the mean-preserving signed shares that also scale the advantage."""
    return uniform(turns, knobs) * weights_of(turns, knobs)


def oracle_pi(turns: TurnBatch, knobs: Knobs) -> Tensor:
    """What the environment knows: the turn's advantage under the policy that spoke."""
    return torch.where(turns.happened_BK, turns.oracle_BK, 0)


TurnReward = Callable[[TurnBatch, Knobs], Tensor]
TURN_REWARDS: Mapping[str, TurnReward] = MappingProxyType(
    {
        "outcome": outcome_at_end,
        "uniform": uniform,
        "dirichlet": dirichlet,
        "itpo": itpo,
        "norm_itpo": norm_itpo,
        "norm_itpo_plain": norm_itpo_plain,
        "norm_itpo_share": norm_itpo_share,
        "oracle_pi": oracle_pi,
    }
)


def _outcome_split(turns: TurnBatch, logits_BK: Tensor) -> Tensor:
    gain_BK = turns.outcome_B[:, None] * masked_softmax(logits_BK, turns.happened_BK)
    cost_BK = token_costs(
        turns.outcome_B, turns.reward_B, tokens_BK=turns.tokens_BK, happened_BK=turns.happened_BK
    )
    return torch.where(turns.happened_BK, gain_BK - cost_BK, 0)


def _signed_logits(scores_BK: Tensor, sign_B: Tensor, *, temperature: float) -> Tensor:
    return torch.where(sign_B[:, None] >= -SIGN_TOLERANCE, scores_BK, -scores_BK) / temperature


def _exponentials(logits_BK: Tensor, happened_BK: Tensor) -> Tensor:
    # The largest logit is taken out first, so that a sharp temperature cannot overflow.
    peak_B1 = torch.where(happened_BK, logits_BK, -torch.inf).amax(dim=1, keepdim=True)
    shifted_BK = torch.where(
        happened_BK, logits_BK - peak_B1.clamp(min=torch.finfo(logits_BK.dtype).min), -torch.inf
    )
    return shifted_BK.exp()


def _totals(values_BK: Tensor) -> Tensor:
    totals_B1 = values_BK.sum(dim=1, keepdim=True)
    return torch.where(totals_B1 > 0, totals_B1, 1)
