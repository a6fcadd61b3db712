"""A row of an outcomes file becomes a label, or is refused under one name."""

import pytest

from itpo_core.logs.labels import Columns, Label, Refused, label_of
from itpo_core.types import Outcome, Scored, Unscored

PLAIN = Columns()


def refusal(row: dict[str, object], *, is_text: bool = False) -> str:
    found = label_of(row, PLAIN, is_text=is_text)
    return found.reason.value if isinstance(found, Refused) else "none"


def test_a_row_says_about_whom_what_when_and_who_says_so() -> None:
    row = {"key": "c7", "outcome": 0.5, "time": "1970-01-01T00:01:00Z", "turn": 2, "source": "crm"}

    assert label_of(row, PLAIN) == Label("c7", Scored(0.5), turn_index=2, time_s=60.0, source="crm")


@pytest.mark.parametrize(("said", "value"), [(True, 1.0), (False, 0.0), (1, 1.0), (0.25, 0.25)])
def test_an_outcome_is_what_the_importer_takes_for_one(said: object, value: float) -> None:
    assert label_of({"key": 7, "outcome": said}, PLAIN) == Label("7", Scored(value))


def test_an_unknown_outcome_is_null_with_its_reason_and_never_zero() -> None:
    found = label_of({"key": "c", "outcome": None, "reason": "never answered"}, PLAIN)

    assert found == Label("c", Unscored("never answered"))


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"outcome": 1}, "missing_key"),
        ({"key": None, "outcome": 1}, "missing_key"),
        ({"key": "", "outcome": 1}, "missing_key"),
        ({"key": ["c"], "outcome": 1}, "missing_key"),
        ({"key": "c"}, "missing_outcome"),
        ({"key": "c", "outcome": "bought"}, "bad_outcome"),
        ({"key": "c", "outcome": "1"}, "bad_outcome"),
        ({"key": "c", "outcome": 2}, "bad_outcome"),
        ({"key": "c", "outcome": -0.1}, "bad_outcome"),
        ({"key": "c", "outcome": float("nan")}, "bad_outcome"),
        ({"key": "c", "outcome": 10**400}, "bad_outcome"),
        ({"key": "c", "outcome": 1, "turn": -1}, "bad_turn"),
        ({"key": "c", "outcome": 1, "turn": 1.5}, "bad_turn"),
        ({"key": "c", "outcome": 1, "turn": True}, "bad_turn"),
        ({"key": "c", "outcome": 1, "turn": "9" * 5000}, "bad_turn"),
        ({"key": "c", "outcome": 1, "time": "last week"}, "bad_time"),
        ({"key": "c", "outcome": 1, "time": float("inf")}, "bad_time"),
        ({"key": "\ud800", "outcome": 1}, "bad_text"),
        ({"key": "c", "outcome": None, "reason": "\ud800"}, "bad_text"),
    ],
)
def test_everything_else_is_refused_under_its_name(row: dict[str, object], reason: str) -> None:
    assert refusal(row) == reason


@pytest.mark.parametrize(
    ("said", "outcome"),
    [
        ("1", Scored(1.0)),
        (" 0.5 ", Scored(0.5)),
        ("TRUE", Scored(1.0)),
        ("false", Scored(0.0)),
        (None, Unscored("null outcome")),
    ],
)
def test_in_a_file_of_texts_the_text_of_a_number_is_one(said: object, outcome: Outcome) -> None:
    found = label_of({"key": "007", "outcome": said, "turn": "3", "time": "60"}, PLAIN, is_text=True)

    assert found == Label("007", outcome, turn_index=3, time_s=60.0)


@pytest.mark.parametrize("said", ["yes", "nan", "1,0", "2", "0_1"])
def test_other_texts_are_no_outcomes(said: str) -> None:
    assert refusal({"key": "c", "outcome": said}, is_text=True) == "bad_outcome"


def test_other_columns_may_be_named_and_lie_inside_objects() -> None:
    row = {"deal": {"conversation": "c"}, "won": True}

    assert label_of(row, Columns("deal.conversation", "won")) == Label("c", Scored(1.0))
