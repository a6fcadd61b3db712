"""Putting numbers of a batch on one scale. Pure: tensors in, tensors out.

Axes: B conversations, K turns (right-padded), T tokens; `whiten` takes any shape.

`whiten`: mu = sum w v / sum w, variance s2 = sum w (v - mu)^2 / sum w (population), 0 where w = 0, and
- deviation_plus_floor: (v - mu) / (s + floor),
- variance_plus_floor: (v - mu) / sqrt(s2 + floor),
- variance_at_least_floor: (v - mu) / sqrt(max(s2, floor)),
- none: v as it is.
With ddof 1, s2 is multiplied by W / (W - 1), W = sum w: a weight counts how often a value occurs.

Scale of implicit scores:
- none: 1;
- batch_max: the largest |return-to-go| of a turn that happened, plus 1e-6 (the published form; one outlier
  flattens everybody, and the same conversation is scaled differently in another batch);
- running_std: the square root of an exponential mean of the batches' mean squares about 0, over all turns
  that happened in the whole batch; the state is passed in and given back, so that it can be recorded.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

WHITEN_FLOOR = 1e-6
SCALE_FLOOR = 1e-6
RUNNING_DECAY = 0.9


@dataclass(frozen=True, slots=True)
class RunningScale:
    """Exponential mean of the mean square of turn scores; `batches` counts those that were taken in."""

    mean_square: float = 0.0
    batches: int = 0

    @property
    def deviation(self) -> float:
        """Deviation about 0, bias-free from the first batch on; never 0."""
        weight = 1 - RUNNING_DECAY**self.batches
        return max((self.mean_square / weight) ** 0.5 if self.batches else 0.0, SCALE_FLOOR)


def whiten(
    values: Tensor,
    weights: Tensor,
    *,
    form: str = "deviation_plus_floor",
    ddof: int = 0,
    floor: float = WHITEN_FLOOR,
) -> Tensor:
    """Weighted mean 0 and deviation 1 by the module's head; 0 where the weight is 0, whatever stands there.

    Raises ValueError for an unknown form.
    """
    if form not in DIVISORS:
        raise ValueError(f"whitening {form!r} does not exist: choose one of {', '.join(DIVISORS)}")
    weights = weights.to(values.dtype)
    kept = torch.where(weights > 0, values, 0)
    if form == "none":
        return kept
    total = weights.sum().clamp(min=torch.finfo(values.dtype).tiny)
    centred = kept - (weights * kept).sum() / total
    variance = (weights * centred.square()).sum() / total
    if ddof:
        variance = variance * total / (total - ddof).clamp(min=1)
    return torch.where(weights > 0, centred / DIVISORS[form](variance, floor), 0)


def running_scale(state: RunningScale, scores_BK: Tensor, *, happened_BK: Tensor) -> RunningScale:
    """The state after one more batch; unchanged by a batch in which no turn happened."""
    if not bool(happened_BK.any()):
        return state
    mean_square = float(scores_BK[happened_BK].double().square().mean())
    return RunningScale(
        mean_square=RUNNING_DECAY * state.mean_square + (1 - RUNNING_DECAY) * mean_square,
        batches=state.batches + 1,
    )


def explained_variance(values: Tensor, returns: Tensor, *, counts: Tensor) -> float | None:
    """1 - Var(returns - values) / Var(returns) over the entries that count; None when returns do not vary."""
    found, wanted = values[counts].double(), returns[counts].double()
    if wanted.numel() < 2 or float(wanted.max()) == float(wanted.min()):
        return None
    return float(1 - (wanted - found).var(correction=0) / wanted.var(correction=0))


DIVISORS: Mapping[str, Callable[[Tensor, float], Tensor]] = MappingProxyType(
    {
        "deviation_plus_floor": lambda variance, floor: variance.sqrt() + floor,
        "variance_plus_floor": lambda variance, floor: (variance + floor).sqrt(),
        "variance_at_least_floor": lambda variance, floor: variance.clamp(min=floor).sqrt(),
        "none": lambda variance, floor: torch.ones_like(variance),
    }
)
