"""Parts of objects: the right bytes in few requests, each asked for once, and no more kept than fits."""

import io
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.block_cache import BlockCache, block_size
from storage.committed_files import CommittedFiles
from storage.errors import CorruptObject

MIB = 1 << 20


@dataclass
class Objects:
    """Objects at hand, and every request for a part of one."""

    contents: dict[str, bytes]
    requests: list[tuple[str, int, int]] = field(default_factory=list)

    def fetch(self, key: str, start: int, stop: int) -> bytes:
        self.requests.append((key, start, stop))
        return self.contents[key][start:stop]


def small_block(size_bytes: int) -> int:
    return 4 if size_bytes < 30 else 16


@given(size=st.integers(0, 192 * MIB))
def test_objects_up_to_the_stated_size_are_read_in_three_requests(size: int) -> None:
    assert size <= 3 * block_size(size)
    assert block_size(size) <= 64 * MIB


@given(
    data=st.binary(max_size=70),
    parts=st.lists(st.tuples(st.integers(0, 80), st.integers(0, 80)), max_size=6),
    capacity=st.integers(0, 40),
)
def test_every_part_has_the_bytes_of_the_object(
    data: bytes, parts: list[tuple[int, int]], capacity: int
) -> None:
    cache = BlockCache(Objects({"a": data}).fetch, block_of=small_block, capacity_bytes=capacity)

    read = [cache.read("a", size_bytes=len(data), start=start, stop=stop) for start, stop in parts]

    assert read == [data[start:stop] for start, stop in parts]


def test_threads_that_want_the_same_part_ask_for_it_once() -> None:
    objects, together = Objects({"a": bytes(range(200))}), threading.Barrier(8)
    cache = BlockCache(objects.fetch)

    def read(start: int) -> bytes:
        together.wait(5)
        return cache.read("a", size_bytes=200, start=start, stop=start + 10)

    with ThreadPoolExecutor(8) as threads:
        parts = list(threads.map(read, range(0, 80, 10)))

    assert b"".join(parts) == bytes(range(80))
    assert objects.requests == [("a", 0, 200)]


def test_what_was_not_used_for_longest_is_dropped_first() -> None:
    objects = Objects({name: bytes(10) for name in "abc"})
    cache = BlockCache(objects.fetch, capacity_bytes=20)

    for name in "abacb":
        cache.read(name, size_bytes=10, start=0, stop=10)

    assert [key for key, _, _ in objects.requests] == ["a", "b", "c", "b"]


def test_an_object_that_is_shorter_than_its_commit_says_is_named() -> None:
    cache = BlockCache(Objects({"sales/turns-1.parquet": b"123"}).fetch)

    with pytest.raises(CorruptObject, match=r"'sales/turns-1.parquet' has not the 5 bytes of its commit"):
        cache.read("sales/turns-1.parquet", size_bytes=5, start=0, stop=1)


def test_the_file_system_has_committed_files_only_and_changes_none() -> None:
    files = CommittedFiles({"e/a [1]": 3}, BlockCache(Objects({"e/a [1]": b"abc", "e/b": b"secret"}).fetch))

    with files.open("lake://e/a [1]") as file:
        assert (file.read(), file.seek(1), file.read(1)) == (b"abc", 1, b"b")
    assert files.glob("lake://e/*") == []
    assert files.glob("lake://e/a [1]") == ["e/a [1]"]
    with pytest.raises(FileNotFoundError, match="no commit of these views names a file 'e/b'"):
        files.open("lake://e/b")
    with pytest.raises(PermissionError, match="read only"):
        files.open("lake://e/a [1]", "wb")


def test_each_thread_has_a_place_of_its_own_in_an_open_file() -> None:
    files = CommittedFiles({"a": 100}, BlockCache(Objects({"a": bytes(range(100))}).fetch))
    file = files.open("lake://a")
    file.seek(10)

    with ThreadPoolExecutor(1) as other:
        read_there = other.submit(lambda: (file.seek(50), file.read(2))).result()

    assert read_there == (50, bytes([50, 51]))
    assert (file.tell(), file.read(2)) == (10, bytes([10, 11]))


def test_threads_of_duckdb_that_share_an_open_file_do_not_read_each_other_s_place() -> None:
    sink, rows = io.BytesIO(), 100_000
    table = pa.table({"n": range(rows), "text": [f"text {n}" for n in range(rows)]})
    pq.write_table(table, sink, row_group_size=2_000)
    data = sink.getvalue()

    def slowly(key: str, start: int, stop: int) -> bytes:
        time.sleep(0.001)  # another thread moves in the open file meanwhile
        return data[start:stop]

    for _ in range(3):
        blocks = BlockCache(slowly, block_of=lambda size_bytes: 20_000, capacity_bytes=100_000)
        with duckdb.connect(config={"threads": 8}) as connection:
            connection.register_filesystem(CommittedFiles({"a.parquet": len(data)}, blocks))
            query = "select sum(n), count(distinct text) from read_parquet('lake://a.parquet')"
            assert connection.execute(query).fetchall() == [(rows * (rows - 1) // 2, rows)]
