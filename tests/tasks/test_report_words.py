"""Numbers and names as people read them."""

from collections.abc import Callable

import pytest

from tasks.config import ADVANTAGES, Algorithm
from tasks.report_words import (
    ESTIMATORS,
    FATES,
    METHODS,
    count,
    figure,
    interval,
    percent,
    points,
    spoken,
    with_error,
)


@pytest.mark.parametrize(
    ("write", "value", "text"),
    [
        (figure, 2048, "2,048"),
        (figure, 0.123456, "0.1235"),
        (percent, 0.304, "30.4 %"),
        (percent, None, "-"),
        (points, 0.2, "+20.0"),
        (points, -0.005, "-0.5"),
    ],
)
def test_numbers_have_their_sign_their_unit_and_no_false_precision(
    write: Callable[[float | None], str], value: float | None, text: str
) -> None:
    assert write(value) == text


def test_a_mean_stands_beside_half_of_its_interval() -> None:
    assert with_error(0.5, 0.01, scale=100, unit=" %") == "50.0 ± 2.0 %"
    assert with_error(3.5, None) == "3.5"
    assert with_error(None, None) == "-"


def test_an_interval_is_written_whole_or_not_at_all() -> None:
    evidence = {"gain": 0.1, "gain_lower": 0.05, "gain_upper": 0.15, "kl": 0.1}

    assert interval(evidence, "gain") == "+10.0 [+5.0, +15.0]"
    assert interval(evidence, "loss") is None


def test_one_thing_is_not_many() -> None:
    assert (count(1, "turn"), count(2048, "conversation")) == ("1 turn", "2,048 conversations")


def test_a_name_without_words_of_its_own_loses_its_underscores() -> None:
    assert spoken("small_group", FATES) == "too few siblings left"
    assert spoken("new_reason", FATES) == "new reason"


def test_every_algorithm_and_every_estimator_has_a_name_of_its_own_for_people() -> None:
    assert set(METHODS) == {each.value for each in Algorithm}
    assert set(ESTIMATORS) == set(ADVANTAGES)
    assert len(set(METHODS.values())) == len(METHODS)
    assert all("_" not in text for text in [*METHODS.values(), *ESTIMATORS.values()])
