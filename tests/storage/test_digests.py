"""The data digest follows the rows and nothing else."""

import hashlib
import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.digests import data_digest, file_sha256

ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "text": st.none() | st.text(st.characters(codec="utf-8"), max_size=4),
            "number": st.none() | st.integers(-5, 5),
            "real": st.none() | st.floats(width=32),
            "flag": st.none() | st.booleans(),
            "tokens": st.none() | st.lists(st.none() | st.integers(0, 9), max_size=3),
        }
    ),
    max_size=6,
)
SCHEMA = pa.schema(
    {
        "text": pa.string(),
        "number": pa.int64(),
        "real": pa.float64(),
        "flag": pa.bool_(),
        "tokens": pa.list_(pa.int32()),
    }
)
Rows = list[dict[str, object]]


def table(rows: Rows) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def digest_of(values: list[object], kind: pa.DataType) -> str:
    return data_digest(pa.table({"x": pa.array(values, kind)}))


def canonical(rows: Rows) -> list[tuple[str, ...]]:
    """Rows as text under the stated policies: one NaN, no negative zero."""

    def text(value: object) -> str:
        return (
            "nan" if isinstance(value, float) and math.isnan(value) else repr(0.0 if value == 0.0 else value)
        )

    return [
        tuple(f"{name}={type(value).__name__}:{text(value)}" for name, value in row.items()) for row in rows
    ]


@given(first=ROWS, second=ROWS)
def test_digests_are_equal_exactly_when_the_rows_are(first: Rows, second: Rows) -> None:
    same_digest = data_digest(table(first)) == data_digest(table(second))

    assert same_digest == (canonical(first) == canonical(second))


@given(rows=ROWS, cut=st.integers(0, 6))
def test_chunks_encodings_and_offsets_do_not_count(rows: Rows, cut: int) -> None:
    whole = table(rows)
    parts = pa.concat_tables([whole.slice(0, cut), whole.slice(0, 0), whole.slice(cut)])
    wide = parts.cast(
        pa.schema([("text", pa.large_string()), *list(SCHEMA)[1:4], ("tokens", pa.large_list(pa.int32()))])
    )
    coded = wide.set_column(0, "text", wide["text"].dictionary_encode())

    assert data_digest(parts) == data_digest(whole)
    assert data_digest(coded) == data_digest(whole)


@given(rows=ROWS, group_rows=st.integers(1, 7), compression=st.sampled_from(["none", "zstd", "snappy"]))
def test_the_parquet_writer_does_not_count(rows: Rows, group_rows: int, compression: str) -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(table(rows), sink, row_group_size=group_rows, compression=compression)

    read = pq.read_table(pa.BufferReader(sink.getvalue()))

    assert data_digest(read) == data_digest(table(rows))


@pytest.mark.parametrize(
    ("one", "other", "kind"),
    [
        ([1, 2], [2, 1], pa.int64()),
        ([None], [0], pa.int64()),
        ([None], [0.0], pa.float64()),
        ([None], [math.nan], pa.float64()),
        ([None], [""], pa.string()),
        ([None], [False], pa.bool_()),
        ([None], [[]], pa.list_(pa.int32())),
        ([[1], [2]], [[1, 2], []], pa.list_(pa.int32())),
        ([[None]], [[0]], pa.list_(pa.int32())),
        (["ab", "c"], ["a", "bc"], pa.string()),
        ([None, 1], [1, None], pa.int64()),
    ],
)
def test_what_looks_alike_is_told_apart(one: list[object], other: list[object], kind: pa.DataType) -> None:
    assert digest_of(one, kind) != digest_of(other, kind)


def test_types_and_names_count() -> None:
    digests = {
        digest_of([1], kind) for kind in (pa.int16(), pa.int32(), pa.int64(), pa.float32(), pa.float64())
    }
    digests |= {
        data_digest(pa.table({"y": [1]})),
        digest_of(["1"], pa.string()),
        digest_of([b"1"], pa.binary()),
    }

    assert len(digests) == 8


def test_one_nan_and_no_negative_zero() -> None:
    odd_nan = np.frombuffer(np.array([0x7FF8000000000123], dtype=np.uint64).tobytes(), dtype=np.float64)

    assert data_digest(pa.table({"x": odd_nan})) == digest_of([math.nan], pa.float64())
    assert digest_of([-0.0], pa.float64()) == digest_of([0.0], pa.float64())


def test_bytes_hidden_under_a_null_do_not_count() -> None:
    hidden = pa.Array.from_buffers(
        pa.string(),
        2,
        [pa.py_buffer(b"\x02"), pa.py_buffer(np.array([0, 3, 4], np.int32)), pa.py_buffer(b"xyza")],
    )

    assert data_digest(pa.table({"x": hidden})) == digest_of([None, "a"], pa.string())


def test_a_type_without_a_canonical_form_is_refused() -> None:
    with pytest.raises(TypeError, match="struct"):
        digest_of([{"a": 1}], pa.struct({"a": pa.int64()}))


def test_the_digest_of_these_rows_never_changes() -> None:
    rows = table([{"text": "é", "number": 1, "real": None, "flag": True, "tokens": [1, 2]}])

    assert data_digest(rows) == "87ecf4eee8ac1dd9c8fb756eb72aae374231fb4c0d159fe9c02694f0517ca0ba"


def test_files_are_hashed_like_their_bytes(tmp_path: Path) -> None:
    data = bytes(range(256)) * 10_000
    (tmp_path / "file").write_bytes(data)

    assert file_sha256(tmp_path / "file") == file_sha256(data) == hashlib.sha256(data).hexdigest()
