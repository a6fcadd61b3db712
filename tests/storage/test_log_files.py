"""Log files, whole and damaged: every row of the file comes out as a row or in the text of a bad row."""

import gzip
import hashlib
import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage.json_rows import MAX_RAW_CHARACTERS, BadRow, Item, json_lines, json_list
from storage.log_files import PACKED_BYTES, READ_BYTES, LogFileError, read_rows

COUNT = 12
ROWS: list[dict[str, object]] = [
    {
        "id": f"row-{index:03d}",
        "messages": [{"role": "user", "content": f'say "{index}" {{é'}],
        "outcome": None,
    }
    for index in range(COUNT)
]
AS_LIST = json.dumps(ROWS, indent=1, ensure_ascii=False).encode()
AS_LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS).encode()
FLIPS = st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 7)), min_size=1, max_size=6)
fresh_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def flipped(data: bytes, flips: list[tuple[int, int]]) -> bytes:
    """The bytes with single bits turned over."""
    damaged = bytearray(data)
    for place, bit in flips:
        damaged[place % len(data)] ^= 1 << bit
    return bytes(damaged)


def shown(items: list[tuple[int, Item]]) -> str:
    """Everything that came out, as text."""
    return "\n".join(
        item.raw if isinstance(item, BadRow) else json.dumps(item, ensure_ascii=False) for _, item in items
    )


def good(items: list[tuple[int, Item]]) -> list[Item]:
    """The rows that can be used."""
    return [item for _, item in items if not isinstance(item, BadRow)]


def bad(items: list[tuple[int, Item]]) -> list[BadRow]:
    """The others."""
    return [item for _, item in items if isinstance(item, BadRow)]


def written(folder: Path, name: str, data: bytes) -> list[tuple[int, Item]]:
    """What the reader makes of a file with these bytes."""
    (folder / name).write_bytes(data)
    return list(read_rows(folder / name))


def parquet_bytes(rows: list[dict[str, object]], *, compression: str = "snappy") -> bytes:
    """The rows as Parquet, four to a row group."""
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows), sink, row_group_size=4, compression=compression)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize("name", ["a.jsonl", "a.ndjson", "a.jsonl.gz", "a.json", "A.JSON.gz", "a.parquet"])
def test_every_kind_of_file_gives_the_same_rows(tmp_path: Path, name: str) -> None:
    kind = name.lower().removesuffix(".gz").rpartition(".")[2]
    data = {"json": AS_LIST, "parquet": parquet_bytes(ROWS)}.get(kind, AS_LINES)

    items = written(tmp_path, name, gzip.compress(data) if name.endswith(".gz") else data)

    assert [item for _, item in items] == ROWS
    assert [number for number, _ in items] == list(range(1, COUNT + 1))


def test_a_json_file_may_hold_lines_or_one_object_over_many_lines(tmp_path: Path) -> None:
    assert good(written(tmp_path, "lines.json", AS_LINES)) == ROWS
    assert good(written(tmp_path, "one.json", json.dumps(ROWS[0], indent=2).encode())) == ROWS[:1]


def test_a_byte_order_mark_and_blank_lines_are_no_rows(tmp_path: Path) -> None:
    items = written(tmp_path, "a.jsonl", b"\xef\xbb\xbf" + AS_LINES.replace(b"\n", b"\r\n\r\n"))

    assert good(items) == ROWS
    assert bad(items) == []


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.parquet", "a.jsonl.gz"])
def test_an_empty_file_does_not_pass_in_silence(tmp_path: Path, name: str) -> None:
    assert len(bad(written(tmp_path, name, b""))) == 1


def test_zero_rows_of_parquet_are_no_damage(tmp_path: Path) -> None:
    table = pa.table({"id": pa.array([], pa.string())})
    pq.write_table(table, tmp_path / "a.parquet")

    assert list(read_rows(tmp_path / "a.parquet")) == []


