"""What `itpo sql` prints: numbers, NULL, wide answers, and forms for other programs."""

import csv
import json
from io import StringIO

import pytest
from rich.console import Console

from storage.warehouse import Answer
from tasks.answer_text import number, print_answer
from tasks.config import ConfigError

MIXED = Answer(
    ("n", "x", "s"), ((1, 1e-7, None), (2, 2048.0, ""), (3, 0.34375, "[/bold] \x1b[31m:smile:")), False
)
THIRTY = Answer(tuple(f"column_{place}" for place in range(30)), (tuple(range(100, 130)),), more=False)


def printed(answer: Answer, form: str = "table", *, terminal: bool = False) -> str:
    out = Console(file=StringIO(), width=80, force_terminal=terminal, color_system=None, highlight=False)
    print_answer(answer, form, out=out)
    assert isinstance(out.file, StringIO)
    return out.file.getvalue()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (2048.0, "2048"),
        (0.344, "0.344"),
        (1e-7, "1e-07"),
        (-0.0, "0"),
        (12345.67891, "12345.6789"),
        (-1.5, "-1.5"),
        (1e300, "1e+300"),
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
    ],
)
def test_a_float_has_the_decimals_that_say_something(value: float, text: str) -> None:
    assert number(value) == text


def test_cells_are_shown_as_they_are_and_controls_as_escapes() -> None:
    shown = printed(MIXED)

    assert r"[/bold] \x1b[31m:smile:" in shown
    assert "\x1b" not in shown
    assert [
        line.split("│")[3].strip() for line in shown.splitlines() if "│ 1 " in line or "│ 2 " in line
    ] == [
        "null",
        "",
    ]


def test_a_pipe_gets_every_column_side_by_side() -> None:
    (heading,) = [line for line in printed(THIRTY).splitlines() if "column_0" in line]

    assert all(name in heading for name in THIRTY.names)


def test_more_columns_than_a_terminal_holds_stand_below_each_other() -> None:
    shown = printed(THIRTY, terminal=True).splitlines()

    assert shown[0] == "row 1"
    assert shown[1:] == [f"{name}: {value}" for name, value in zip(THIRTY.names, THIRTY.rows[0], strict=True)]


def test_a_long_text_in_a_terminal_is_wrapped_and_nothing_of_it_is_lost() -> None:
    shown = printed(Answer(("text",), (("a" * 300,),), more=False), terminal=True)

    assert shown.count("a") == 300


def test_csv_tells_null_from_the_empty_text_in_full_precision() -> None:
    rows = Answer(("a", "b"), ((None, ""), (0.1234567, 'say "x",\ny')), more=False)

    text = printed(rows, "csv")

    assert text == 'a,b\n,""\n0.1234567,"say ""x"",\ny"\n'
    assert list(csv.reader(StringIO(text)))[2] == ["0.1234567", 'say "x",\ny']


def test_a_terminal_does_not_obey_csv() -> None:
    assert "\x1b[31m" in printed(MIXED, "csv")
    assert "\x1b" not in printed(MIXED, "csv", terminal=True)


def test_json_reads_back_as_the_rows() -> None:
    text = printed(Answer(("a", "b"), ((None, [1.5, float("nan")]), (2, "é\x9b31m")), more=False), "json")

    assert json.loads(text) == [{"a": None, "b": [1.5, "nan"]}, {"a": 2, "b": "é\x9b31m"}]
    assert "\x9b" not in text
    assert json.loads(printed(Answer(("a",), (), more=False), "json")) == []


def test_json_refuses_columns_of_one_name() -> None:
    with pytest.raises(ConfigError, match="several columns are named a"):
        printed(Answer(("a", "a"), ((1, 2),), more=False), "json")


def test_markdown_keeps_its_columns() -> None:
    rows = Answer(("a", "b"), (("x|y\nz", None),), more=False)

    assert printed(rows, "markdown") == "| a | b |\n| --- | --- |\n| x\\|y<br>z | null |\n"


def test_an_unknown_form_lists_those_that_are() -> None:
    with pytest.raises(ConfigError, match="'xml': use one of table, csv, json, markdown"):
        printed(MIXED, "xml")
