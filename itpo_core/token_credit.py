"""Credit inside a turn: token by token where a turn's advantage alone does not say it. Pure.

Axes: B conversations, K turns, T tokens (both right-padded). `turn_index_BT` is -1 where a token belongs to
no turn; the tokens of a turn are contiguous. A token that the policy did not speak gets 0 and moves nothing.

- `prime_tokens`: the return-to-go G_t of the token scores from token t on, minus what the estimator takes off
  the return of the token's turn (its baseline; the deviation is that of the whole batch):
  z(C_k - (G_k - G_t)), C_k the turn's centred return, G_k its return at the first token.
  Source: PRIME (arXiv:2502.01456).
- `prime_tokens_released`: the form of the authors' code: leave-one-out on mean token rewards, to go, then z.
- `ppo_tokens`: z of GAE over tokens; turn rewards stand on the last token of their turn.
"""

import torch
from torch import Tensor

from itpo_core import turn_rewards
from itpo_core.estimators import Plan, centred_turns, released_baseline, teaching_turns
from itpo_core.gae import Gae, at_turn_ends, gae_tokens
from itpo_core.normalisation import whiten
from itpo_core.profiles import Conventions
from itpo_core.turn_batch import TurnBatch, finite_turns, needed


def policy_tokens(turns: TurnBatch) -> Tensor:
    """Tokens of turns that happened, bool [B, T]."""
    turn_index_BT = needed(turns.turn_index_BT, "turn_index_BT")
    return (turn_index_BT >= 0) & _on_tokens(turns.happened_BK, turn_index_BT)


def prime_tokens(turns: TurnBatch, *, plan: Plan) -> Tensor:
    """Advantage of every token, [B, T]. Raises ValueError for scores that are missing or not finite."""
    own, turn_index_BT = plan.conventions, needed(turns.turn_index_BT, "turn_index_BT")
    scores_BT = token_scores(turns)
    sums_BK = turn_rewards.turn_sums(scores_BT, turn_index_BT, turns=turns.tokens_BK.shape[1])
    if own.turn_baseline == "turn_mean":
        return prime_tokens_released(turns, scores_BT, own=own)
    centred_BK = centred_turns(turns, sums_BK, plan=plan)
    teaches_BK = teaching_turns(turns, sums_BK, plan=plan)
    at_start_BK = turn_rewards.returns_to_go(sums_BK, turns.happened_BK)
    to_go_BT = scores_BT.flip(1).cumsum(1).flip(1)
    emitted_BT = _on_tokens(at_start_BK, turn_index_BT) - to_go_BT
    counts_BT = policy_tokens(turns) & _on_tokens(teaches_BK, turn_index_BT)
    return _z(_on_tokens(centred_BK, turn_index_BT) - emitted_BT, counts_BT, own=own)


def prime_tokens_released(turns: TurnBatch, scores_BT: Tensor, *, own: Conventions) -> Tensor:
    """The released estimator on token scores, [B, T]."""
    counts_BT = policy_tokens(turns)
    centred_BT = released_baseline(
        scores_BT, turns.group_B, counts=counts_BT, votes_B=torch.ones_like(turns.valid_B)
    )
    return _z(centred_BT.flip(1).cumsum(1).flip(1), counts_BT, own=own)


def ppo_tokens(turns: TurnBatch, rewards_BT: Tensor, *, plan: Plan) -> Gae:
    """Token-level GAE of rewards on policy tokens: whitened advantages and the critic's returns, [B, T]."""
    own, is_policy_BT = plan.conventions, policy_tokens(turns)
    values_BT = needed(turns.token_values_BT, "token_values_BT").to(rewards_BT.dtype)
    kept_BT = finite_turns(values_BT, is_policy_BT, name="the critic's value of a token")
    # Another token's value is only read where the profile makes it a time step.
    values_BT = values_BT.nan_to_num() if own.user_tokens_gae == "count" else kept_BT
    found = gae_tokens(
        rewards_BT,
        values_BT,
        is_policy_BT=is_policy_BT,
        gamma=plan.gamma,
        lam=plan.lam,
        user_tokens=own.user_tokens_gae,
    )
    return Gae(advantages=_z(found.advantages, is_policy_BT, own=own), returns=found.returns)


def turn_means(values_BT: Tensor, turns: TurnBatch) -> Tensor:
    """Mean over the tokens of every turn that happened, 0 elsewhere, [B, K]."""
    turn_index_BT = needed(turns.turn_index_BT, "turn_index_BT")
    width = turns.tokens_BK.shape[1]
    sums_BK = turn_rewards.turn_sums(values_BT, turn_index_BT, turns=width)
    counts_BK = turn_rewards.turn_sums(torch.ones_like(values_BT), turn_index_BT, turns=width)
    return torch.where(turns.happened_BK, sums_BK / counts_BK.clamp(min=1), 0)


def at_first_tokens(turns: TurnBatch) -> Tensor:
    """The token critic's value of every turn's first token, 0 where no turn happened, [B, K]."""
    turn_index_BT = needed(turns.turn_index_BT, "turn_index_BT")
    values_BT = needed(turns.token_values_BT, "token_values_BT")
    before_BT = torch.nn.functional.pad(turn_index_BT[:, :-1], (1, 0), value=-2)
    first_BT = policy_tokens(turns) & (turn_index_BT != before_BT)
    kept_BT = torch.where(first_BT, values_BT, 0)
    return turn_rewards.turn_sums(kept_BT, turn_index_BT, turns=turns.tokens_BK.shape[1])


def at_ends(turns: TurnBatch, rewards_BK: Tensor) -> Tensor:
    """The turn rewards on the last token of their turns, 0 on every other token, [B, T]."""
    rewards_BT = at_turn_ends(rewards_BK, needed(turns.turn_index_BT, "turn_index_BT"))
    return torch.where(policy_tokens(turns), rewards_BT, 0)


def token_scores(turns: TurnBatch) -> Tensor:
    """The implicit reward of every token of a turn that happened, 0 elsewhere, [B, T]."""
    scores_BT = needed(turns.token_scores_BT, "token_scores_BT").to(turns.scores_BK.dtype)
    return finite_turns(scores_BT, policy_tokens(turns), name="the score of a token")


def _on_tokens(values_BK: Tensor, turn_index_BT: Tensor) -> Tensor:
    return values_BK.gather(1, turn_index_BT.clamp(min=0))


def _z(values_BT: Tensor, counts_BT: Tensor, *, own: Conventions) -> Tensor:
    return whiten(values_BT, counts_BT, form=own.whiten_form, ddof=own.whiten_ddof, floor=own.whiten_floor)
