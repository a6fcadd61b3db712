"""From log-ratios to turn scores, and from turn scores to turn rewards. Pure: tensors in, tensors out.

Axes: B conversations, K turns (right-padded), T tokens. S is a turn's score, L its count of policy tokens,
R the outcome, r the policy's reward (outcome minus the token cost), A the whole conversation's advantage,
tau the temperature, a the share, V_k a critic's value before turn k.

Exact definitions; the statements in `sql/` compute the same numbers for those that they have.

- A turn *happened* when its conversation is valid and it holds at least one policy token (L > 0). An empty
  turn has reward, share and advantage 0 and is counted nowhere: not in K_i, not in a mean, not in a softmax.
- cost_k = (R - r) * L_k / sum L: the token cost lies on the turns that spent the tokens.

| turn reward            | value at a turn that happened                                   | sum           |
|------------------------|-----------------------------------------------------------------|---------------|
| outcome                | r at the last turn that happened, 0 before                      | r             |
| uniform                | r / K_i                                                         | r             |
| dirichlet              | r * E_k / sum E, E given draws of Exp(1)                        | r             |
| dirichlet_matched      | norm_itpo_share with the row's weights in the order of E        | r             |
| judge                  | r * j_k / sum j, j a judge's weights; r / K_i where it failed   | r             |
| itpo, prime_token      | S_k (prime_token: the sum of its token scores)                  | sum S         |
| norm_itpo              | R * W_k - cost_k, W = softmax_k((S_k / Z) / L_k * Lbar / tau)   | r             |
| norm_itpo_plain        | R * W_k - cost_k, W = softmax_k(S_k / tau)                      | r             |
| norm_itpo_signed       | R * W+_k - (1 - R) * W-_k - cost_k, W+- = softmax_k(+-S_k / tau) | r - (1 - R)   |
| norm_itpo_share        | r * weight_k / K_i, weight_k = 1 + a * (K_i * W_k - 1),         | r             |
|                        | W = softmax_k(S_k / tau) if A >= -1e-9 else softmax_k(-S_k / tau) |             |
| itpo_plus_outcome      | outcome_k + signal_weight * S_k                                 | r + w sum S   |
| immediate_plus_outcome | the same rewards, credited at once instead of to go             | r + w sum S   |
| prefix_value           | V_(k+1) - V_k, at the last turn r - V_k                         | r - V_1       |
| dueling_advantage      | the log-ratio term of the dueling Q                             | not fixed     |
| oracle_pi, oracle_star | Q^pi - V^pi and Q* - V*, given by the environment               | not fixed     |

(-1e-9 and not 0, so that an advantage of exactly 0 has the same sign wherever its last bit was rounded.)

Lbar is the mean of L over the turns that happened in the whole batch; Z is the largest |sum_{j>=k} S_j| over
them, plus 1e-6. Both depend on the batch, so they are passed explicitly and belong in the record.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor

from itpo_core.gae import gae_turns
from itpo_core.normalisation import SCALE_FLOOR
from itpo_core.turn_batch import BatchScalars, Knobs, TurnBatch, finite_turns, needed
from itpo_core.turn_shares import (
    judged_shares,
    masked_softmax,
    matched_weights,
    random_shares,
    turn_counts,
    weights_of,
)

SIGNAL_WEIGHT = 0.5


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


def norm_itpo_signed(turns: TurnBatch, knobs: Knobs) -> Tensor:
    """Failures teach too: a success is shared by high scores, the missing rest is charged to low ones."""
    return _outcome_split(turns, turns.scores_BK / knobs.temperature) - failure_split(turns, knobs)


def failure_split(turns: TurnBatch, knobs: Knobs) -> Tensor:
    """(1 - R) * W-: what a success would have added, charged to the turns that scored lowest."""
    missing_B1 = 1 - turns.outcome_B[:, None]
    blame_BK = masked_softmax(-turns.scores_BK / knobs.temperature, turns.happened_BK)
    return torch.where(turns.happened_BK, missing_B1 * blame_BK, 0)


def dirichlet_matched(turns: TurnBatch, knobs: Knobs) -> Tensor:
    """The placebo of the signed shares: their own weights at random turns of the same conversation."""
    return uniform(turns, knobs) * matched_weights(turns, knobs)


def judge(turns: TurnBatch, knobs: Knobs) -> Tensor:
    """The reward split as a judge weighs the turns."""
    return torch.where(turns.happened_BK, turns.reward_B[:, None] * judged_shares(turns), 0)


def score_plus_outcome(turns: TurnBatch, knobs: Knobs) -> Tensor:
    """The sparse outcome with the weighted implicit turn reward beside it."""
    weight = SIGNAL_WEIGHT if knobs.signal_weight is None else knobs.signal_weight
    return outcome_at_end(turns, knobs) + weight * itpo(turns, knobs)


def prime_token(turns: TurnBatch, knobs: Knobs) -> Tensor:
    """The implicit reward of single tokens, summed over each turn. Source: PRIME (arXiv:2502.01456)."""
    token_scores_BT = needed(turns.token_scores_BT, "token_scores_BT")
    turn_index_BT = needed(turns.turn_index_BT, "turn_index_BT")
    sums_BK = turn_sums(token_scores_BT, turn_index_BT, turns=turns.tokens_BK.shape[1])
    return finite_turns(sums_BK.to(turns.scores_BK.dtype), turns.happened_BK, name="the sum of token scores")


def prefix_value(turns: TurnBatch, knobs: Knobs) -> Tensor:
    """What the turn added to the value of the conversation; the last one is measured against the reward."""
    values_BK = needed(turns.values_BK, "values_BK").to(turns.scores_BK.dtype)
    kept_BK = finite_turns(values_BK, turns.happened_BK, name="the critic's value")
    sparse_BK = outcome_at_end(turns, knobs)
    return gae_turns(sparse_BK, kept_BK, happened_BK=turns.happened_BK, gamma=1.0, lam=0.0).advantages


def dueling_advantage(turns: TurnBatch, knobs: Knobs) -> Tensor:
    """The log-ratio term of a dueling Q: its estimate of the advantage under the collecting policy."""
    log_ratios_BK = needed(turns.log_ratios_BK, "log_ratios_BK").to(turns.scores_BK.dtype)
    return finite_turns(log_ratios_BK, turns.happened_BK, name="the log-ratio of the dueling Q")


def oracle_pi(turns: TurnBatch, knobs: Knobs) -> Tensor:
    """What the environment knows: the turn's advantage under the policy that spoke."""
    return torch.where(turns.happened_BK, turns.oracle_BK, 0)


