"""Rows become one data object: its hashes are those of what was written, however it was written."""

import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from storage import encoding
from storage.digests import RunningDigest, data_digest, file_sha256
from storage.encoding import HASHED_BYTES, encode_rows
from storage.errors import InvalidTable
from storage.tables import conform, encode
from tests.storage.lake_rows import turns

NOISE = random.Random(0)


class Cut:
    """A table handed over conversation by conversation."""

    def __init__(self, *tables: pa.Table) -> None:
        self._tables = tables

    def parts(self) -> list[pa.Table]:
        return list(self._tables)


def talk(name: str) -> pa.Table:
    """Two turns that no compression makes small."""
    return turns({name: 2}, user_text=NOISE.randbytes(2 * HASHED_BYTES).hex())


def test_hashes_are_those_of_the_bytes_and_rows_that_were_written() -> None:
    table = pa.concat_tables([talk("b"), talk("a")])

    found = encode_rows("turns", table)

    assert len(found.data) > 2 * HASHED_BYTES
    assert found.sha256 == file_sha256(found.data)
    assert found.data_digest == data_digest(conform("turns", table))
    assert (found.data, found.rows) == (encode(conform("turns", table)), 4)


def test_row_groups_are_full_however_the_rows_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "ROW_GROUP_ROWS", 3)
    names = ["a", "b", "c", "d"]

    cut = encode_rows("turns", Cut(*(turns({name: 2}) for name in names)))

    assert cut == encode_rows("turns", turns(dict.fromkeys(names, 2)))
    groups = pq.ParquetFile(pa.BufferReader(cut.data)).metadata
    assert [groups.row_group(place).num_rows for place in range(groups.num_row_groups)] == [3, 3, 2]


def test_no_rows_are_a_file_with_columns() -> None:
    nothing = turns({"a": 1}).slice(0, 0)

    assert encode_rows("turns", Cut()) == encode_rows("turns", nothing)
    assert encode_rows("turns", Cut()).data == encode(conform("turns", nothing))


@pytest.mark.parametrize("second", ["a", "b"])
def test_parts_that_descend_or_share_a_key_are_refused(second: str) -> None:
    with pytest.raises(InvalidTable, match=f"begins at conversation_id '{second}' after one that"):
        encode_rows("turns", Cut(turns({"b": 1}), turns({second: 1})))


def test_a_rule_that_a_later_part_breaks_is_named() -> None:
    with pytest.raises(InvalidTable, match="turn_index must count"):
        encode_rows("turns", Cut(turns({"a": 1}), turns({"b": 1}, turn_index=3)))


def test_a_digest_does_not_depend_on_how_rows_are_cut() -> None:
    table = turns({"a": 3, "b": 2})
    running = RunningDigest(table.schema)

    for start, rows in ((0, 1), (1, 0), (1, 4)):
        running.add(table.slice(start, rows))

    assert running.hexdigest() == data_digest(table)
