"""Digests of data, not of files: the same rows give the same digest whatever wrote them.

A table's digest covers its column names, logical types, row count, and per column three streams: which rows
are null, how long each text or list is, and the values, in row order. So it does not change with the Parquet
writer, row groups, chunks, dictionary encoding or 32/64-bit offsets, and does change with any value, with the
order of rows, with null against zero or empty, and with an integer's or float's width.

Policies: every NaN is one NaN (and is not null); -0.0 is 0.0, as they are equal in SQL; bytes are
little-endian.
"""

import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_READ_BYTES = 1 << 20


def file_sha256(source: Path | bytes) -> str:
    """SHA-256 of a file, or of bytes at hand, in hexadecimal."""
    if isinstance(source, bytes):
        return hashlib.sha256(source).hexdigest()
    digest = hashlib.sha256()
    with open(source, "rb") as file:
        while block := file.read(_READ_BYTES):
            digest.update(block)
    return digest.hexdigest()


def data_digest(table: pa.Table) -> str:
    """SHA-256 over the canonical rows of the table, in hexadecimal (see the head of this file)."""
    running = RunningDigest(table.schema)
    running.add(table)
    return running.hexdigest()


class RunningDigest:
    """The data digest of rows that come table by table, however they are cut."""

    def __init__(self, schema: pa.Schema) -> None:
        self._schema = schema
        self._rows = 0
        self._columns = [_Streams() for _ in schema]
        for streams, field in zip(self._columns, schema, strict=True):
            # An empty chunk first: a column without chunks and one with an empty chunk are the same column.
            streams.add("", pa.array([], field.type))

    def add(self, table: pa.Table) -> None:
        """Take the next rows, which have the schema's columns."""
        self._rows += table.num_rows
        for place, streams in enumerate(self._columns):
            for chunk in table.column(place).chunks:
                streams.add("", chunk)

    def hexdigest(self) -> str:
        """The digest of all rows so far."""
        columns = [
            [field.name, _type_name(field.type), streams.hexdigest()]
            for field, streams in zip(self._schema, self._columns, strict=True)
        ]
        text = json.dumps([self._rows, columns], separators=(",", ":"), ensure_ascii=True)
        return file_sha256(text.encode())


class _Streams:
    """One running hash per stream of a column, fed chunk by chunk."""

    def __init__(self) -> None:
        self._hashes: dict[str, hashlib._Hash] = {}
        self._rows: dict[str, int] = {}

    def add(self, path: str, chunk: pa.Array) -> None:
        """Feed one chunk of the values that lie at this level of nesting."""
        chunk = _plain(chunk)
        first_row = self._rows.get(path, 0)
        self._rows[path] = first_row + len(chunk)
        if chunk.null_count:
            nulls = np.flatnonzero(chunk.is_null().to_numpy(zero_copy_only=False))
            self._update(f"{path}null", (nulls + first_row).astype("<i8"))
        if pa.types.is_large_list(chunk.type):
            self._update(f"{path}length", _lengths(chunk.value_lengths()))
            self.add(f"{path}item.", chunk.flatten())
        else:
            for stream, values in _values(chunk):
                self._update(f"{path}{stream}", values)

    def hexdigest(self) -> str:
        """The digest of all streams and their names; a stream that got no bytes does not count."""
        parts = {path: running.hexdigest() for path, running in self._hashes.items()}
        return file_sha256(json.dumps(parts, sort_keys=True).encode())

    def _update(self, path: str, values: np.ndarray) -> None:
        if values.size:
            self._hashes.setdefault(path, hashlib.sha256()).update(np.ascontiguousarray(values).data)


def _plain(chunk: pa.Array) -> pa.Array:
    """One physical form per logical type: no dictionaries, 64-bit offsets."""
    if isinstance(chunk, pa.DictionaryArray):
        chunk = chunk.dictionary_decode()
    if _is_text(chunk.type):
        return chunk.cast(pa.large_string())
    if pa.types.is_binary(chunk.type) or pa.types.is_binary_view(chunk.type):
        return chunk.cast(pa.large_binary())
    if _is_list(chunk.type):
        return chunk.cast(pa.large_list(chunk.type.value_type))
    return chunk


def _values(chunk: pa.Array) -> Iterator[tuple[str, np.ndarray]]:
    """The value streams of a chunk without nesting; a null has the value 0 or the length 0."""
    kind = chunk.type
    if pa.types.is_large_string(kind) or pa.types.is_large_binary(kind):
        yield "length", _lengths(pc.call_function("binary_length", [chunk]))
        yield "bytes", _text_bytes(chunk)
    elif pa.types.is_boolean(kind):
        yield "value", pc.fill_null(chunk, False).cast(pa.uint8()).to_numpy()
    elif pa.types.is_floating(kind):
        yield "value", _canonical_floats(pc.fill_null(chunk, 0.0).to_numpy())
    elif pa.types.is_integer(kind):
        yield "value", _little_endian(pc.fill_null(chunk, 0).to_numpy())
    elif pa.types.is_temporal(kind):
        integers = chunk.view(pa.int64() if kind.bit_width == 64 else pa.int32())
        yield "value", _little_endian(pc.fill_null(integers, 0).to_numpy())
    elif not pa.types.is_null(kind):
        raise TypeError(
            f"no digest is defined for a column of type {kind}: cast it to a scalar, text or list type"
        )


def _lengths(lengths: pa.Array) -> np.ndarray:
    return pc.fill_null(lengths.cast(pa.int64()), 0).to_numpy().astype("<i8", copy=False)


def _text_bytes(chunk: pa.Array) -> np.ndarray:
    # A null may cover bytes of its own; filling it makes them vanish.
    filled = (
        pc.fill_null(chunk, b"" if pa.types.is_large_binary(chunk.type) else "")
        if chunk.null_count
        else chunk
    )
    _, offsets, data = filled.buffers()
    if data is None or len(filled) == 0:
        return np.empty(0, dtype=np.uint8)
    ends = np.frombuffer(offsets, dtype=np.int64)[filled.offset : filled.offset + len(filled) + 1]
    return np.frombuffer(data, dtype=np.uint8)[ends[0] : ends[-1]]


def _canonical_floats(values: np.ndarray) -> np.ndarray:
    values = values + values.dtype.type(0.0)  # -0.0 + 0.0 is 0.0
    values[np.isnan(values)] = np.nan
    return _little_endian(values)


def _little_endian(values: np.ndarray) -> np.ndarray:
    return values if sys.byteorder == "little" else values.astype(values.dtype.newbyteorder("<"))


def _type_name(kind: pa.DataType) -> str:
    if pa.types.is_dictionary(kind):
        return _type_name(kind.value_type)
    if _is_text(kind):
        return "string"
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind):
        return "binary"
    if _is_list(kind):
        return f"list<{_type_name(kind.value_type)}>"
    return str(kind)


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind)
