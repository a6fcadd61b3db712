"""What a learning curve says, and how sure a handful of paired seeds is. Pure: numbers in, numbers out."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean, stdev

# 97.5 % points of Student's t by degrees of freedom.
T_QUANTILES = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179)


@dataclass(frozen=True, slots=True)
class SeedInterval:
    """A mean over seeds with its 95 % Student interval; without one (None) when there is a single seed."""

    mean: float
    lower: float | None
    upper: float | None
    seeds: int


def smoothed(success: Sequence[float]) -> list[float]:
    """Centred mean of three iterations; the ends count twice."""
    padded = [success[0], *success, success[-1]]
    return [fmean(padded[place : place + 3]) for place in range(len(success))]


def area(success: Sequence[float]) -> float:
    """Mean success of the fresh conversations of all iterations: the area under the learning curve."""
    return fmean(success)


def conversations_to(level: float, success: Sequence[float], *, per_iteration: int) -> float | None:
    """Conversations that a policy had learnt from when the smoothed curve first reached the level.

    Linear between iterations; 0 when the policy began there, None when it never came. The policy of
    iteration i has learnt from i iterations' conversations.
    """
    curve = smoothed(success)
    for place, value in enumerate(curve):
        if value >= level:
            if place == 0:
                return 0.0
            before = curve[place - 1]
            return per_iteration * (place - 1 + (level - before) / (value - before))
    return None


def over_seeds(values: Sequence[float]) -> SeedInterval:
    """Mean and Student interval of one number per seed. Raises ValueError without any."""
    if not values:
        raise ValueError("no seed has been run: there is nothing to average")
    mean = fmean(values)
    if len(values) == 1:
        return SeedInterval(mean, None, None, 1)
    quantile = T_QUANTILES[min(len(values) - 1, len(T_QUANTILES)) - 1]
    half = quantile * stdev(values) / sqrt(len(values))
    return SeedInterval(mean, mean - half, mean + half, len(values))


def recovered(arm: Sequence[float], *, baseline: Sequence[float], oracle: Sequence[float]) -> float | None:
    """Which part of the oracle's mean gain over the baseline the arm has; None where the oracle has none."""
    gain = fmean(oracle) - fmean(baseline)
    return None if gain <= 0 else (fmean(arm) - fmean(baseline)) / gain
