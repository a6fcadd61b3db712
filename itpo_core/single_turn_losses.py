"""Rewards of sampled turns to advantages, and the loss of the single-turn step. Pure: tensors in and out.

Axes: H histories, M turns sampled at each, N tokens of the turns of one step. Source: Iterative PPO
(arXiv:2511.21638), section "policy improvement"; what is said about scales and penalties here is our own.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from itpo_core.kl import NO_LIMITS, k2
from itpo_core.policy_losses import Clip, clipped_losses, stopped_tokens

# A spread below this is rounding: no turn is better than another.
LEAST_SPREAD = 1e-4


@dataclass(frozen=True, slots=True)
class StepTokens:
    """Tokens of one step: log-probabilities now (with gradient), when drawn, and under the reference."""

    logprobs_N: Tensor
    drawn_N: Tensor
    reference_N: Tensor
    advantages_N: Tensor


@dataclass(frozen=True, slots=True)
class StepTerms:
    """`losses_N`, with gradient, are what the objective is the mean of; the rest are their parts, without."""

    losses_N: Tensor
    policy_losses_N: Tensor
    divergences_N: Tensor
    clipped_N: Tensor


def centred(rewards_HM: Tensor) -> Tensor:
    """Each reward less the mean of its history's: what a turn is worth among the turns of one state."""
    return rewards_HM - rewards_HM.mean(dim=1, keepdim=True)


def spread(rewards_HM: Tensor) -> float:
    """Standard deviation of the centred rewards over all histories together.

    One number for all: a history's own deviation would blow rounding up where every turn is equally good.
    """
    return float(centred(rewards_HM).std(correction=0))


def without_profit_from_cuts(rewards_HM: Tensor, is_closed_HM: Tensor, *, margin: float) -> Tensor:
    """A turn that was cut gets the worst reward of its history, less `margin` times the spread of all.

    Q never saw how such a turn goes on, so that it must not profit. Where every turn was cut, none is worse
    than another.
    """
    worst_H1 = rewards_HM.min(dim=1, keepdim=True).values
    return torch.where(is_closed_HM, rewards_HM, worst_H1 - margin * spread(rewards_HM))


def scaled_advantages(rewards_HM: Tensor, *, scale: float, limit: float) -> Tensor:
    """(r - mean of the history) / scale, within +-limit; 0 where the scale is nothing but rounding."""
    if scale < LEAST_SPREAD:
        return torch.zeros_like(rewards_HM)
    return (centred(rewards_HM) / scale).clamp(-limit, limit)


def logged_advantages(outcomes_N: Tensor, values_N: Tensor, *, draws: int, scale: float) -> Tensor:
    """M (y - Q(h, a)) / scale of each logged turn: together with M sampled turns scored by Q doubly robust.

    The sampled turns estimate the step under Q, the logged one what Q is wrong by; it weighs as much as all
    of them, since it stands for the same history. Source: arXiv:1511.03722, one step.
    """
    return draws * (outcomes_N - values_N) / scale


def single_turn_terms(
    tokens: StepTokens, *, clip_low: float, clip_high: float, kl_weight: float
) -> StepTerms:
    """-min(q A, clip(q) A) + kl_weight (log pi_i - log pi)^2 / 2 of every token; the objective is the mean.

    q is the probability over that when drawn, pi_i the reference. The quadratic penalty has light tails where
    the k3 estimator has heavy ones, once a token of the reference has been given up.
    """
    log_ratios_N = tokens.logprobs_N - tokens.drawn_N
    losses_N = clipped_losses(
        log_ratios_N, tokens.advantages_N, clip_low=clip_low, clip_high=clip_high, dual_clip=math.inf
    )
    divergences_N = k2(tokens.logprobs_N - tokens.reference_N, NO_LIMITS)
    clip = Clip(clip_low, clip_high)
    return StepTerms(
        losses_N + kl_weight * divergences_N,
        losses_N.detach(),
        divergences_N.detach(),
        stopped_tokens(log_ratios_N.detach(), tokens.advantages_N, clip=clip),
    )
