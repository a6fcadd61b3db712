"""The gap between the log-probabilities of the sampler and of the trainer, for the same weights.

Pure: tensors in, tensors out. Axes: N policy tokens, S sequences. g = log trainer - log sampler of a token;
its ratio is exp(g). Weights and masks change the policy loss alone; they never change how many tokens it is
divided by, and figures are always those of the raw ratios.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

import torch
from torch import Tensor

from itpo_core.sequences import Sequences, largest_of, sequence_means, sequence_sums

LOG_RATIO_LIMIT = 20.0
QUANTILES = (0.01, 0.5, 0.99)


@dataclass(frozen=True, slots=True)
class GapCorrection:
    """What is done about the gap. None bounds nothing.

    `weight`: none, token (exp(g)) or sequence (the product over the sequence), truncated to
    [weight_low, weight_high]. `mask`: none, or a statistic that must lie in [mask_low, mask_high]: token (its
    own ratio), mean (geometric mean of the sequence), product, max (every ratio of the sequence).
    Sources: truncated importance sampling, Espeholt et al. (arXiv:1802.01561), section 4.1.
    """

    weight: str = "none"
    weight_low: float | None = None
    weight_high: float | None = None
    mask: str = "none"
    mask_low: float | None = None
    mask_high: float | None = None

    def __post_init__(self) -> None:
        """Raises ValueError for unknown names, bounds in the wrong order and a mask without any bound."""
        for field, name, names in (("weight", self.weight, GAP_WEIGHTS), ("mask", self.mask, GAP_MASKS)):
            if name not in names:
                raise ValueError(f"gap {field} {name!r}: choose one of {sorted(names)}")
        _check_bounds("weight", self.weight_low, self.weight_high)
        _check_bounds("mask", self.mask_low, self.mask_high)
        if self.mask != "none" and self.mask_low is None and self.mask_high is None:
            raise ValueError(f"gap mask {self.mask!r} needs mask_low or mask_high, else it masks nothing")

    @property
    def is_off(self) -> bool:
        """Whether the loss is left as it is."""
        return self.weight == "none" and self.mask == "none"


@dataclass(frozen=True, slots=True)
class GapFacts:
    """Raw ratios, before any truncation. `effective_` is (sum r)^2 / (n sum r^2), of tokens and of sequences.

    `masked_` and `truncated_share` are shares of the policy's tokens.
    """

    gap_ratio_mean: float
    gap_ratio_max: float
    gap_ratio_q01: float
    gap_ratio_median: float
    gap_ratio_q99: float
    gap_effective_tokens: float
    gap_effective_sequences: float
    gap_masked_share: float
    gap_truncated_share: float


def no_weights(gaps_N: Tensor, of: Sequences) -> Tensor:
    """Log-weight 0 everywhere."""
    return torch.zeros_like(gaps_N)


def token_gaps(gaps_N: Tensor, of: Sequences) -> Tensor:
    """The log-ratio of the token itself."""
    return gaps_N


def product_gaps(gaps_N: Tensor, of: Sequences) -> Tensor:
    """The log-ratio of the token's whole sequence."""
    return sequence_sums(gaps_N, of)[of.index_N]


def mean_gaps(gaps_N: Tensor, of: Sequences) -> Tensor:
    """The mean log-ratio of the token's sequence."""
    return sequence_means(gaps_N, of)[of.index_N]


Gaps = Callable[[Tensor, Sequences], Tensor]
GAP_WEIGHTS: Mapping[str, Gaps] = MappingProxyType(
    {"none": no_weights, "token": token_gaps, "sequence": product_gaps}
)


class GapMask(Protocol):
    """Which tokens keep their policy loss."""

    def __call__(self, gaps_N: Tensor, of: Sequences, *, correction: GapCorrection) -> Tensor:
        """True where they do, bool [N]."""
        ...


def _inside(statistic: Gaps) -> GapMask:
    def kept(gaps_N: Tensor, of: Sequences, *, correction: GapCorrection) -> Tensor:
        return _within(_ratios(statistic(gaps_N, of)), correction.mask_low, correction.mask_high)

    return kept


def everything(gaps_N: Tensor, of: Sequences, *, correction: GapCorrection) -> Tensor:
    """No token is masked."""
    return torch.ones_like(gaps_N, dtype=torch.bool)


def every_ratio_inside(gaps_N: Tensor, of: Sequences, *, correction: GapCorrection) -> Tensor:
    """Tokens of sequences none of whose ratios leaves the bounds."""
    outside_N = ~_within(_ratios(gaps_N), correction.mask_low, correction.mask_high)
    return largest_of(outside_N.to(gaps_N.dtype), of)[of.index_N] == 0


GAP_MASKS: Mapping[str, GapMask] = MappingProxyType(
    {
        "none": everything,
        "token": _inside(token_gaps),
        "mean": _inside(mean_gaps),
        "product": _inside(product_gaps),
        "max": every_ratio_inside,
    }
)


@torch.no_grad()
def gap_weights(gaps_N: Tensor, of: Sequences, *, correction: GapCorrection) -> Tensor:
    """What the policy loss of every token is multiplied by, 0 where it is masked, [N]; never a gradient."""
    raw_N = _ratios(GAP_WEIGHTS[correction.weight](gaps_N, of))
    kept_N = GAP_MASKS[correction.mask](gaps_N, of, correction=correction)
    return torch.where(kept_N, _truncated(raw_N, correction), 0)


@torch.no_grad()
def gap_facts(gaps_N: Tensor, of: Sequences, *, correction: GapCorrection) -> GapFacts:
    """The raw ratios of a batch, and how much of it the correction touches."""
    ratios_N = _ratios(gaps_N)
    raw_N = _ratios(GAP_WEIGHTS[correction.weight](gaps_N, of))
    kept_N = GAP_MASKS[correction.mask](gaps_N, of, correction=correction)
    low, median, high = ratios_N.quantile(ratios_N.new_tensor(QUANTILES)).tolist()
    return GapFacts(
        gap_ratio_mean=float(ratios_N.mean()),
        gap_ratio_max=float(ratios_N.max()),
        gap_ratio_q01=low,
        gap_ratio_median=median,
        gap_ratio_q99=high,
        gap_effective_tokens=effective_share(ratios_N),
        gap_effective_sequences=effective_share(_ratios(sequence_sums(gaps_N, of))),
        gap_masked_share=float((~kept_N).double().mean()),
        gap_truncated_share=float((kept_N & (_truncated(raw_N, correction) != raw_N)).double().mean()),
    )


def effective_share(weights_N: Tensor) -> float:
    """Effective sample size over the sample's size: 1 for equal weights, 1 / n when one has it all."""
    weights_N = weights_N.double()
    return float(weights_N.sum().square() / (len(weights_N) * weights_N.square().sum()))


def _ratios(gaps_N: Tensor) -> Tensor:
    return gaps_N.clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT).exp()


def _truncated(ratios_N: Tensor, correction: GapCorrection) -> Tensor:
    return ratios_N.clamp(correction.weight_low or 0.0, correction.weight_high or torch.inf)


def _within(ratios_N: Tensor, low: float | None, high: float | None) -> Tensor:
    return (ratios_N >= (low or 0.0)) & (ratios_N <= (high or torch.inf))


def _check_bounds(name: str, low: float | None, high: float | None) -> None:
    if (low is not None and low < 0) or (high is not None and high <= (low or 0.0)):
        raise ValueError(f"gap {name} bounds [{low}, {high}]: give 0 <= low < high, or None for no bound")


NO_CORRECTION = GapCorrection()
