"""Intervals, ranks and the promotion rule, down to its rate of false promotions."""

import math
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from itpo_core.statistics import auc, auc_interval, brier, midranks, paired_interval, spearman

interval_of = partial(paired_interval, confidence=0.95, draws=1000, seed=0)
auc_interval_of = partial(auc_interval, confidence=0.95, draws=1000, seed=0)


def test_the_interval_of_a_mean_is_where_the_normal_one_is() -> None:
    differences = [1.0] * 60 + [0.0] * 20 + [-1.0] * 20

    interval = interval_of(differences, range(100))

    half = 1.96 * math.sqrt((80 / 100 - 0.4**2) / 100)
    assert interval.mean == pytest.approx(0.4)
    assert interval.lower == pytest.approx(0.4 - half, abs=0.02)
    assert interval.upper == pytest.approx(0.4 + half, abs=0.02)
    assert (interval.pairs, interval.clusters) == (100, 100)


def test_it_is_the_plain_bootstrap_over_clusters() -> None:
    generator = np.random.default_rng(3)
    clusters = generator.integers(0, 40, 200)
    differences = generator.normal(0.1, 1, 200) + clusters / 40
    groups = [differences[clusters == name] for name in np.unique(clusters)]
    drawn = [
        np.concatenate([groups[i] for i in generator.integers(0, len(groups), len(groups))])
        for _ in range(1000)
    ]

    interval = interval_of(differences.tolist(), clusters.tolist())

    plain = np.quantile([each.mean() for each in drawn], [0.025, 0.975])
    assert [interval.lower, interval.upper] == pytest.approx(plain.tolist(), abs=0.06)


def test_copies_of_a_scenario_are_no_new_evidence() -> None:
    single = interval_of([1.0, 0.0, -1.0, 1.0], "abcd")
    copied = interval_of([1.0, 0.0, -1.0, 1.0] * 50, list("abcd") * 50)

    assert (copied.lower, copied.upper) == (single.lower, single.upper)


def test_an_identical_candidate_is_not_above_zero() -> None:
    interval = interval_of([0.0] * 30, range(30))

    assert (interval.mean, interval.lower, interval.upper) == (0.0, 0.0, 0.0)


def test_the_seed_fixes_the_interval_and_the_order_of_pairs_does_not_matter() -> None:
    differences, clusters = [1.0, -1.0, 0.0, 1.0, 1.0], list("aabbc")

    first = interval_of(differences, clusters)
    again = interval_of(differences[::-1], clusters[::-1])

    assert first == again


def test_at_most_five_percent_of_two_hundred_equal_candidates_pass_the_gate() -> None:
    generator = np.random.default_rng(20261)
    promoted = 0
    for seed in range(200):
        chance = generator.uniform(0.2, 0.9, 1000)
        candidate, incumbent = generator.random((2, 1000)) < chance
        interval = paired_interval(
            (candidate.astype(float) - incumbent).tolist(),
            range(1000),
            confidence=0.95,
            draws=1000,
            seed=seed,
        )
        promoted += interval.lower > 0

    assert promoted <= 10


def test_a_real_gain_of_ten_points_passes_the_gate_almost_always() -> None:
    generator = np.random.default_rng(7)
    passed = 0
    for seed in range(50):
        candidate, incumbent = generator.random((2, 1000)) < np.array([[0.5], [0.4]])
        interval = interval_of((candidate.astype(float) - incumbent).tolist(), range(1000), seed=seed)
        passed += interval.lower > 0

    assert passed >= 48


@pytest.mark.parametrize(
    ("differences", "clusters", "message"),
    [
        ([], [], "0 cluster"),
        ([1.0, 1.0], "aa", "at least two scenarios"),
        ([1.0, math.nan], "ab", "difference 1 is nan"),
        ([1.0], "ab", "1 differences but 2 clusters"),
    ],
)
def test_what_gives_no_interval_is_refused(differences: list[float], clusters: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        interval_of(differences, list(clusters))


@pytest.mark.parametrize(
    ("scores", "labels", "expected"),
    [
        ([1, 2, 3, 4], [0, 0, 1, 1], 1.0),
        ([4, 3, 2, 1], [0, 0, 1, 1], 0.0),
        ([1, 3, 2, 4], [0, 0, 1, 1], 0.75),
        ([5, 5, 5, 5], [0, 0, 1, 1], 0.5),
        ([1, 2, 2], [0, 1, 0], 0.75),
        ([1, 2], [1, 1], None),
    ],
)
def test_auc_counts_won_pairs_and_halves_ties(
    scores: list[float], labels: list[bool], expected: float | None
) -> None:
    assert auc(scores, labels) == expected


def test_the_auc_interval_holds_the_auc_and_narrows_with_data() -> None:
    generator = np.random.default_rng(1)
    labels = generator.random(800) < 0.5
    scores = generator.normal(labels * 1.0, 1)

    few = auc_interval_of(scores[:80].tolist(), labels[:80].tolist(), clusters=range(80))
    many = auc_interval_of(scores.tolist(), labels.tolist(), clusters=range(800))

    assert few is not None
    assert many is not None
    assert many.lower < 0.76 < many.upper  # the true AUC of a shift by one standard deviation
    assert many.upper - many.lower < 0.5 * (few.upper - few.lower)


def test_the_auc_interval_draws_whole_tasks() -> None:
    scores, labels = [0.1, 0.4, 0.35, 0.8] * 5, [False, False, True, True] * 5

    trials = auc_interval_of(scores, labels, clusters=[0, 1, 2, 3] * 5)
    single = auc_interval_of(scores[:4], labels[:4], clusters=range(4))

    assert trials is not None
    assert single is not None
    assert (trials.lower, trials.upper) == (single.lower, single.upper)


def test_no_auc_where_all_ended_alike() -> None:
    assert auc_interval_of([1.0, 2.0], [True, True], clusters=[0, 1]) is None


@given(st.lists(st.tuples(st.integers(-5, 5), st.booleans()), min_size=2, max_size=12))
def test_auc_equals_the_count_over_all_pairs(rows: list[tuple[int, bool]]) -> None:
    positives = [score for score, label in rows if label]
    negatives = [score for score, label in rows if not label]
    wins = [(p > n) + 0.5 * (p == n) for p in positives for n in negatives]

    found = auc([score for score, _ in rows], [label for _, label in rows])

    assert found == (pytest.approx(sum(wins) / len(wins)) if wins else None)


def test_brier_and_ranks_by_hand() -> None:
    assert brier([0.5, 1.0], [1.0, 1.0]) == 0.125
    assert midranks(np.array([3.0, 1.0, 3.0])).tolist() == [2.5, 1.0, 2.5]


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([1, 2, 3], [10, 20, 90], 1.0),
        ([1, 2, 3], [3, 2, 1], -1.0),
        ([1, 2, 3], [1, 3, 2], 0.5),
        ([1, 1], [1, 2], None),
    ],
)
def test_spearman_by_hand(first: list[float], second: list[float], expected: float | None) -> None:
    found = spearman(first, second)

    assert found == (None if expected is None else pytest.approx(expected))
