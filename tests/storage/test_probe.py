"""A store that does not keep conditional writes is found out before anything is written to it."""

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from storage.errors import UnsafeStore
from storage.local_store import LocalStore
from storage.objects import ObjectInfo, Tagged
from storage.probe import PASSED, race
from storage.s3 import S3Store
from storage.stores import open_store
from tests.storage.faulty_proxy import FaultyLake
from tests.storage.servers import client, make_bucket


def all_keys(store: S3Store) -> list[str]:
    """What lies in the bucket, notes of the probe too."""
    listed = client(str(store.place.endpoint)).list_objects_v2(Bucket=store.place.bucket)
    return [each["Key"] for each in listed.get("Contents", [])]


@pytest.fixture(params=["moto_endpoint", pytest.param("ministack_endpoint", marks=pytest.mark.slow)])
def new_bucket(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> S3Store:
    """A lake that nobody has probed, on a server that honours conditions."""
    endpoint = request.getfixturevalue(request.param)
    request.getfixturevalue(request.param.replace("endpoint", "lake"))  # sets the AWS variables
    store = open_store(f"s3://{make_bucket(endpoint)}/lake")
    assert isinstance(store, S3Store)
    return store


def test_an_honest_server_passes_and_only_the_verdict_stays(new_bucket: S3Store) -> None:
    assert new_bucket.create("a/x", b"data")

    assert all_keys(new_bucket) == [f"lake/{PASSED}", "lake/a/x"]
    assert new_bucket.list("") == ["a/x"]


def test_reading_needs_no_probe(new_bucket: S3Store) -> None:
    assert new_bucket.list("") == []

    assert all_keys(new_bucket) == []


def test_a_server_that_ignores_conditions_is_refused_and_nothing_is_written(forgetful_lake: str) -> None:
    store = open_store(forgetful_lake)
    assert isinstance(store, S3Store)

    with pytest.raises(UnsafeStore, match=r"s3://lake-.*4 racing creations of one key 4 succeeded") as caught:
        store.create("a/x", b"data")

    assert 'lake.commit_mode = "single_writer"' in str(caught.value)
    assert "http" not in str(caught.value)
    assert all_keys(store) == []


def test_a_verdict_that_no_longer_holds_is_found_out(forgetful_lake: str) -> None:
    store = open_store(forgetful_lake)
    assert isinstance(store, S3Store)
    client(str(store.place.endpoint)).put_object(Bucket=store.place.bucket, Key=f"lake/{PASSED}", Body=b"{}")

    with pytest.raises(UnsafeStore, match=f"it let '{PASSED}' be created twice"):
        store.create("a/x", b"data")


def test_a_process_asks_once_whether_the_verdict_holds(faulty_lake: FaultyLake) -> None:
    open_store(faulty_lake.uri).create("a/x", b"data")
    open_store(faulty_lake.uri).create("a/y", b"data")

    lake = faulty_lake.uri.removeprefix("s3:/")
    # Creation is refused, and then looked at: it might have been refused to a repetition of one's own, which
    # another size tells apart without reading it.
    assert faulty_lake.seen == [
        f"GET {lake}/{PASSED}",
        f"PUT {lake}/{PASSED}",
        f"HEAD {lake}/{PASSED}",
        f"PUT {lake}/a/x",
        f"PUT {lake}/a/y",
    ]


def test_a_single_writer_may_use_such_a_server_and_is_warned(
    forgetful_lake: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = open_store(forgetful_lake, commit_mode="single_writer")

    with caplog.at_level(logging.WARNING):
        assert store.create("a/x", b"one")
        assert not store.create("a/x", b"two")
        tag = store.get_tagged("a/x").tag
        assert store.replace("a/x", b"three", tag=tag)
        assert not store.replace("a/x", b"four", tag=tag)
        assert not store.replace("a/nothing", b"five", tag=tag)

    assert store.get("a/x") == b"three"
    assert [record.getMessage()[:18] for record in caplog.records if record.name == "storage.probe"] == [
        "SINGLE-WRITER MODE"
    ]


@dataclass(eq=False)
class SlowToDecide:
    """A store that looks first and writes then, as some servers did: right alone, wrong in a race."""

    inner: LocalStore
    address: str = "s3://slow"
    both: threading.Barrier = field(default_factory=lambda: threading.Barrier(4))

    def get(self, key: str) -> bytes:
        return self.inner.get(key)

    def get_tagged(self, key: str) -> Tagged:
        return self.inner.get_tagged(key)

    def create(self, key: str, data: bytes) -> bool:
        free = not self.inner.path(key).exists()
        self.both.wait(5)
        self.inner.create(key, data)
        return free

    def replace(self, key: str, data: bytes, *, tag: str) -> bool:
        return self.inner.replace(key, data, tag=tag)

    def list(self, prefix: str) -> list[str]:
        return self.inner.list(prefix)

    def entries(self, prefix: str) -> Sequence[ObjectInfo]:
        return list(self.inner.entries(prefix))

    def delete(self, key: str) -> None:
        self.inner.delete(key)

    def sweep_unfinished(self, *, older_than_s: float) -> Sequence[str]:
        return []


def test_a_server_that_looks_before_it_writes_fails_in_the_race(tmp_path: Path) -> None:
    with pytest.raises(UnsafeStore, match="of 4 racing creations of one key 4 succeeded"):
        race(SlowToDecide(LocalStore(tmp_path)))

    assert LocalStore(tmp_path).list("") == []


@dataclass(frozen=True)
class ForgetsTags(LocalStore):
    """Honours creation, and swaps whatever the tag."""

    address: str = "s3://tags"

    def replace(self, key: str, data: bytes, *, tag: str) -> bool:
        return super().replace(key, data, tag=self.get_tagged(key).tag)


def test_a_server_that_ignores_tags_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsafeStore, match=r"replaced '_probe/race-.*' under a wrong tag"):
        race(ForgetsTags(tmp_path))
