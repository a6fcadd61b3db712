"""What a turn-level Q-function is fitted to: returns made of raw outcomes, never of learned rewards.

Pure. Axes: B conversations, K turns (right-padded). Targets are NaN where no turn happened and in whole rows
without an outcome (NaN): a conversation nobody judged is left out, it is not a failure.
Source: Iterative PPO (arXiv:2511.21638), policy evaluation; TD(lambda) is Sutton and Barto, chapter 12.
"""

import torch
from torch import Tensor


def monte_carlo_targets(outcome_B: Tensor, happened_BK: Tensor, *, gamma: float) -> Tensor:
    """G_k = gamma^(turns that follow) * R, float32 [B, K].

    Raises ValueError for an infinite outcome and for gamma outside (0, 1].
    """
    _check(outcome_B, gamma=gamma, lam=1.0)
    later_BK = happened_BK.long().flip(1).cumsum(1).flip(1) - 1
    discounted_BK = outcome_B.float()[:, None] * gamma ** later_BK.clamp(min=0).float()
    return torch.where(happened_BK, discounted_BK, torch.nan)


def td_lambda_targets(
    outcome_B: Tensor, happened_BK: Tensor, *, values_BK: Tensor, gamma: float, lam: float
) -> Tensor:
    """G_k = R at the last turn, else gamma * ((1 - lam) * V(h_k+1) + lam * G_k+1), float32 [B, K].

    `values_BK` is V before each turn on the scale of the outcome; with lam = 1 it plays no part and the
    result is `monte_carlo_targets`. Raises ValueError as that one does, for lam outside [0, 1], and for a
    value that is needed and not finite.
    """
    _check(outcome_B, gamma=gamma, lam=lam)
    if lam < 1 and not bool(values_BK[happened_BK].isfinite().all()):
        raise ValueError("a value before a turn is not finite: score every turn before making TD targets")
    needed_BK = happened_BK & (lam < 1)
    bootstrap_BK = torch.where(needed_BK, values_BK.float(), 0)
    following_B = outcome_B.float()
    targets_BK = torch.full(happened_BK.shape, torch.nan)
    for turn in reversed(range(happened_BK.shape[1])):
        here_B = happened_BK[:, turn]
        targets_BK[:, turn] = torch.where(here_B, following_B, torch.nan)
        earlier_B = gamma * ((1 - lam) * bootstrap_BK[:, turn] + lam * following_B)
        following_B = torch.where(here_B, _unknown_stays(earlier_B, outcome_B), following_B)
    return targets_BK


def unlabelled_turns(targets_BK: Tensor, happened_BK: Tensor) -> int:
    """How many turns that happened have no target and are left out."""
    return int((happened_BK & targets_BK.isnan()).sum())


def turn_weights(has_target_BK: Tensor, *, per_conversation: bool) -> Tensor:
    """1 for each turn with a target; with `per_conversation` 1/K, so that long talks do not dominate."""
    counts_B = has_target_BK.sum(dim=1).clamp(min=1)
    share_B = 1 / counts_B.float() if per_conversation else torch.ones(len(counts_B))
    return torch.where(has_target_BK, share_B[:, None], 0)


def _unknown_stays(values_B: Tensor, outcome_B: Tensor) -> Tensor:
    # With lam = 0 an unknown outcome would otherwise leave earlier turns a target made of values alone.
    return torch.where(outcome_B.isnan(), torch.nan, values_B)


def _check(outcome_B: Tensor, *, gamma: float, lam: float) -> None:
    if bool(outcome_B.isinf().any()):
        row = int(outcome_B.isinf().nonzero()[0])
        raise ValueError(
            f"outcome {float(outcome_B[row])} of row {row} is infinite: leave it NaN when unknown"
        )
    if not 0 < gamma <= 1:
        raise ValueError(f"gamma {gamma} is not in (0, 1]")
    if not 0 <= lam <= 1:
        raise ValueError(f"lambda {lam} is not in [0, 1]")
