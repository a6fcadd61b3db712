"""The local store when the disk is full, read-only, without hard links, or the writer is killed."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from storage.errors import ObjectMissing, ReadOnlyLake, StorageFull, StoreUnavailable
from storage.local_store import LocalStore
from storage.stores import materialise, open_store
from tests.storage.stores import DyingStore, every_file, failing_link, failing_write

WRITER = """
import sys
from pathlib import Path
from storage.local_store import LocalStore
store = LocalStore(Path(sys.argv[1]))
print("ready", flush=True)
for number in range(100_000):
    store.create(f"data/object-{number:06d}", b"x" * 200_000)
"""


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_said_with_the_path_and_leaves_nothing(tmp_path: Path, number: int) -> None:
    store = LocalStore(tmp_path, write=failing_write(number))

    with pytest.raises(StorageFull, match=r"a/x.*free some space"):
        store.create("a/x", b"0123456789")

    assert every_file(tmp_path) == set()


def test_after_space_was_made_the_same_object_can_be_created(tmp_path: Path) -> None:
    with pytest.raises(StorageFull):
        LocalStore(tmp_path, write=failing_write(errno.ENOSPC)).create("a/x", b"data")

    assert LocalStore(tmp_path).create("a/x", b"data")
    assert every_file(tmp_path) == {"a/x"}


def test_a_disk_that_fills_up_while_naming_leaves_nothing(tmp_path: Path) -> None:
    store = LocalStore(tmp_path, link=failing_link(errno.ENOSPC))

    with pytest.raises(StorageFull):
        store.create("a/x", b"data")

    assert every_file(tmp_path) == set()


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_a_read_only_lake_is_said_with_the_remedy(tmp_path: Path, number: int) -> None:
    store = LocalStore(tmp_path, write=failing_write(number))

    with pytest.raises(ReadOnlyLake, match=r"cannot be written.*lake\.root"):
        store.create("a/x", b"data")

    assert every_file(tmp_path) == set()


def test_an_unknown_failure_of_the_disk_is_not_dressed_up(tmp_path: Path) -> None:
    store = LocalStore(tmp_path, write=failing_write(errno.EIO))

    with pytest.raises(OSError, match="the disk says no"):
        store.create("a/x", b"data")

    assert every_file(tmp_path) == set()


def test_a_link_that_worked_but_was_reported_as_failed_counts(tmp_path: Path) -> None:
    def link_and_lie(existing: Path, new: Path) -> None:
        os.link(existing, new)
        raise FileExistsError(errno.EEXIST, "retransmitted")

    store = LocalStore(tmp_path, link=link_and_lie)

    assert store.create("a/x", b"data")
    assert store.get("a/x") == b"data"


def test_unfinished_files_of_a_killed_writer_are_not_listed(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.create("a/x", b"data")
    (tmp_path / "a" / ".tmp-left-behind").write_bytes(b"da")

    assert store.list("") == ["a/x"]


@pytest.mark.slow
def test_a_writer_killed_at_any_moment_leaves_whole_objects_only(tmp_path: Path) -> None:
    for round_number in range(5):
        root = tmp_path / str(round_number)
        with subprocess.Popen([sys.executable, "-c", WRITER, str(root)], stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            time.sleep(0.02 + 0.013 * round_number)
            writer.send_signal(signal.SIGKILL)
        store = LocalStore(root)

        assert {len(store.get(key)) for key in store.list("")} <= {200_000}
        assert store.create("data/object-999999", b"next")


def test_addresses_of_a_local_store(tmp_path: Path) -> None:
    open_store(str(tmp_path)).create("a/x", b"data")

    assert open_store(f"file://{tmp_path}").get("a/x") == b"data"


@pytest.mark.parametrize("address", ["http://host/lake", "file://host/lake"])
def test_an_unsupported_address_is_named_with_what_is_supported(address: str) -> None:
    with pytest.raises(StoreUnavailable, match=f"{address}.*file:///"):
        open_store(address)


def test_local_objects_are_materialised_as_they_lie(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.create("a/y", b"2")
    store.create("a/x", b"1")

    assert materialise(store, ["a/y", "a/x"]) == [tmp_path / "a/y", tmp_path / "a/x"]
    with pytest.raises(ObjectMissing, match="a/z"):
        materialise(store, ["a/z"])


def test_objects_of_another_store_are_copied(tmp_path: Path) -> None:
    elsewhere = DyingStore(LocalStore(tmp_path / "far"), dies_at=-1, after=False)
    elsewhere.create("a/x", b"1")

    paths = materialise(elsewhere, ["a/x"], folder=tmp_path / "near")

    assert paths == [tmp_path / "near/a/x"]
    assert paths[0].read_bytes() == b"1"