@pytest.mark.parametrize("name", ["nowhere.jsonl", "log.csv"])
def test_a_missing_file_and_an_unknown_kind_are_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "log.csv").write_text("a,b")

    with pytest.raises(LogFileError, match=name):
        list(read_rows(tmp_path / name))


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"id": "x', "not JSON"),
        (b"[1, 2]", "the row is a list, not an object"),
        (b"NaN", "the row is a float, not an object"),
        (b'{"id": "\xff"}', "not UTF-8 at character 8"),
        (b'{"id": "a\0b"}', "not JSON"),
        (b'{"a":' * 100_000, "not JSON"),
        (b'{"a":' + b"9" * 5_000 + b"}", "not JSON"),
    ],
)
def test_a_bad_line_is_handed_over_and_the_next_one_is_read(line: bytes, reason: str) -> None:
    (_, first), (_, second) = json_lines([line, b'{"id": 1}'])

    assert isinstance(first, BadRow)
    assert first.reason.startswith(reason)
    assert second == {"id": 1}


def test_text_of_a_bad_row_is_limited_and_can_be_stored() -> None:
    ((_, row),) = json_lines([b'{"\xff' + b"x" * 1_000_000])

    assert isinstance(row, BadRow)
    assert len(row.raw.encode()) < MAX_RAW_CHARACTERS + 100
    assert row.raw.startswith('{"\\udcff')


@given(FLIPS)
def test_each_line_of_a_damaged_file_is_one_row_or_one_bad_row(flips: list[tuple[int, int]]) -> None:
    damaged = flipped(AS_LINES, flips)

    items = list(json_lines(damaged.split(b"\n")))

    assert len(items) == sum(bool(line.strip()) for line in damaged.split(b"\n"))
    intact = set(AS_LINES.splitlines()) & set(damaged.split(b"\n"))
    assert all(json.loads(line) in good(items) for line in intact)


@given(FLIPS)
def test_no_row_of_a_damaged_list_disappears(flips: list[tuple[int, int]]) -> None:
    damaged = flipped(AS_LIST, flips)

    out = shown(list(json_list(damaged)))

    survivors = [row["id"] for row in ROWS if f'"{row["id"]}"'.encode() in damaged]
    assert [name for name in survivors if str(name) not in out] == []


@given(st.integers(0, len(AS_LIST) - 1))
def test_a_list_cut_anywhere_keeps_what_was_whole_and_has_a_bad_row(size: int) -> None:
    cut = AS_LIST[:size]

    items = list(json_list(cut))

    texts = [json.dumps(row, indent=1, ensure_ascii=False).replace("\n", "\n ") for row in ROWS]
    whole = [row for row, text in zip(ROWS, texts, strict=True) if text.encode() in cut]
    # Cut within its first row, a list cannot tell a row from the objects inside it; a parser refuses those.
    assert [item for item in good(items) if "id" in str(item)] == whole
    assert bad(items)


@pytest.mark.parametrize(
    ("text", "rows", "bad_rows"),
    [
        ('[{"a": 1}, {"a": 2}]', 2, 0),
        ('[{"a": 1} {"a": 2}]', 2, 1),
        ('[{"a": 1}, {"a" 2}, {"a": 3}]', 2, 1),
        ('[{"a" 1, "m": {"a": 1}}, {"a": 2, "m": {"a": 2}}]', 1, 1),
        ('[{"a": 1}, 7, {"a": 3}]', 2, 1),
        ('[{"a": 1}] {"a": 2}', 1, 1),
        ('{"a": 1}, {"a": 2}]', 2, 1),
        ("[]", 0, 0),
        ("[", 0, 1),
        ('[{"a": 1},', 1, 1),
    ],
)
def test_reading_goes_on_at_the_next_row(text: str, rows: int, bad_rows: int) -> None:
    items = list(json_list(text.encode()))

    assert (len(good(items)), len(bad(items))) == (rows, bad_rows)


def lines_of(data: bytes) -> Iterator[tuple[int, Item]]:
    """JSONL at hand."""
    return json_lines(data.split(b"\n"))


