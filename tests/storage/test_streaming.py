"""A file on its way into a bucket: in parts, several at once, never whole in memory, and created once."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from storage import weights
from storage.commits import CommitKey
from storage.errors import ReadOnlyLake
from storage.s3 import S3Store
from storage.s3_writes import AT_ONCE
from storage.sources import LARGE_BYTES, InMemory, OnDisk
from storage.stores import open_store
from tests.storage.faulty_proxy import Fault, FaultyLake, answer, drop_after

MIB = 1 << 20
POLICY = CommitKey("sales", "policy", 1)
MEASURED = """
import json, sys, tracemalloc
from pathlib import Path
from storage.stores import open_store

def most_kib():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))

store = open_store(sys.argv[1])
store.create("a/small", b"connected")
before = most_kib()
tracemalloc.start()
created = store.create_from("a/large", Path(sys.argv[2]))
peak = tracemalloc.get_traced_memory()[1]
rss = most_kib() - before
print(json.dumps({"created": created, "peak_mib": peak / 2**20, "rss_mib": rss / 2**10}))
"""


def sparse(path: Path, size_bytes: int) -> Path:
    """A file of zeros with a few marks, which takes no room."""
    with open(path, "wb") as file:
        file.truncate(size_bytes)
        for place in range(0, size_bytes, 7 * MIB):
            file.seek(place)
            file.write(str(place).encode())
    return path


def opened(uri: str) -> S3Store:
    store = open_store(uri)
    assert isinstance(store, S3Store)
    return replace(store, part_bytes=5 * MIB)


@pytest.mark.slow
@pytest.mark.parametrize("lake", ["moto_lake", "ministack_lake"])
def test_a_file_goes_in_parts_and_is_created_once(
    lake: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    store = opened(request.getfixturevalue(lake))
    first, second = sparse(tmp_path / "first", 12 * MIB), sparse(tmp_path / "second", 13 * MIB)

    created = [store.create_from("a/large", path) for path in (first, second, first)]

    assert created == [True, False, False]
    assert store.get("a/large") == first.read_bytes()
    assert store.get_tagged("a/large").tag.endswith('-3"')
    assert list(store.sweep_unfinished(older_than_s=-60)) == []  # what lost was aborted


@pytest.mark.slow
def test_a_file_whose_completion_was_not_answered_is_known_again(
    faulty_lake: FaultyLake, tmp_path: Path
) -> None:
    store, file = opened(faulty_lake.uri), sparse(tmp_path / "large", 12 * MIB)
    faulty_lake.faults.append(Fault("POST", "a/large", drop_after, first=2))

    assert store.create_from("a/large", file)
    assert store.get("a/large") == file.read_bytes()


@pytest.mark.slow
def test_a_part_that_is_refused_ends_the_upload_and_nothing_lies_there(
    faulty_lake: FaultyLake, tmp_path: Path
) -> None:
    store, file = opened(faulty_lake.uri), sparse(tmp_path / "large", 12 * MIB)
    faulty_lake.faults.append(Fault("PUT", "partNumber=2", answer(403, "AccessDenied")))

    with pytest.raises(ReadOnlyLake, match="allow s3:PutObject"):
        store.create_from("a/large", file)

    assert store.list("a/") == []
    assert list(store.sweep_unfinished(older_than_s=-60)) == []


@pytest.mark.slow
def test_weights_come_out_of_the_bucket_as_they_went_in(moto_lake: str, tmp_path: Path) -> None:
    store, folder = open_store(moto_lake), tmp_path / "model"
    folder.mkdir()
    sparse(folder / "model.safetensors", LARGE_BYTES + 3)
    (folder / "config.json").write_bytes(b"{}")

    artifacts = weights.put_folder(store, POLICY, folder=folder)
    fetched = weights.get_folder(store, artifacts, destination=tmp_path / "fetched")

    for name in ("model.safetensors", "config.json"):
        assert (fetched / name).read_bytes() == (folder / name).read_bytes()


def test_a_file_gives_the_parts_that_its_bytes_give(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"0123456789")
    places = [(0, 4), (4, 8), (8, 12), (12, 16)]

    parts = [OnDisk(tmp_path / "x").part(*place) for place in places]

    assert parts == [InMemory(b"0123456789").part(*place) for place in places]
    assert parts == [b"0123", b"4567", b"89", b""]


@pytest.mark.e2e
def test_two_hundred_megabytes_need_a_few_parts_of_memory(moto_lake: str, tmp_path: Path) -> None:
    large = sparse(tmp_path / "large", 200 * MIB)

    told = subprocess.run(
        [sys.executable, "-c", MEASURED, moto_lake, str(large)],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )

    measured = json.loads(told.stdout)
    print(measured)
    assert measured["created"]
    # The libraries below hold every part that is under way a second time.
    assert measured["peak_mib"] < 3 * AT_ONCE * LARGE_BYTES / MIB
    assert measured["rss_mib"] < 3 * AT_ONCE * LARGE_BYTES / MIB
