"""Log files as the records that one parser is given at once: most files alone, files of traces together.

Files whose rows have nothing to do with each other may be cut into stretches, which are read apart.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from itpo_core.logs.formats import LOG_FORMATS
from itpo_core.logs.parsed import Row as LogRow

if TYPE_CHECKING:
    from storage.json_rows import Item
    from storage.log_stretches import Stretch

TakeApart = Callable[[LogRow], list[object]]


@dataclass(frozen=True, slots=True)
class LogFile:
    """One file of an import, the name it goes by, and where its outcomes stand."""

    path: Path
    source: str
    format: str
    outcome_column: str


@dataclass(frozen=True, slots=True)
class LogBatch:
    """Files of one format that are parsed together. Their records are numbered on from file to file.

    A batch with a `stretch` is that part of its one file, its records numbered as in the whole file.
    """

    files: tuple[LogFile, ...]
    id_scope: str = ""  # within what an id means one conversation
    begins: list[int] = field(default_factory=list)  # the number before the first record of each file
    stretch: "Stretch | None" = None

    @property
    def format(self) -> str:
        """The format of all of them."""
        return self.files[0].format

    @property
    def outcome_column(self) -> str:
        """Where the outcomes stand, in all of them."""
        return self.files[0].outcome_column

    def records(self) -> Iterator[tuple[int, "Item"]]:
        """Every record of every file with its number."""
        take_apart = LOG_FORMATS[self.format].records
        number = 0
        for file in self.files:
            begin = number
            self.begins.append(begin)
            rows = self._rows(file.path)
            for place, item in rows if take_apart is None else _apart(rows, take_apart):
                number = begin + place
                yield number, item

    def _rows(self, path: Path) -> Iterator[tuple[int, "Item"]]:
        from storage.log_files import read_rows
        from storage.log_stretches import stretch_rows

        return read_rows(path) if self.stretch is None else stretch_rows(path, self.stretch)

    def source_of(self, number: int) -> tuple[str, int]:
        """The file of a record, and its place there."""
        file = bisect_right(self.begins, number - 1) - 1
        return self.files[file].source, number - self.begins[file]

    def places(self, numbers: Iterable[int]) -> tuple[int, ...]:
        """Where the records stand in their own files."""
        return tuple(self.source_of(number)[1] for number in numbers)


def batches_of(files: Sequence[LogFile]) -> list[LogBatch]:
    """Each file alone, but for formats whose conversations may lie in several: those together."""
    together: dict[str, list[LogFile]] = {}
    for file in files:
        key = f"format {file.format}" if LOG_FORMATS[file.format].joins_files else f"file {file.source}"
        together.setdefault(key, []).append(file)
    return [LogBatch(tuple(each), _id_scope(each[0])) for each in together.values()]


def cut(batches: Iterable[LogBatch], *, stretch_bytes: int) -> list[LogBatch]:
    """The same records in as many or more batches, in their order; large files of lines in stretches."""
    return [part for batch in batches for part in _stretches(batch, stretch_bytes)]


def _stretches(batch: LogBatch, size: int) -> list[LogBatch]:
    from storage.log_stretches import stretches_of

    if not LOG_FORMATS[batch.format].rows_alone:
        return [batch]
    found = stretches_of(batch.files[0].path, size=size)
    return [LogBatch(batch.files, batch.id_scope, stretch=each) for each in found] or [batch]


def _id_scope(file: LogFile) -> str:
    return file.format + ("" if LOG_FORMATS[file.format].ids_span_files else f":{file.source}")


def _apart(rows: Iterable[tuple[int, "Item"]], take_apart: TakeApart) -> Iterator[tuple[int, "Item"]]:
    """Rows taken apart, their records counted from 1. A row of which nothing comes out stays as it is."""
    from storage.json_rows import BadRow

    number = 0
    for _, row in rows:
        for record in [row] if isinstance(row, BadRow) else take_apart(row) or [row]:
            number += 1
            yield number, _checked(record)


def _checked(record: object) -> "Item":
    from storage.json_rows import BadRow, bad_row

    if isinstance(record, dict | BadRow):
        return record
    return bad_row(f"the record is a {type(record).__name__}, not an object", repr(record))
