"""What a decided iteration does not hold is never added to it, whoever wakes up and whenever."""

from pathlib import Path

import pytest

from storage import commits
from storage.commits import CommitKey
from storage.deep_verification import verify_deep
from storage.errors import ClosedIteration, MissingCommit
from storage.listing import list_commits
from storage.local_store import LocalStore
from storage.manifests import shard_key
from tests.storage.lake_rows import metrics
from tests.storage.memory_store import InterruptedStore, MemoryStore
from tests.storage.stores import Killed

Q = CommitKey("sales", "q", 3)


def write(store: LocalStore, attempt: str = "zombie") -> commits.Commit:
    return commits.commit(
        store, Q, tables={"metrics": metrics(loss=0.5)}, parents={}, inputs={}, attempt=attempt
    )


def test_a_closed_place_refuses_a_late_commit_and_names_the_decision(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    commits.close(store, Q, by="decide/0003")
    before = store.list("")

    with pytest.raises(ClosedIteration, match="sales/q/0003 was closed by the decision decide/0003"):
        write(store)

    assert store.list("") == before


def test_a_zombie_between_its_rows_and_its_manifest_loses(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)

    class ClosedBeforeTheManifest(LocalStore):
        def create(self, key: str, data: bytes) -> bool:
            if key.endswith("shard-0000.json"):
                commits.close(store, Q, by="decide/0003")
            return LocalStore.create(self, key, data)

    with pytest.raises(ClosedIteration, match="decide/0003"):
        write(ClosedBeforeTheManifest(tmp_path))

    assert commits.find(store, Q) is None
    with pytest.raises(ClosedIteration):
        commits.read_shard(store, Q, shard=0)


def test_a_commit_that_is_there_is_not_closed(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    there = write(store)

    commits.close(store, Q, by="decide/0003")

    assert commits.read(store, Q) == there


def test_closing_twice_or_after_half_a_closing_ends_the_same(tmp_path: Path) -> None:
    whole, half = LocalStore(tmp_path / "whole"), LocalStore(tmp_path / "half")
    for _ in range(2):
        commits.close(whole, Q, by="decide/0003")
    shard = f"{Q.prefix}/shard-0000.json"
    half.create(shard, whole.get(shard))  # killed after the first of its two places

    commits.close(half, Q, by="decide/0003")

    assert half.list("") == whole.list("")


def test_half_a_closing_refuses_every_writer_and_is_whole_to_whoever_verifies() -> None:
    store = MemoryStore()

    def die(number: int, done: bool) -> None:
        if done:
            raise Killed

    with pytest.raises(Killed):
        commits.close(InterruptedStore(store, die), Q, by="decide/0003")

    with pytest.raises(ClosedIteration, match="decide/0003"):
        commits.commit(
            store, Q, tables={"metrics": metrics(loss=0.5)}, parents={}, inputs={}, attempt="zombie"
        )
    assert store.list("") == [shard_key(Q, 0)]
    assert verify_deep(store, None).problems == ()


def test_a_closed_place_is_no_commit_for_readers(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)

    commits.close(store, Q, by="decide/0003")

    assert commits.find(store, Q) is None
    assert list(list_commits(store, "sales")) == []
    with pytest.raises(MissingCommit, match="run `itpo fit-q`"):
        commits.read(store, Q)
