"""Log files into rows: JSONL, JSON lists and Parquet, plain or gzipped; damage becomes a bad row."""

import zlib
from collections.abc import Callable, Iterator
from functools import partial
from io import BufferedReader
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from storage.errors import StorageError
from storage.json_rows import BadRow, Item, bad_row, json_lines, json_list

BATCH_ROWS = 256
READ_BYTES, PACKED_BYTES = 1 << 20, 1024
_UNREADABLE = (pa.ArrowException, OSError, ValueError, OverflowError)


class LogFileError(StorageError, ValueError):
    """A log file that is not there, or of a kind that is not read."""


def read_rows(path: Path) -> Iterator[tuple[int, Item]]:
    """Every row of the file with its number (from 1; in JSONL the line), or what stands in its place.

    A damaged stretch is one bad row; of a Parquet row group that cannot be decoded every row is one. An empty
    or cut file ends in a bad row that says so. Raises LogFileError for a missing file or an unknown kind.
    """
    if not path.is_file():
        raise LogFileError(f"{path}: no such log file; give the path of a JSONL, JSON or Parquet file")
    kind = kind_of(path)
    if kind not in READERS:
        raise LogFileError(
            f"{path}: unknown kind of log file; known endings are {', '.join(READERS)} (and .gz)"
        )
    return READERS[kind](path)


def kind_of(path: Path) -> str:
    """The ending of the file's name below `.gz`."""
    return path.name.lower().removesuffix(".gz").rpartition(".")[2]


class _Content:
    """The bytes of a file, unpacked if it is gzipped; what is wrong with them is known at their end."""

    def __init__(self, path: Path) -> None:
        self.is_blank = True
        self.damage: str | None = None
        self._path = path

    def pieces(self) -> Iterator[bytes]:
        """All bytes, or those up to where the packing is damaged."""
        with open(self._path, "rb") as file:
            is_packed = self._path.name.lower().endswith(".gz") or file.peek(2).startswith(b"\x1f\x8b")
            for piece in self._unpacked(file) if is_packed else iter(partial(file.read, READ_BYTES), b""):
                self.is_blank = self.is_blank and (not piece or piece.isspace())
                yield piece

    def lines(self) -> Iterator[bytes]:
        """The same, cut at the ends of lines."""
        begun: list[bytes] = []
        for piece in self.pieces():
            first, *more = piece.split(b"\n")
            begun.append(first)
            if more:
                yield b"".join(begun)
                yield from more[:-1]
                begun = more[-1:]
        yield b"".join(begun)

    def _unpacked(self, file: BufferedReader) -> Iterator[bytes]:
        """Of every member of the file, one after the other; zeros may pad them."""
        stream: zlib._Decompress | None = None
        # Small pieces, so that everything before the damage is kept.
        for packed in iter(partial(file.read, PACKED_BYTES), b""):
            rest = packed if stream else packed.lstrip(b"\0")
            while rest:
                stream = stream or zlib.decompressobj(wbits=31)
                try:
                    yield stream.decompress(rest)
                except zlib.error as error:
                    self.damage = (
                        f"the gzip stream is damaged ({error}): rows from here on are lost or altered"
                    )
                    return
                rest = stream.unused_data.lstrip(b"\0")
                stream = None if stream.eof else stream
        if stream is not None:
            self.damage = "the gzip stream is cut short: rows from here on are lost"


def _text_rows(
    path: Path, read: Callable[[_Content], Iterator[tuple[int, Item]]]
) -> Iterator[tuple[int, Item]]:
    content, number = _Content(path), 0
    for number, row in read(content):
        yield number, row
    if content.damage is not None:
        yield number + 1, bad_row(content.damage, "")
    elif content.is_blank:
        yield 1, bad_row("the file is empty: nothing was written, or all of it is lost", "")


def _lines(path: Path) -> Iterator[tuple[int, Item]]:
    return _text_rows(path, lambda content: json_lines(content.lines()))


def _json(path: Path) -> Iterator[tuple[int, Item]]:
    return _text_rows(path, _list_or_lines)


def _list_or_lines(content: _Content) -> Iterator[tuple[int, Item]]:
    """A `.json` file holds one list; some hold one object a line, or a single object over many lines."""
    data = b"".join(content.pieces())
    if content.is_blank:
        return iter(())
    if not data.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
        return json_list(data)
    lines = list(json_lines(data.split(b"\n")))
    whole = list(json_list(b"[" + data + b"]"))
    return iter(min(lines, whole, key=_bad_rows))


def _bad_rows(rows: list[tuple[int, Item]]) -> int:
    return sum(isinstance(row, BadRow) for _, row in rows)


def _parquet(path: Path) -> Iterator[tuple[int, Item]]:
    try:
        file = pq.ParquetFile(path, page_checksum_verification=True)
        sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
    except _UNREADABLE as error:
        size = path.stat().st_size
        yield 1, bad_row(f"not readable as Parquet ({_first_line(error)}); {size} bytes, rows unknown", "")
        return
    with file:
        first = 1
        for group, size in enumerate(sizes):
            yield from _row_group(file, group, first=first, size=size)
            first += size
        for lost in range(first, file.metadata.num_rows + 1):
            yield lost, bad_row("the footer promises more rows than its row groups hold", "")


def _row_group(file: pq.ParquetFile, group: int, *, first: int, size: int) -> Iterator[tuple[int, Item]]:
    number = first
    damage = "fewer rows than the footer promises"
    try:
        for batch in file.iter_batches(batch_size=BATCH_ROWS, row_groups=[group]):
            for row in range(batch.num_rows):
                yield number, _record(batch, row)
                number += 1
    except _UNREADABLE as error:
        damage = f"row group {group} cannot be decoded ({_first_line(error)})"
    for lost in range(number, first + size):
        yield lost, bad_row(damage, "")


def _record(batch: pa.RecordBatch, row: int) -> Item:
    try:
        return batch.slice(row, 1).to_pylist()[0]
    except _UNREADABLE as error:
        return bad_row(f"the row cannot be decoded ({_first_line(error)})", "")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:160]


READERS: dict[str, Callable[[Path], Iterator[tuple[int, Item]]]] = {
    "jsonl": _lines,
    "ndjson": _lines,
    "json": _json,
    "parquet": _parquet,
}
