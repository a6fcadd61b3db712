"""Outcomes files into rows: what log files are, and CSV, whose values all stay text."""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pc

from storage.json_rows import BadRow, Item, bad_row
from storage.log_files import READERS, LogFileError, kind_of, read_rows

_BLOCK_BYTES = 1 << 20
_OTHER_SIGNS = (";", "\t", "|")


def is_csv(path: Path) -> bool:
    """Whether every value of the file is text."""
    return path.name.lower().removesuffix(".gz").endswith(".csv")


def read_outcome_rows(path: Path) -> Iterator[tuple[int, Item]]:
    """Every row of the file with its number (from 1), or what stands in its place.

    Of a CSV file the first line names the columns and is no row, an empty value is null, and ids keep their
    zeros. A row with too many or too few values, or with bytes that are no UTF-8, is a bad row; where a file
    breaks off, the rest is one. Raises LogFileError for a missing file, an unknown kind, or a CSV file whose
    columns are not divided by commas.
    """
    if not path.is_file():
        raise LogFileError(f"{path}: no such outcomes file; give a JSONL, JSON, CSV or Parquet file")
    if is_csv(path):
        _check_commas(path)
        return _csv(path)
    if kind_of(path) not in READERS:
        raise LogFileError(
            f"{path}: unknown kind of file; known endings are csv, {', '.join(READERS)} (and .gz)"
        )
    return read_rows(path)


def _check_commas(path: Path) -> None:
    """Spreadsheets of half of Europe write semicolons, which make one column of all."""
    try:
        names = _names(path)
    except (pa.ArrowException, OSError, ValueError):
        return  # what cannot be read is told row by row
    if len(names) == 1 and any(sign in names[0] for sign in _OTHER_SIGNS):
        raise LogFileError(
            f"{path}: the first line names one column, {names[0]!r}: divide columns by commas, "
            "or save the table as JSONL or Parquet"
        )


def _csv(path: Path) -> Iterator[tuple[int, Item]]:
    number, odd = 0, dict[int, BadRow]()
    try:
        for row in _fitting(path, odd):
            here = _free(number, odd)
            yield from ((place, odd.pop(place)) for place in range(number + 1, here))
            number = here
            yield number, _text_row(row)
    except (pa.ArrowException, OSError, ValueError) as error:
        odd[max([number, *odd]) + 1] = bad_row(f"not readable as CSV from here on ({str(error)[:160]})", "")
    yield from sorted(odd.items())


def _free(number: int, odd: Mapping[int, BadRow]) -> int:
    """The next number that no odd row has."""
    number += 1
    while number in odd:
        number += 1
    return number


def _fitting(path: Path, odd: dict[int, BadRow]) -> Iterator[dict[str, bytes | None]]:
    """The rows as bytes; those that do not fit go into `odd`, by number."""

    def skip(row: pc.InvalidRow) -> str:
        said = f"{row.actual_columns} values where the first line names {row.expected_columns}"
        place = row.number - 1 if row.number else max(odd, default=0) + 1
        odd[place] = bad_row(said, row.text or "")
        return "skip"

    names = _names(path)
    with pa.input_stream(str(path), compression="detect") as stream:
        for batch in pc.open_csv(
            stream,
            read_options=pc.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES),
            parse_options=pc.ParseOptions(newlines_in_values=True, invalid_row_handler=skip),
            convert_options=pc.ConvertOptions(
                column_types=dict.fromkeys(names, pa.binary()), strings_can_be_null=True, null_values=[""]
            ),
        ):
            yield from batch.to_pylist()


def _names(path: Path) -> list[str]:
    """What the first line calls the columns. Raises ValueError where a name stands twice."""
    with pa.input_stream(str(path), compression="detect") as stream:
        once = pc.ParseOptions(newlines_in_values=True, invalid_row_handler=lambda _: "skip")
        names = pc.open_csv(stream, parse_options=once).schema.names
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"the first line names {', '.join(map(repr, twice))} twice")
    return names


def _text_row(row: dict[str, bytes | None]) -> Item:
    try:
        return {name: None if value is None else value.decode() for name, value in row.items()}
    except UnicodeDecodeError as error:
        said = b",".join(value or b"" for value in row.values()).decode("utf-8", "surrogateescape")
        return bad_row(f"not UTF-8 ({error.reason})", said)
