"""Policy losses of sampled tokens and what is read off them. Pure: tensors in, tensors out.

Axis: N policy tokens of one minibatch, whatever conversation they come from; r is a token's probability over
the one it had when the training began, A its advantage. How the tokens' losses become one number is told by
`loss_aggregation`.

| loss       | value of one token                                    | what the clip does                    |
|------------|-------------------------------------------------------|---------------------------------------|
| ppo        | -min(r A, clip(r) A), bounded by the dual clip        | stops the token's gradient            |
| gspo       | the same with s, the geometric mean of r over its     | stops the gradient of the sequence,   |
|            | sequence, gradient through s                          | which all its tokens share            |
| gspo_token | the same value, gradient through the token's own r    | stops the token's gradient            |
| cispo      | -stop(clip(r)) A log policy                           | caps the weight, the gradient goes on |
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

import torch
from torch import Tensor

from itpo_core.sequences import Sequences, sequence_means

# Beyond this a difference of log-probabilities says "never"; its exponential would say infinity.
LOG_RATIO_LIMIT = 20.0
MOVED = 0.1
QUANTILES = (0.01, 0.5, 0.99)


@dataclass(frozen=True, slots=True)
class PolicyTokens:
    """What a policy loss is computed from; `start_N` are the log-probabilities when the training began."""

    logprobs_N: Tensor
    start_N: Tensor
    advantages_N: Tensor
    sequences: Sequences

    @property
    def log_ratios_N(self) -> Tensor:
        """log r."""
        return self.logprobs_N - self.start_N


@dataclass(frozen=True, slots=True)
class Clip:
    """Distances of the clip from 1, and the dual clip (infinite: none)."""

    low: float
    high: float
    dual: float = math.inf


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


def ppo_losses(tokens: PolicyTokens, clip: Clip) -> Tensor:
    """`clipped_losses` of every token's own ratio."""
    return _clipped(tokens.log_ratios_N, tokens.advantages_N, clip)


def gspo_losses(tokens: PolicyTokens, clip: Clip) -> Tensor:
    """`clipped_losses` of the sequence's length-normalised ratio. Source: GSPO (arXiv:2507.18071)."""
    return _clipped(_sequence_log_ratios(tokens), tokens.advantages_N, clip)


def gspo_token_losses(tokens: PolicyTokens, clip: Clip) -> Tensor:
    """GSPO's value with the token's own gradient, for advantages that differ within a sequence."""
    own_N = tokens.logprobs_N - tokens.logprobs_N.detach()
    return _clipped(_sequence_log_ratios(tokens).detach() + own_N, tokens.advantages_N, clip)


def cispo_losses(tokens: PolicyTokens, clip: Clip) -> Tensor:
    """REINFORCE with a capped importance weight. Source: MiniMax-M1 (arXiv:2506.13585), eq. 4 and 5."""
    weights_N = _ratios(tokens.log_ratios_N.detach()).clamp(1 - clip.low, 1 + clip.high)
    return -weights_N * tokens.advantages_N * tokens.logprobs_N


def stopped_tokens(log_ratios_N: Tensor, advantages_N: Tensor, *, clip: Clip) -> Tensor:
    """Where a clipped loss has no gradient: risen on a gain, fallen on a loss; bool [N]."""
    ratios_N = _ratios(log_ratios_N)
    return ((ratios_N > 1 + clip.high) & (advantages_N > 0)) | (
        (ratios_N < 1 - clip.low) & (advantages_N < 0)
    )


def capped_tokens(log_ratios_N: Tensor, advantages_N: Tensor, *, clip: Clip) -> Tensor:
    """Where CISPO caps the weight, whatever the advantage; bool [N]."""
    ratios_N = _ratios(log_ratios_N)
    return (ratios_N > 1 + clip.high) | (ratios_N < 1 - clip.low)


class ClipTest(Protocol):
    """Which tokens a clip concerned."""

    def __call__(self, log_ratios_N: Tensor, advantages_N: Tensor, *, clip: Clip) -> Tensor:
        """True where it did, bool [N]."""
        ...


@dataclass(frozen=True, slots=True)
class PolicyLoss:
    """A loss per token, the log-ratios that its clip looks at, and which tokens that clip concerned."""

    losses: Callable[[PolicyTokens, Clip], Tensor]
    log_ratios: Callable[[PolicyTokens], Tensor]
    clipped: ClipTest

    @torch.no_grad()
    def clipped_tokens(self, tokens: PolicyTokens, clip: Clip) -> Tensor:
        """Which tokens the clip stopped or capped, bool [N]."""
        return self.clipped(self.log_ratios(tokens), tokens.advantages_N, clip=clip)


def token_objectives(
    losses_N: Tensor, divergences_N: Tensor, *, entropies_N: Tensor, kl_weight: float, entropy_weight: float
) -> Tensor:
    """loss + kl_weight * divergence - entropy_weight * entropy of every token."""
    return losses_N + kl_weight * divergences_N - entropy_weight * entropies_N


@torch.no_grad()
def ratio_facts(log_ratios_N: Tensor, clipped_N: Tensor) -> RatioFacts:
    """The tokens' own ratios after a step, and how many of them the clip concerned."""
    ratios_N = _ratios(log_ratios_N)
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


def _own(tokens: PolicyTokens) -> Tensor:
    return tokens.log_ratios_N


def _sequence_log_ratios(tokens: PolicyTokens) -> Tensor:
    return sequence_means(tokens.log_ratios_N, tokens.sequences)[tokens.sequences.index_N]


def _ratios(log_ratios_N: Tensor) -> Tensor:
    return log_ratios_N.clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT).exp()


def _clipped(log_ratios_N: Tensor, advantages_N: Tensor, clip: Clip) -> Tensor:
    return clipped_losses(
        log_ratios_N, advantages_N, clip_low=clip.low, clip_high=clip.high, dual_clip=clip.dual
    )


POLICY_LOSSES: Mapping[str, PolicyLoss] = MappingProxyType(
    {
        "ppo": PolicyLoss(ppo_losses, _own, stopped_tokens),
        "gspo": PolicyLoss(gspo_losses, _sequence_log_ratios, stopped_tokens),
        "gspo_token": PolicyLoss(gspo_token_losses, _sequence_log_ratios, stopped_tokens),
        "cispo": PolicyLoss(cispo_losses, _own, capped_tokens),
    }
)
