"""The clipped policy loss and what is read off it. Pure: tensors in, tensors out.

Axis: N policy tokens of one minibatch, whatever conversation they come from; every mean is over tokens.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

# Beyond these a difference of log-probabilities says "never"; its exponential would say infinity.
LOG_RATIO_LIMIT = 20.0
KL_LIMIT = 5.0
MOVED = 0.1
QUANTILES = (0.01, 0.5, 0.99)


@dataclass(frozen=True, slots=True)
class RatioFacts:
    """How far a step moved its tokens; `moved_` counts only those whose |log ratio| passes 0.1."""

    ratio_mean: float
    ratio_q01: float
    ratio_median: float
    ratio_q99: float
    clip_fraction: float
    moved_fraction: float
    moved_clip_fraction: float


def clipped_losses(
    log_ratios_N: Tensor, advantages_N: Tensor, *, clip_low: float, clip_high: float, dual_clip: float
) -> Tensor:
    """-min(r A, clip(r, 1 - clip_low, 1 + clip_high) A) per token; for A < 0 never above dual_clip |A|.

    Source: PPO (arXiv:1707.06347), eq. 7, with both bounds apart (arXiv:2503.14476) and the dual clip
    (arXiv:1912.09729), eq. 5. Raises ValueError when dual_clip does not lie above 1.
    """
    if dual_clip <= 1:
        raise ValueError(f"dual_clip {dual_clip}: it bounds the loss of rising ratios and must lie above 1")
    ratios_N = log_ratios_N.clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT).exp()
    clipped_N = ratios_N.clamp(1 - clip_low, 1 + clip_high)
    losses_N = -torch.min(ratios_N * advantages_N, clipped_N * advantages_N)
    return torch.where(advantages_N < 0, torch.min(losses_N, -dual_clip * advantages_N), losses_N)


def k3_divergences(logprobs_N: Tensor, reference_logprobs_N: Tensor) -> Tensor:
    """exp(d) - d - 1 with d = reference - policy, clamped to [-5, 5]; never below 0, its mean is the KL.

    The clamp is there because a policy that kills a token which the reference likes would else own the loss;
    beyond it the gradient is 0. Source: k3 of Schulman, "Approximating KL divergence" (2020).
    """
    difference_N = (reference_logprobs_N - logprobs_N).clamp(-KL_LIMIT, KL_LIMIT)
    return difference_N.exp() - difference_N - 1


def policy_objective(
    losses_N: Tensor, divergences_N: Tensor, *, entropies_N: Tensor, kl_weight: float, entropy_weight: float
) -> Tensor:
    """Mean over tokens of loss + kl_weight * divergence - entropy_weight * entropy."""
    return (losses_N + kl_weight * divergences_N - entropy_weight * entropies_N).mean()


@torch.no_grad()
def ratio_facts(
    log_ratios_N: Tensor, advantages_N: Tensor, *, clip_low: float, clip_high: float
) -> RatioFacts:
    """Ratios and clipping of one step; a token counts as clipped when the clip stops its gradient."""
    ratios_N = log_ratios_N.clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT).exp()
    clipped_N = ((ratios_N > 1 + clip_high) & (advantages_N > 0)) | (
        (ratios_N < 1 - clip_low) & (advantages_N < 0)
    )
    moved_N = log_ratios_N.abs() > MOVED
    low, median, high = ratios_N.quantile(ratios_N.new_tensor(QUANTILES)).tolist()
    return RatioFacts(
        ratio_mean=float(ratios_N.mean()),
        ratio_q01=low,
        ratio_median=median,
        ratio_q99=high,
        clip_fraction=float(clipped_N.float().mean()),
        moved_fraction=float(moved_N.float().mean()),
        moved_clip_fraction=float((clipped_N & moved_N).sum() / moved_N.sum().clamp(min=1)),
    )


def decayed(value: float, floor: float, *, decay: float, iteration: int) -> float:
    """floor + (value - floor) * decay ** iteration: the excess over the floor shrinks, the floor stays.

    With floor 0 it decays a learning rate. A value at or below its floor is returned as it is.
    """
    if value <= floor:
        return value
    return floor + (value - floor) * decay**iteration
