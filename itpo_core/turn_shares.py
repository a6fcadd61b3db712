"""How a conversation's reward is shared among its turns. Pure: tensors in, tensors out.

Axes: B conversations, K turns (right-padded). A share d sums to 1 over the turns that happened; a weight is
K_i times a share and has mean 1. Both are 0 where no turn happened.
"""

import torch
from torch import Tensor

from itpo_core.turn_batch import Knobs, TurnBatch, needed

SIGN_TOLERANCE = 1e-9
# A divisor below this would turn equal scores of a sharp softmax into infinity.
SMALLEST_TEMPERATURE = 1e-6


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


def matched_weights(turns: TurnBatch, knobs: Knobs) -> Tensor:
    """The conversation's own share weights in the order of its draws: same dispersion, no information."""
    _refuse_draws(turns)
    weights_BK = weights_of(turns, knobs)
    # Both orders put the turns that did not happen last, so that weights only move among those that did.
    places_BK = torch.arange(weights_BK.shape[1]).expand_as(weights_BK)
    by_place_BK = torch.where(turns.happened_BK, places_BK, torch.iinfo(torch.int64).max).argsort(dim=1)
    by_draw_BK = torch.where(turns.happened_BK, turns.draws_BK, torch.inf).argsort(dim=1, stable=True)
    moved_BK = weights_BK.gather(1, by_draw_BK)
    return torch.zeros_like(weights_BK).scatter(1, by_place_BK, moved_BK)


def random_shares(turns: TurnBatch) -> Tensor:
    """d_k = E_k / sum E over the turns that happened. Raises ValueError for a draw that is not above 0."""
    _refuse_draws(turns)
    draws_BK = torch.where(turns.happened_BK, turns.draws_BK, 0)
    return draws_BK / _totals(draws_BK)


def judged_shares(turns: TurnBatch) -> Tensor:
    """A judge's weights over their sum; equal shares where it failed (NaN) at a turn or gave no weight.

    Raises ValueError for a negative or an infinite weight.
    """
    judged_BK = needed(turns.judge_BK, "judge_BK").masked_fill(~turns.happened_BK, 0)
    if bool(((judged_BK < 0) | judged_BK.isinf()).any()):
        raise ValueError(
            "a judge's weight is negative or infinite: weights are at least 0, NaN for a failure"
        )
    total_B1 = judged_BK.sum(dim=1, keepdim=True)
    told_B1 = total_B1.isfinite() & (total_B1 > 0)
    equal_BK = turns.happened_BK / turn_counts(turns.happened_BK)[:, None].clamp(min=1)
    return torch.where(told_B1, judged_BK / torch.where(told_B1, total_B1, 1), equal_BK)


def unjudged(turns: TurnBatch) -> int:
    """How many conversations with turns a judge left without usable weights; all of them without a judge."""
    with_turns_B = turns.happened_BK.any(dim=1)
    if turns.judge_BK is None:
        return int(with_turns_B.sum())
    total_B = turns.judge_BK.masked_fill(~turns.happened_BK, 0).sum(dim=1)
    return int((with_turns_B & ~(total_B.isfinite() & (total_B > 0))).sum())


def turn_counts(happened_BK: Tensor) -> Tensor:
    """K_i: how many turns of each conversation happened."""
    return happened_BK.sum(dim=1)


def share_entropy(shares_BK: Tensor, happened_BK: Tensor) -> float | None:
    """Mean entropy of the shares over that of equal shares, in [0, 1]; None when no row has two turns."""
    counts_B = turn_counts(happened_BK)
    several_B = counts_B > 1
    if not bool(several_B.any()):
        return None
    entropy_B = -torch.special.xlogy(shares_BK, shares_BK).sum(dim=1)
    return float((entropy_B[several_B] / counts_B[several_B].to(entropy_B.dtype).log()).mean())


def _refuse_draws(turns: TurnBatch) -> None:
    if bool((turns.draws_BK[turns.happened_BK] <= 0).any()):
        raise ValueError("Dirichlet draws must be above 0: pass draws of the exponential distribution")


def _signed_logits(scores_BK: Tensor, sign_B: Tensor, *, temperature: float) -> Tensor:
    refuse_temperature(temperature)
    return torch.where(sign_B[:, None] >= -SIGN_TOLERANCE, scores_BK, -scores_BK) / temperature


def refuse_temperature(temperature: float) -> None:
    """Raise ValueError for a temperature that a score cannot be divided by."""
    if not SMALLEST_TEMPERATURE <= temperature < float("inf"):
        raise ValueError(
            f"temperature {temperature}: it must be finite and at least {SMALLEST_TEMPERATURE}"
            " (towards 0 the whole share goes to the best turn)"
        )


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
