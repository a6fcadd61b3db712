"""Losses of a turn-level Q-function or critic. Pure: tensors in, tensors out.

Axis: N turns that have a target, of whatever conversations; `weights_N` are not negative.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor
from torch.nn import functional

HUBER_DELTA = 1.0

TurnLosses = Callable[[Tensor, Tensor], Tensor]


def cross_entropies(logits_N: Tensor, targets_N: Tensor) -> Tensor:
    """Binary cross-entropy of each turn, in nats; soft targets in [0, 1] are not rounded."""
    return functional.binary_cross_entropy_with_logits(
        logits_N, targets_N.to(logits_N.dtype), reduction="none"
    )


def huber_losses(predicted_N: Tensor, targets_N: Tensor) -> Tensor:
    """Quadratic up to an error of 1 and linear beyond, for returns on a scale of their own."""
    return functional.huber_loss(
        predicted_N, targets_N.to(predicted_N.dtype), delta=HUBER_DELTA, reduction="none"
    )


def squared_losses(predicted_N: Tensor, targets_N: Tensor) -> Tensor:
    """Half the squared error."""
    return (predicted_N - targets_N.to(predicted_N.dtype)) ** 2 / 2


TURN_LOSSES: Mapping[str, TurnLosses] = MappingProxyType(
    {"cross_entropy": cross_entropies, "huber": huber_losses, "squared": squared_losses}
)


def clipped_value_losses(
    predicted_N: Tensor, targets_N: Tensor, *, old_N: Tensor, clip: float, losses: TurnLosses
) -> Tensor:
    """The larger of the loss as predicted and of the loss at most `clip` away from the old prediction.

    A critic then gains nothing by running far from the values its advantages were made with. Source: value
    clipping of PPO's reference implementation (arXiv:2005.12729, section 2). Raises ValueError for a clip
    that is not above 0.
    """
    if clip <= 0:
        raise ValueError(
            f"value clip {clip}: it is a distance and must lie above 0; leave it out for no clip"
        )
    near_N = old_N + (predicted_N - old_N).clamp(-clip, clip)
    return torch.maximum(losses(predicted_N, targets_N), losses(near_N, targets_N))


def weighted_mean(losses_N: Tensor, weights_N: Tensor) -> Tensor:
    """Mean under the weights. Raises ValueError for a negative weight or for weights that sum to 0."""
    total = weights_N.sum()
    if bool((weights_N < 0).any()) or float(total) <= 0:
        raise ValueError("turn weights must not be negative and at least one must be above 0")
    return (losses_N * weights_N).sum() / total


def check_targets(targets_N: Tensor, *, loss: str) -> None:
    """Raises ValueError for a target that the loss has no meaning for: infinite, or no chance in [0, 1]."""
    wrong_N = ~targets_N.isfinite()
    if loss == "cross_entropy":
        wrong_N = wrong_N | (targets_N < 0) | (targets_N > 1)
    if bool(wrong_N.any()):
        remedy = "use the loss 'huber' for returns on another scale" if loss == "cross_entropy" else "drop it"
        raise ValueError(f"target {float(targets_N[wrong_N][0])} does not suit the loss {loss!r}: {remedy}")
