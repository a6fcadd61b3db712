"""Estimators of the divergence from a reference, one value per sampled token, and the weight they get.

Pure: tensors in, tensors out. Axis: N policy tokens. x = log policy - log reference of a sampled token;
values and gradients below are expectations under the policy, the gradient taken with the samples held fixed,
as a loss takes it.

| estimator | value of one token               | expected value | expected gradient        |
|-----------|----------------------------------|----------------|--------------------------|
| k1        | x                                | the KL         | 0: it never pulls        |
| k2        | x^2 / 2                          | not the KL     | that of KL(policy, ref)  |
| k3        | exp(-x) + x - 1                  | the KL         | that of KL(ref, policy)  |
| k3_plus   | k3, with the gradient of k2      | the KL         | that of KL(policy, ref)  |
| k1_score  | k1, the sampling's score added   | the KL         | that of KL(policy, ref)  |
| k3_score  | k3, the sampling's score added   | the KL         | that of KL(policy, ref)  |

`quadratic` is another name of k2: as a penalty on the log-ratio it has light tails where k3 has heavy ones.
Sources: Schulman, "Approximating KL divergence" (2020); arXiv:2506.09477 for the gradients.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

KL_LIMIT = 5.0
LARGEST_ERROR = 0.2


@dataclass(frozen=True, slots=True)
class KlLimits:
    """`input` bounds |x| under k3's exponential alone, `output` every estimate; None bounds nothing.

    Beyond a bound the gradient is 0. The bound on the input is there because a policy that kills a token
    which the reference likes would else own the loss.
    """

    input: float | None = KL_LIMIT
    output: float | None = None


NO_LIMITS = KlLimits(input=None, output=None)
KlEstimator = Callable[[Tensor, KlLimits], Tensor]


@dataclass(frozen=True, slots=True)
class AdaptiveKl:
    """Keep the divergence near `target` (nats per token); `horizon` is counted in conversations."""

    target: float
    horizon: int

    def __post_init__(self) -> None:
        """Raises ValueError for a target or a horizon that is not above 0."""
        if not self.target > 0 or self.horizon <= 0:
            raise ValueError(
                f"adaptive KL with target {self.target}, horizon {self.horizon}: both must lie above 0"
            )


def k1(log_ratios_N: Tensor, limits: KlLimits) -> Tensor:
    """The log-ratio: unbiased, signed, and as a loss without any pull."""
    return _bounded(log_ratios_N, limits.output)


def k2(log_ratios_N: Tensor, limits: KlLimits) -> Tensor:
    """Half the squared log-ratio: biased as a value, the right gradient as a loss."""
    return _bounded(0.5 * log_ratios_N.square(), limits.output)


def k3(log_ratios_N: Tensor, limits: KlLimits) -> Tensor:
    """exp(-x) + x - 1: unbiased and never below 0."""
    difference_N = _bounded(-log_ratios_N, limits.input)
    return _bounded(difference_N.exp() - difference_N - 1, limits.output)


def k3_plus(log_ratios_N: Tensor, limits: KlLimits) -> Tensor:
    """The value of k3 with the gradient of k2, straight through and never stopped by a bound."""
    carrier_N = k2(log_ratios_N, NO_LIMITS)
    return carrier_N - carrier_N.detach() + k3(log_ratios_N, limits).detach()


def k1_score(log_ratios_N: Tensor, limits: KlLimits) -> Tensor:
    """k1 with the gradient through the probability of having sampled the token."""
    return _bounded(_score(log_ratios_N) * log_ratios_N, limits.output)


def k3_score(log_ratios_N: Tensor, limits: KlLimits) -> Tensor:
    """k3 with the gradient through the probability of having sampled the token; bounds stop both parts."""
    bounded_N = _bounded(log_ratios_N, limits.input)
    estimates_N = k3(bounded_N, NO_LIMITS)
    return _bounded(_score(bounded_N) * estimates_N, limits.output)


KL_ESTIMATORS: Mapping[str, KlEstimator] = MappingProxyType(
    {
        "k1": k1,
        "k2": k2,
        "quadratic": k2,
        "k3": k3,
        "k3_plus": k3_plus,
        "k1_score": k1_score,
        "k3_score": k3_score,
    }
)


def kl_rewards_to_go(divergences_BT: Tensor, is_policy_BT: Tensor) -> Tensor:
    """Minus the divergences of a token and all later policy tokens of its row, 0 off the policy, [B, T].

    The divergence as a reward instead of a loss: what it adds to the advantages per unit of its weight.
    """
    kept_BT = torch.where(is_policy_BT, divergences_BT, 0)
    return torch.where(is_policy_BT, -kept_BT.flip(1).cumsum(1).flip(1), 0)


def adapted_kl_weight(weight: float, divergence: float, *, adaptive: AdaptiveKl, conversations: int) -> float:
    """The weight after so many conversations that lay `divergence` nats per token from the reference.

    weight * (1 + error * conversations / horizon), error = divergence / target - 1 within [-0.2, 0.2].
    Source: arXiv:1909.08593, section 2.2.
    """
    error = min(max(divergence / adaptive.target - 1, -LARGEST_ERROR), LARGEST_ERROR)
    return weight * (1 + error * conversations / adaptive.horizon)


def _bounded(values_N: Tensor, limit: float | None) -> Tensor:
    return values_N if limit is None else values_N.clamp(-limit, limit)


def _score(log_ratios_N: Tensor) -> Tensor:
    # Value 1, gradient that of the token's log-probability.
    return (log_ratios_N - log_ratios_N.detach()).exp()
