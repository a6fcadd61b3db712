"""Intervals and rank statistics. Pure: arrays in, numbers out. Axes: N observations, C clusters, D draws."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
WEIGHTS_AT_ONCE = 4_000_000


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean (or AUC) with its two-sided interval over `clusters` independent units of `pairs` numbers."""

    mean: float
    lower: float
    upper: float
    pairs: int
    clusters: int


def paired_interval(
    differences: Sequence[float], clusters: Sequence[object], *, confidence: float, draws: int, seed: int
) -> Interval:
    """Percentile bootstrap of the mean difference over whole clusters (scenarios), whose pairs stay together.

    Two-sided: with confidence .95 the lower bound lies above a true difference of 0 in about 2.5 % of cases.
    Raises ValueError for no or non-finite differences, and for fewer than two clusters.
    """
    values_N = np.asarray(differences, dtype=np.float64)
    _check(values_N, clusters, confidence=confidence)
    sums_C, sizes_C = _cluster_totals(values_N, clusters)
    means_D = _bootstrap_means(sums_C, sizes_C, draws=draws, seed=seed)
    tail = (1 - confidence) / 2
    lower, upper = np.quantile(means_D, [tail, 1 - tail])
    return Interval(
        mean=float(values_N.mean()),
        lower=float(lower),
        upper=float(upper),
        pairs=len(values_N),
        clusters=len(sums_C),
    )


def auc(scores: Sequence[float], labels: Sequence[bool]) -> float | None:
    """Chance that a positive scores above a negative, ties half; None when one of the classes is empty."""
    positive_N = np.asarray(labels, dtype=bool)
    n_positive, n_negative = int(positive_N.sum()), int((~positive_N).sum())
    if n_positive == 0 or n_negative == 0:
        return None
    scores_N = np.asarray(scores, dtype=np.float64)
    if not np.isfinite(scores_N).all():
        where = int(np.flatnonzero(~np.isfinite(scores_N))[0])
        raise ValueError(f"score {where} is {scores_N[where]}: a ranking needs finite scores")
    ranks_N = midranks(scores_N)
    return float((ranks_N[positive_N].sum() - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative))


def auc_interval(
    scores: Sequence[float],
    labels: Sequence[bool],
    *,
    clusters: Sequence[object],
    confidence: float,
    draws: int,
    seed: int,
) -> Interval | None:
    """AUC with a bootstrap interval over whole clusters; None when one of the classes is empty.

    Draws that hold one class only say nothing about the AUC and are left out.
    """
    whole = auc(scores, labels)
    if whole is None:
        return None
    slot_N, count = _cluster_slots(clusters)
    if count < 2:
        raise ValueError(f"{count} cluster: an interval needs at least two scenarios")
    weights_DC = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=draws)
    scores_N, positive_N = np.asarray(scores, dtype=np.float64), np.asarray(labels, dtype=bool)
    # In stretches of draws: all draws by all observations of a large set would not fit into memory.
    stretches = np.array_split(weights_DC, -(-draws * len(slot_N) // WEIGHTS_AT_ONCE))
    aucs_D = np.concatenate(
        [_weighted_aucs(scores_N, positive_N, weights_DN=part_DC[:, slot_N]) for part_DC in stretches]
    )
    tail = (1 - confidence) / 2
    lower, upper = np.nanquantile(aucs_D, [tail, 1 - tail])
    return Interval(mean=whole, lower=float(lower), upper=float(upper), pairs=len(slot_N), clusters=count)


def brier(probabilities: Sequence[float], labels: Sequence[float]) -> float:
    """Mean squared distance of the predicted probability to the (possibly soft) label."""
    difference_N = np.asarray(probabilities, dtype=np.float64) - np.asarray(labels, dtype=np.float64)
    return float(np.mean(difference_N**2))


def spearman(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Rank correlation, ties at their mean rank; None for fewer than two pairs or a constant side."""
    first_N, second_N = (midranks(np.asarray(side, dtype=np.float64)) for side in (first, second))
    if len(first_N) != len(second_N):
        raise ValueError(f"{len(first_N)} values against {len(second_N)}: pairs are needed")
    if len(first_N) < 2 or np.ptp(first_N) == 0 or np.ptp(second_N) == 0:
        return None
    return float(np.corrcoef(first_N, second_N)[0, 1])


def midranks(values_N: Floats) -> Floats:
    """Ranks from 1; equal values share the mean of their ranks."""
    _, slot_N, counts_U = np.unique(values_N, return_inverse=True, return_counts=True)
    last_U = np.cumsum(counts_U)
    return np.asarray(last_U - (counts_U - 1) / 2, dtype=np.float64)[slot_N]


def _check(values_N: Floats, clusters: Sequence[object], *, confidence: float) -> None:
    if len(values_N) != len(clusters):
        raise ValueError(
            f"{len(values_N)} differences but {len(clusters)} clusters: give one cluster per pair"
        )
    if len(set(clusters)) < 2:
        raise ValueError(f"{len(set(clusters))} cluster: an interval needs at least two scenarios")
    if not np.isfinite(values_N).all():
        where = int(np.flatnonzero(~np.isfinite(values_N))[0])
        raise ValueError(f"difference {where} is {values_N[where]}: leave unscored pairs out and count them")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence {confidence} is not between 0 and 1")


def _cluster_slots(clusters: Sequence[object]) -> tuple[NDArray[np.int64], int]:
    slots: dict[object, int] = {}
    slot_N = np.array([slots.setdefault(cluster, len(slots)) for cluster in clusters], dtype=np.int64)
    return slot_N, len(slots)


def _cluster_totals(values_N: Floats, clusters: Sequence[object]) -> tuple[Floats, Floats]:
    slot_N, count = _cluster_slots(clusters)
    sums_C = np.bincount(slot_N, weights=values_N, minlength=count)
    return sums_C.astype(np.float64), np.bincount(slot_N, minlength=count).astype(np.float64)


def _bootstrap_means(sums_C: Floats, sizes_C: Floats, *, draws: int, seed: int) -> Floats:
    # Clusters with the same sum and size are interchangeable, so drawing how often each *kind* comes up is
    # the same as drawing clusters, and binary outcomes have a handful of kinds, not a thousand clusters.
    kinds_U2, counts_U = np.unique(np.stack([sums_C, sizes_C], axis=1), axis=0, return_counts=True)
    drawn_DU = np.random.default_rng(seed).multinomial(len(sums_C), counts_U / len(sums_C), size=draws)
    totals_D2 = drawn_DU @ kinds_U2
    return totals_D2[:, 0] / totals_D2[:, 1]


def _weighted_aucs(
    scores_N: Floats, positive_N: NDArray[np.bool_], *, weights_DN: NDArray[np.int64]
) -> Floats:
    order_N = np.argsort(scores_N, kind="stable")
    starts_U = np.flatnonzero(np.diff(scores_N[order_N], prepend=-np.inf))
    sorted_DN, sorted_positive_N = weights_DN[:, order_N], positive_N[order_N]
    positives_DU = np.add.reduceat(sorted_DN * sorted_positive_N, starts_U, axis=1)
    negatives_DU = np.add.reduceat(sorted_DN * ~sorted_positive_N, starts_U, axis=1)
    below_DU = np.cumsum(negatives_DU, axis=1) - negatives_DU / 2
    pairs_D = positives_DU.sum(axis=1) * negatives_DU.sum(axis=1)
    wins_D = (positives_DU * below_DU).sum(axis=1)
    return np.divide(wins_D, pairs_D, out=np.full(len(pairs_D), np.nan), where=pairs_D > 0)
