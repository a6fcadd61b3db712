"""Marks recognise the values that they were made of, and never a row that has none."""

import pyarrow as pa
import pytest

from storage.tombstones import new_marks


@pytest.mark.parametrize(
    ("rows", "wanted"),
    [
        (["gone", None, "stays"], [True, False, False]),
        ([None, "gone"], [False, True]),
        ([None, None], [False, False]),
        ([], []),
    ],
)
def test_rows_without_a_value_are_never_marked(rows: list[str | None], wanted: list[bool]) -> None:
    column = pa.chunked_array([pa.array(rows, pa.string())])

    assert new_marks(["gone"]).mask(column).tolist() == wanted


def test_marks_of_the_text_none_are_no_marks_of_nulls() -> None:
    column = pa.chunked_array([pa.array([None, "None"], pa.string())])

    assert new_marks(["None"]).mask(column).tolist() == [False, True]