def oracle_star(turns: TurnBatch, knobs: Knobs) -> Tensor:
    """What the environment knows: the turn's advantage under the best policy there is."""
    star_BK = needed(turns.oracle_star_BK, "oracle_star_BK").to(turns.scores_BK.dtype)
    return finite_turns(star_BK, turns.happened_BK, name="Q* - V*")


TurnReward = Callable[[TurnBatch, Knobs], Tensor]
TURN_REWARDS: Mapping[str, TurnReward] = MappingProxyType(
    {
        "outcome": outcome_at_end,
        "uniform": uniform,
        "dirichlet": dirichlet,
        "dirichlet_matched": dirichlet_matched,
        "judge": judge,
        "itpo": itpo,
        "norm_itpo": norm_itpo,
        "norm_itpo_plain": norm_itpo_plain,
        "norm_itpo_signed": norm_itpo_signed,
        "norm_itpo_share": norm_itpo_share,
        "itpo_plus_outcome": score_plus_outcome,
        "immediate_plus_outcome": score_plus_outcome,
        "prime_token": prime_token,
        "prefix_value": prefix_value,
        "dueling_advantage": dueling_advantage,
        "oracle_pi": oracle_pi,
        "oracle_star": oracle_star,
    }
)


def _outcome_split(turns: TurnBatch, logits_BK: Tensor) -> Tensor:
    gain_BK = turns.outcome_B[:, None] * masked_softmax(logits_BK, turns.happened_BK)
    cost_BK = token_costs(
        turns.outcome_B, turns.reward_B, tokens_BK=turns.tokens_BK, happened_BK=turns.happened_BK
    )
    return torch.where(turns.happened_BK, gain_BK - cost_BK, 0)
