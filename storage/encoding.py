"""Rows on their way into one data object: checked, ordered, encoded and digested, a row group at a time.

While a row group is encoded, a thread beside makes the next one ready and takes both hashes: of the rows,
and of the bytes that are there already. Ordering, hashing and Parquet all leave the interpreter free, so what
is done for the protocol alone costs processor time, but hardly any waiting.
"""

import hashlib
import io
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import pyarrow as pa

from storage.digests import RunningDigest
from storage.errors import InvalidTable
from storage.rules import ROW_ORDER
from storage.tables import ROW_GROUP_ROWS, conform, open_parquet, schema_of

if TYPE_CHECKING:
    from typing_extensions import Buffer

HASHED_BYTES = 1 << 20


class Parts(Protocol):
    """Rows of one dataset in tables whose first keys ascend from one to the next; may be walked again."""

    def parts(self) -> Iterator[pa.Table]:
        """The tables, each with all rows of its first keys, in any order within it."""
        ...


Rows = pa.Table | Parts


@dataclass(frozen=True, slots=True)
class Encoded:
    """The Parquet bytes of one data object, and what a manifest says of it."""

    data: bytes
    sha256: str
    rows: int
    data_digest: str


def encode_rows(name: str, rows: Rows) -> Encoded:
    """Check, order and encode rows of dataset `name`; no byte depends on how they were cut into parts.

    Raises InvalidTable as `conform` does, and for parts whose keys overlap.
    """
    schema, count = schema_of(name), 0
    digest, groups = RunningDigest(schema), _row_groups(_conforming(name, rows))
    with ThreadPoolExecutor(max_workers=1) as beside:
        sink = _HashedSink(beside)
        with open_parquet(sink, schema) as writer:
            coming = beside.submit(_next, groups)
            while (group := coming.result()) is not None:
                digested = beside.submit(digest.add, group)
                coming = beside.submit(_next, groups)
                writer.write_table(group, row_group_size=ROW_GROUP_ROWS)
                digested.result()
                count += group.num_rows
        sha256 = sink.sha256()
    return Encoded(sink.getvalue(), sha256, count, digest.hexdigest())


class _HashedSink(io.BytesIO):
    """Bytes in memory that are hashed in another thread while more of them come."""

    def __init__(self, beside: Executor) -> None:
        super().__init__()
        self._beside = beside
        self._running = hashlib.sha256()
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0

    def write(self, data: "Buffer") -> int:
        """Keep the bytes, and hash them when they are worth the trip."""
        self._waiting.append(bytes(data))
        self._waiting_bytes += len(self._waiting[-1])
        if self._waiting_bytes >= HASHED_BYTES:
            self._hash()
        return super().write(data)

    def sha256(self) -> str:
        """Of everything written, in hexadecimal."""
        return self._hash().result().hexdigest()

    def _hash(self) -> "Future[hashlib._Hash]":
        data, self._waiting, self._waiting_bytes = b"".join(self._waiting), [], 0
        return self._beside.submit(_updated, self._running, data)


def _updated(running: "hashlib._Hash", data: bytes) -> "hashlib._Hash":
    running.update(data)
    return running


def _next(groups: Iterator[pa.Table]) -> pa.Table | None:
    return next(groups, None)


def _conforming(name: str, rows: Rows) -> Iterator[pa.Table]:
    """At least one table, so that a dataset without rows has its columns."""
    if isinstance(rows, pa.Table):
        yield conform(name, rows)
        return
    yield schema_of(name).empty_table()
    key, last = ROW_ORDER[name][0], None
    for part in rows.parts():
        table = conform(name, part)
        if table.num_rows:
            first = table[key][0].as_py()
            if last is not None and first <= last:
                raise InvalidTable(
                    f"table {name}: a part begins at {key} {first!r} after one that ended at {last!r}; "
                    "cut rows where the key changes, and hand them over in its order"
                )
            last = table[key][-1].as_py()
            yield table


def _row_groups(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The same rows in tables of exactly one row group each, and the rest; one empty table for no rows."""
    waiting: pa.Table | None = None
    written = False
    for table in tables:
        waiting = table if waiting is None else pa.concat_tables([waiting, table])
        while waiting.num_rows >= ROW_GROUP_ROWS:
            # Parquet pages end where chunks do; one chunk makes the bytes independent of the parts.
            yield waiting.slice(0, ROW_GROUP_ROWS).combine_chunks()
            written = True
            waiting = waiting.slice(ROW_GROUP_ROWS)
    if waiting is not None and (waiting.num_rows or not written):
        yield waiting.combine_chunks()
