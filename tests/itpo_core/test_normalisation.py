"""Whitening in the three forms of the field, the running scale, and what a critic explains."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from itpo_core.normalisation import RunningScale, explained_variance, running_scale, whiten

# Values 0 and 3 at weights 2 and 1: mean 1, population variance (2 * 1 + 4) / 3 = 2, of the sample 3.
VALUES, WEIGHTS = torch.tensor([0.0, 3.0, 7.0]), torch.tensor([2, 1, 0])


@pytest.mark.parametrize(
    ("form", "ddof", "floor", "divisor"),
    [
        ("deviation_plus_floor", 0, 0.5, math.sqrt(2) + 0.5),
        ("deviation_plus_floor", 1, 0.5, math.sqrt(3) + 0.5),
        ("variance_plus_floor", 1, 1.0, 2.0),
        ("variance_at_least_floor", 0, 4.0, 2.0),
        ("variance_at_least_floor", 0, 1.0, math.sqrt(2)),
    ],
)
def test_each_form_divides_by_its_own_deviation(form: str, ddof: int, floor: float, divisor: float) -> None:
    whitened = whiten(VALUES, WEIGHTS, form=form, ddof=ddof, floor=floor)

    torch.testing.assert_close(whitened, torch.tensor([-1 / divisor, 2 / divisor, 0.0]))


def test_the_form_none_only_drops_what_does_not_count() -> None:
    assert whiten(VALUES, WEIGHTS, form="none").tolist() == [0, 3, 0]


def test_a_form_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="'zscore' does not exist: choose one of deviation_plus_floor"):
        whiten(VALUES, WEIGHTS, form="zscore")


@given(seed=st.integers(0, 10_000), junk=st.sampled_from([math.nan, math.inf, 1e30]))
def test_what_does_not_count_moves_nobody(seed: int, junk: float) -> None:
    values = torch.randn(12, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    weights = torch.arange(12) % 3
    spoilt = torch.where(weights == 0, junk, values)

    assert whiten(spoilt, weights).equal(whiten(values, weights))


@given(seed=st.integers(0, 10_000))
def test_a_weight_counts_how_often_a_value_occurs(seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    values = torch.randn(5, generator=draw, dtype=torch.float64)
    weights = torch.randint(1, 4, (5,), generator=draw)
    repeated = values.repeat_interleave(weights)

    for ddof in (0, 1):
        long = whiten(repeated, torch.ones_like(repeated), ddof=ddof)
        torch.testing.assert_close(whiten(values, weights, ddof=ddof).repeat_interleave(weights), long)


def test_the_running_scale_is_free_of_bias_from_the_first_batch_on() -> None:
    happened_BK = torch.tensor([[True, True, False]])

    first = running_scale(RunningScale(), torch.tensor([[3.0, 4.0, 99.0]]), happened_BK=happened_BK)
    second = running_scale(first, torch.tensor([[0.0, 0.0, 99.0]]), happened_BK=happened_BK)

    # Mean squares 12.5 and 0, weights 0.1 and then 0.09 against 0.1.
    assert first.deviation == pytest.approx(math.sqrt(12.5))
    assert second.deviation == pytest.approx(math.sqrt(0.09 * 12.5 / 0.19))
    assert second.batches == 2


def test_a_batch_without_turns_leaves_the_running_scale_alone() -> None:
    state = RunningScale(mean_square=0.2, batches=1)

    assert running_scale(state, torch.ones(1, 2), happened_BK=torch.zeros(1, 2, dtype=torch.bool)) == state


def test_a_critic_that_knows_explains_all_and_one_that_does_not_nothing() -> None:
    returns_BK = torch.tensor([[0.0, 1.0], [1.0, 5.0]])
    counts_BK = torch.tensor([[True, True], [True, False]])

    assert explained_variance(returns_BK, returns_BK, counts=counts_BK) == 1
    assert explained_variance(torch.full((2, 2), 0.3), returns_BK, counts=counts_BK) == pytest.approx(0)
    assert explained_variance(-returns_BK, returns_BK, counts=counts_BK) == pytest.approx(-3)


def test_returns_that_do_not_vary_explain_nothing_either_way() -> None:
    assert explained_variance(torch.rand(3), torch.ones(3), counts=torch.ones(3, dtype=torch.bool)) is None
