"""Distances of two sets of conversations over counted bins, and how conversations are drawn. Pure.

Axes: C conversations, B bins, D draws, K turns. A conversation is a row of counts, so that whatever is drawn,
whole conversations are drawn.
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from itpo_core.fidelity_features import Scale

Floats = NDArray[np.float64]
BINS = 20  # quantiles of the logged values
Distance = Callable[[Floats, Floats], Floats]


def quantile_edges(values_N: Floats) -> Floats:
    """Edges of at most BINS bins that hold about as many values each; ties never fall apart."""
    cuts = np.unique(np.quantile(values_N, np.linspace(0, 1, BINS + 1)))
    return np.asarray(np.nextafter(cuts[:-1], np.inf), dtype=np.float64)


def counted(values: list[list[float]], edges: Floats) -> Floats:
    """counts_CB: how many values of each conversation lie in each bin."""
    counts_CB = np.zeros((len(values), len(edges) + 1))
    for row, each in enumerate(values):
        np.add.at(counts_CB[row], np.digitize(each, edges), 1.0)
    return counts_CB


def totals(values: list[list[float]]) -> Floats:
    """totals_C2: how many values each conversation has, and their sum."""
    return np.array([[len(each), sum(each)] for each in values], dtype=np.float64)


def kolmogorov(first_DB: Floats, second_DB: Floats) -> Floats:
    """Largest difference of the cumulative shares, between bins; of two bins that of their shares."""
    gaps_DB = np.cumsum(_shares(first_DB), axis=1) - np.cumsum(_shares(second_DB), axis=1)
    return np.abs(gaps_DB).max(axis=1)


def jensen_shannon(first_DB: Floats, second_DB: Floats) -> Floats:
    """Jensen-Shannon divergence in bits."""
    p_DB, q_DB = _shares(first_DB), _shares(second_DB)
    middle_DB = (p_DB + q_DB) / 2
    return np.maximum(0.0, (_divergence(p_DB, middle_DB) + _divergence(q_DB, middle_DB)) / 2)


def survival(first_DB: Floats, second_DB: Floats) -> Floats:
    """Largest difference of the Kaplan-Meier curves; bins are (goes on, ends) turn by turn."""
    return np.abs(survivors(first_DB) - survivors(second_DB)).max(axis=1)


def hazard(first_DB: Floats, second_DB: Floats) -> Floats:
    """Mean over the first's turns of the difference in the chance of ending."""
    gaps_DK = np.abs(_hazards(first_DB) - _hazards(second_DB))
    weights_DK = _pairs(first_DB).sum(axis=2)
    return (gaps_DK * weights_DK).sum(axis=1) / np.maximum(weights_DK.sum(axis=1), 1.0)


def mean_difference(first_D2: Floats, second_D2: Floats) -> Floats:
    """Difference of the means, of (how many, sum); the mean of none is 0."""
    return np.abs(_means(first_D2) - _means(second_D2))


DISTANCES: Mapping[Scale, Distance] = {
    Scale.KOLMOGOROV: kolmogorov,
    Scale.SHARES: kolmogorov,
    Scale.WORDS: kolmogorov,
    Scale.CHANGE: mean_difference,
    Scale.JENSEN_SHANNON: jensen_shannon,
    Scale.SURVIVAL: survival,
    Scale.HAZARD: hazard,
}


def survivors(counts_DB: Floats) -> Floats:
    """S_DK: chance of going on after turn k, with conversations that were cut counted as long as they ran."""
    return np.cumprod(1 - _hazards(counts_DB), axis=1)


def resampled(conversations: int, *, draws: int, seed: int) -> Floats:
    """weights_DC: how often each conversation comes up when as many are drawn with replacement."""
    chances_C = np.full(conversations, 1 / conversations)
    drawn_DC = np.random.default_rng(seed).multinomial(conversations, chances_C, size=draws)
    return drawn_DC.astype(np.float64)


def halves(conversations: int, *, half: int, draws: int, seed: int) -> tuple[Floats, Floats]:
    """Two weights_DC: `draws` random pairs of `half` conversations each, none of them in both."""
    places_DC = np.argsort(np.random.default_rng(seed).random((draws, conversations)), axis=1)
    first_DC = places_DC < half
    second_DC = (places_DC >= half) & (places_DC < 2 * half)
    return first_DC.astype(np.float64), second_DC.astype(np.float64)


def part_where_any(counts_C2: Floats) -> float:
    """Of the conversations that hold any of it, the share that it has; 1 where none does."""
    held_C2 = counts_C2[counts_C2[:, 1] > 0]
    return float(held_C2[:, 1].sum() / held_C2.sum()) if len(held_C2) else 1.0


def _means(totals_D2: Floats) -> Floats:
    return np.asarray(totals_D2[:, 1] / np.maximum(totals_D2[:, 0], 1.0), dtype=np.float64)


def _shares(counts_DB: Floats) -> Floats:
    # A draw without any value is at distance 0 from another such, and far from all others.
    return counts_DB / np.maximum(counts_DB.sum(axis=1, keepdims=True), 1.0)


def _divergence(p_DB: Floats, q_DB: Floats) -> Floats:
    ratio_DB = np.divide(p_DB, q_DB, out=np.ones_like(p_DB), where=p_DB > 0)
    return np.asarray((p_DB * np.log2(ratio_DB)).sum(axis=1), dtype=np.float64)


def _pairs(counts_DB: Floats) -> Floats:
    return counts_DB.reshape(len(counts_DB), -1, 2)


def _hazards(counts_DB: Floats) -> Floats:
    pairs_DK2 = _pairs(counts_DB)
    return pairs_DK2[:, :, 1] / np.maximum(pairs_DK2.sum(axis=2), 1.0)
