"""More rows than memory should hold: taken in any order, handed over in the order of their keys.

Rows are gathered until they weigh `spill_bytes`, then they go to disk: one file each time, in it one batch
per range of the first key column. Read back range by range they ascend, and all rows of one key come
together. What never weighs as much never touches the disk.
"""

import bisect
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from storage.rows import of_columns, to_table, with_changes
from storage.rules import ROW_ORDER
from storage.tables import schema_of

SPILL_BYTES = 64 << 20
# Ids are hexadecimal and evenly spread, so ranges of their first two digits are equally full. Keys of any
# other kind are as right here, only less evenly spread.
RANGE_ENDS = tuple(f"{first:02x}" for first in range(4, 256, 4))

Correction = Mapping[str, object]


class Spool:
    """Rows of one dataset on their way into a commit; the files in `folder` are the caller's to remove."""

    def __init__(self, name: str, folder: Path, *, spill_bytes: int = SPILL_BYTES) -> None:
        self.rows = 0
        self._schema = schema_of(name)
        self._name, self._key = name, ROW_ORDER[name][0]
        self._folder = folder
        self._spill_bytes = spill_bytes
        self._waiting: list[pa.Table] = []
        self._waiting_bytes = 0
        self._files: list[Path] = []
        self._corrections: dict[str, Correction] = {}

    def add(self, rows: Sequence[Mapping[str, object]]) -> None:
        """Take some more rows."""
        self.add_table(to_table(self._name, rows))

    def add_columns(self, columns: Mapping[str, Sequence[object]]) -> None:
        """The same of rows that are columns already."""
        self.add_table(of_columns(self._name, columns))

    def add_table(self, table: pa.Table) -> None:
        """The same of a table."""
        if table.num_rows == 0:
            return
        self.rows += table.num_rows
        self._waiting.append(table)
        self._waiting_bytes += table.nbytes
        if self._waiting_bytes >= self._spill_bytes:
            self._spill()

    def correct(self, corrections: Mapping[str, Correction]) -> None:
        """Columns that turned out otherwise, by the key of the rows that were taken with the first values."""
        self._corrections.update(corrections)

    def parts(self) -> Iterator[pa.Table]:
        """All rows, corrected: one table per range of keys, which ascend from one table to the next."""
        if self._files and self._waiting:
            self._spill()
        tables = map(self._range, range(len(RANGE_ENDS) + 1)) if self._files else [self._at_hand()]
        yield from (self._corrected(table) for table in tables)

    def table(self) -> pa.Table:
        """All rows as one table, for who knows that they are few."""
        return pa.concat_tables(self.parts())

    def _at_hand(self) -> pa.Table:
        return pa.concat_tables([self._schema.empty_table(), *self._waiting])

    def _spill(self) -> None:
        ordered = self._at_hand().sort_by(self._key).combine_chunks()
        (batch,) = ordered.to_batches()
        keys = batch.column(self._key)
        ends = [bisect.bisect_left(keys, end, key=str) for end in RANGE_ENDS]
        path = self._folder / f"{self._name}-{len(self._files):04d}.arrow"
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, self._schema) as file:
            for start, end in zip([0, *ends], [*ends, len(keys)], strict=True):
                file.write_batch(batch.slice(start, end - start))
        self._files.append(path)
        self._waiting, self._waiting_bytes = [], 0

    def _range(self, place: int) -> pa.Table:
        return pa.Table.from_batches([_batch(path, place) for path in self._files], self._schema)

    def _corrected(self, table: pa.Table) -> pa.Table:
        return with_changes(self._name, table, changes=self._corrections) if self._corrections else table


def _batch(path: Path, place: int) -> pa.RecordBatch:
    # Read, not mapped: mapped pages count as memory of the process.
    with pa.OSFile(str(path), "rb") as source, pa.ipc.open_file(source) as file:
        return file.get_batch(place)
