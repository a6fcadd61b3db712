"""Outcomes files are read row by row: CSV as texts, the other kinds as log files are."""

import gzip
from pathlib import Path

import pytest

from storage.json_rows import BadRow
from storage.log_files import LogFileError
from storage.outcome_files import read_outcome_rows


def rows_of(folder: Path, data: bytes, name: str = "crm.csv") -> list[tuple[int, object]]:
    path = folder / name
    path.write_bytes(data)
    return list(read_outcome_rows(path))


def test_values_of_csv_stay_texts_and_empty_ones_are_null(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, b'key,outcome\n007,1\n"a,\nb",\n')

    assert rows == [(1, {"key": "007", "outcome": "1"}), (2, {"key": "a,\nb", "outcome": None})]


def test_a_row_of_another_length_is_bad_and_keeps_its_number_and_text(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, b"key,outcome\n1,1\nx\n2,0,9\n3,0\n")

    assert [number for number, _ in rows] == [1, 2, 3, 4]
    assert [row.raw for _, row in rows if isinstance(row, BadRow)] == ["x", "2,0,9"]


def test_bytes_that_are_no_text_spoil_their_own_row_only(tmp_path: Path) -> None:
    (_, bad), good = rows_of(tmp_path, b"key,outcome\n\xff,1\n2,1\n")

    assert isinstance(bad, BadRow)
    assert bad.reason.startswith("not UTF-8")
    assert good == (2, {"key": "2", "outcome": "1"})


@pytest.mark.parametrize(
    "data", [b"", b"\n", b"key,key\n1,2\n", gzip.compress(b"key,outcome\n1,1\n", mtime=0)[:20]]
)
def test_a_file_that_cannot_be_read_is_one_bad_row_that_says_so(tmp_path: Path, data: bytes) -> None:
    ((number, row),) = rows_of(tmp_path, data, "crm.csv.gz" if data[:1] == b"\x1f" else "crm.csv")

    assert number == 1
    assert isinstance(row, BadRow)


def test_gzipped_csv_and_jsonl_are_read_too(tmp_path: Path) -> None:
    packed = rows_of(tmp_path, gzip.compress(b"key,outcome\n1,0.5\n"), "crm.csv.gz")
    lines = rows_of(tmp_path, b'{"key": "1", "outcome": 0.5}\n', "crm.jsonl")

    assert (packed, lines) == (
        [(1, {"key": "1", "outcome": "0.5"})],
        [(1, {"key": "1", "outcome": 0.5})],
    )


@pytest.mark.parametrize("name", ["nowhere.csv", "nowhere.jsonl", "crm.xlsx"])
def test_a_missing_file_and_an_unknown_kind_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(LogFileError, match="no such"):
        list(read_outcome_rows(tmp_path / name))


@pytest.mark.parametrize("header", [b"order;bought", b"order\tbought", b"order|bought"])
def test_columns_that_no_comma_divides_are_told_with_their_first_line(tmp_path: Path, header: bytes) -> None:
    sign = header.decode()[5]

    with pytest.raises(LogFileError, match="divide columns by commas") as told:
        rows_of(tmp_path, header + b"\n17" + sign.encode() + b"1\n")

    assert repr(header.decode()) in str(told.value)


def test_an_unknown_kind_is_told_the_known_ones_with_csv(tmp_path: Path) -> None:
    with pytest.raises(LogFileError, match="known endings are csv, jsonl"):
        rows_of(tmp_path, b"PK", "crm.xlsx")
