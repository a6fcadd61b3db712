"""Outcome columns: a number in [0, 1] is a score, everything else is unscored with its reason."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from itpo_core.logs.outcomes import outcome_of
from itpo_core.types import Scored, Unscored


@pytest.mark.parametrize(("logged", "value"), [(0, 0.0), (1, 1.0), (0.25, 0.25), (True, 1.0), (False, 0.0)])
def test_numbers_from_zero_to_one_are_scores(logged: object, value: float) -> None:
    assert outcome_of({"outcome": logged}, "outcome") == Scored(value)


@pytest.mark.parametrize(
    ("logged", "reason"),
    [
        (None, "null outcome"),
        (math.nan, "outcome is NaN"),
        (math.inf, "outcome out of range: inf"),
        (-0.5, "outcome out of range: -0.5"),
        (5, "outcome out of range: 5"),
        ("success", "outcome is not a number: 'success'"),
        ([1.0], "outcome is not a number: '[1.0]'"),
    ],
)
def test_anything_else_is_unscored_and_says_why(logged: object, reason: str) -> None:
    outcome = outcome_of({"outcome": logged}, "outcome")

    assert isinstance(outcome, Unscored)
    assert outcome.reason.startswith(reason)


def test_an_absent_column_is_named_beside_those_that_are_there() -> None:
    assert outcome_of({"messages": [], "score": 1}, "outcome") == Unscored(
        "no outcome column: 'outcome' is not among messages, score"
    )


def test_a_dotted_column_looks_inside_objects() -> None:
    row = {"metadata": {"score": 0.5}, "a.b": 0.25}

    assert outcome_of(row, "metadata.score") == Scored(0.5)
    assert outcome_of(row, "a.b") == Scored(0.25)
    assert isinstance(outcome_of(row, "metadata.score.more"), Unscored)


@given(st.one_of(st.floats(), st.integers(), st.text(), st.none(), st.booleans(), st.lists(st.integers())))
def test_zero_is_only_ever_written_where_the_log_says_zero(logged: object) -> None:
    outcome = outcome_of({"outcome": logged}, "outcome")

    assert isinstance(outcome, Unscored) or outcome.value == logged