@pytest.mark.parametrize("read", [lines_of, json_list])
@given(st.binary(max_size=200))
def test_any_bytes_can_be_read(read: Callable[[bytes], Iterator[tuple[int, Item]]], data: bytes) -> None:
    for _, item in read(data):
        assert isinstance(item, dict | BadRow)


@fresh_folder
@given(size=st.integers(1, len(gzip.compress(AS_LINES)) - 1))
def test_a_gzip_stream_cut_anywhere_says_so(tmp_path: Path, size: int) -> None:
    packed = gzip.compress(AS_LINES, mtime=0)[:size]

    items = written(tmp_path, "a.jsonl.gz", packed)

    known = zlib.decompressobj(wbits=31).decompress(packed)
    assert good(items) == [row for row in ROWS if json.dumps(row, ensure_ascii=False).encode() in known]
    assert items[-1][1] == BadRow("the gzip stream is cut short: rows from here on are lost", "")


@fresh_folder
@given(flips=FLIPS)
def test_a_damaged_gzip_stream_never_passes_for_a_whole_one(
    tmp_path: Path, flips: list[tuple[int, int]]
) -> None:
    items = written(tmp_path, "a.jsonl.gz", flipped(gzip.compress(AS_LINES, mtime=0), flips))

    assert good(items) == ROWS or bad(items)


def test_members_of_any_length_are_one_file(tmp_path: Path) -> None:
    texts = [hashlib.sha256(str(index).encode()).hexdigest() for index in range(300)]
    talks = [json.dumps({"text": text}).encode() for text in texts]
    members = [gzip.compress(b"\n".join(talks[start : start + 150]) + b"\n") for start in (0, 150)]

    items = written(tmp_path, "a.jsonl.gz", members[0] + b"\0\0" + members[1])

    assert min(map(len, members)) > 2 * PACKED_BYTES
    assert [item for _, item in items] == [json.loads(talk) for talk in talks]


def test_a_line_longer_than_what_is_read_at_once_is_one_row(tmp_path: Path) -> None:
    long = {"id": "x" * (2 * READ_BYTES + 5)}

    items = written(tmp_path, "a.jsonl", json.dumps(long).encode() + b"\n" + AS_LINES)

    assert [item for _, item in items] == [long, *ROWS]


def test_gzip_members_one_after_the_other_are_one_file(tmp_path: Path) -> None:
    half = len(AS_LINES) // 2

    items = written(tmp_path, "a.jsonl.gz", gzip.compress(AS_LINES[:half]) + gzip.compress(AS_LINES[half:]))

    assert [item for _, item in items] == ROWS


@fresh_folder
@pytest.mark.parametrize("compression", ["snappy", "none", "gzip", "zstd"])
@given(flips=FLIPS)
def test_every_row_of_a_damaged_parquet_file_is_counted(
    tmp_path: Path, compression: str, flips: list[tuple[int, int]]
) -> None:
    items = written(tmp_path, "a.parquet", flipped(parquet_bytes(ROWS, compression=compression), flips))

    unknown = len(items) == 1 and "rows unknown" in bad(items)[0].reason if bad(items) else False
    assert unknown or len(items) == COUNT or (len(items) > COUNT and bad(items))


def test_a_damaged_row_group_costs_its_own_rows_only(tmp_path: Path) -> None:
    data = parquet_bytes(ROWS)
    second = pq.ParquetFile(pa.BufferReader(data)).metadata.row_group(1).column(0)
    start = second.dictionary_page_offset or second.data_page_offset

    items = written(tmp_path, "a.parquet", data[:start] + b"\xff" * 16 + data[start + 16 :])

    assert good(items) == ROWS[:4] + ROWS[8:]
    assert [number for number, item in items if isinstance(item, BadRow)] == [5, 6, 7, 8]
    assert "row group 1" in bad(items)[0].reason


def test_parquet_without_its_end_is_one_bad_row(tmp_path: Path) -> None:
    (row,) = bad(written(tmp_path, "a.parquet", parquet_bytes(ROWS)[:-20]))

    assert "not readable as Parquet" in row.reason
    assert "rows unknown" in row.reason
