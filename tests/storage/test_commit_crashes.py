"""Killed at every step, raced by many processes, damaged in any byte: nothing is lost, doubled or hidden."""

import multiprocessing
import os
import random
from pathlib import Path

import pytest

from storage import commits, registry, weights
from storage.commits import Commit, CommitKey
from storage.errors import CorruptObject, FutureSchema, StorageFull
from storage.facts import record_facts
from storage.local_store import LocalStore
from storage.manifests import FileEntry, commit_digest, encode_commit
from storage.objects import ObjectStore
from storage.verification import verify
from tests.storage.lake_rows import conversations, metrics, turns
from tests.storage.stores import DyingStore, Killed, failing_write

ROLLOUTS = CommitKey("sales", "rollouts", 1)
POLICY = CommitKey("sales", "policy", 1)
SHARDS = 2
CREATIONS = 13  # of one undisturbed run of the pipeline below


def pipeline(store: ObjectStore, attempt: str) -> Commit:
    """Two shards, a seal, weights with metrics, a candidate and its promotion: every kind of write."""
    for shard in range(SHARDS):
        tables = {"conversations": conversations(f"c{shard}"), "turns": turns({f"c{shard}": 2})}
        commits.publish_shard(
            store, ROLLOUTS, shard=shard, tables=tables, inputs={"seed": "1"}, attempt=attempt
        )
    rollouts = commits.seal(store, ROLLOUTS, shards=SHARDS, parents={}, inputs={"seed": "1"})
    policy = commits.commit(
        store,
        POLICY,
        tables={"metrics": metrics(loss=0.5)},
        parents={"rollouts": rollouts.digest},
        inputs={"seed": "1"},
        artifacts={"config.json": weights.put_bytes(store, POLICY, name="config.json", data=b"{}")},
        attempt=attempt,
    )
    version = registry.PolicyVersion("sales/v0001", "sales", 1, None, policy.digest, POLICY.text)
    registry.register_candidate(store, version)
    registry.record_decision(
        store, "sales", event_id="decide/0001", action="promote", version=version.name, reason="", evidence={}
    )
    return policy


def flipped(data: bytes, place: int, bit: int) -> bytes:
    changed = bytearray(data)
    changed[place] ^= 1 << bit
    return bytes(changed)


def test_the_pipeline_creates_as_often_as_the_crash_test_assumes(tmp_path: Path) -> None:
    counting = DyingStore(LocalStore(tmp_path), dies_at=-1, after=False)

    pipeline(counting, "only")

    assert counting.created == CREATIONS


@pytest.fixture(scope="module")
def unbroken_digest(tmp_path_factory: pytest.TempPathFactory) -> str:
    return pipeline(LocalStore(tmp_path_factory.mktemp("unbroken")), "first").digest


# Dying before the first creation leaves nothing; dying before a later one is dying after the one before it.
@pytest.mark.parametrize("dies_at", range(CREATIONS))
def test_killed_after_any_step_and_run_again_it_ends_as_an_unbroken_run(
    tmp_path: Path, dies_at: int, unbroken_digest: str
) -> None:
    broken = LocalStore(tmp_path / "broken")

    with pytest.raises(Killed):
        pipeline(DyingStore(broken, dies_at=dies_at, after=True), "first")
    again = pipeline(broken, "second")

    assert again.digest == unbroken_digest
    assert verify(broken, commits.read(broken, ROLLOUTS)) == []
    assert commits.read_table(broken, commits.read(broken, ROLLOUTS), table="turns").num_rows == 4
    assert [event.action for event in registry.events(broken, "sales")] == ["candidate", "promote"]


@pytest.mark.parametrize("dies_at", range(6))
def test_before_the_seal_a_killed_writer_leaves_nothing_to_see(tmp_path: Path, dies_at: int) -> None:
    store = LocalStore(tmp_path)

    with pytest.raises(Killed):
        pipeline(DyingStore(store, dies_at=dies_at, after=True), "first")

    assert commits.find(store, ROLLOUTS) is None


def test_a_disk_that_fills_while_committing_leaves_nothing_to_see(tmp_path: Path) -> None:
    with pytest.raises(StorageFull, match="free some space"):
        pipeline(LocalStore(tmp_path, write=failing_write(28)), "first")

    assert LocalStore(tmp_path).list("") == []
    assert pipeline(LocalStore(tmp_path), "second").digest


def race(root: Path, seed: int) -> tuple[str, list[str]]:
    """One of many processes that all try to write every shard, in their own order, with rows of their own."""
    store, chance = LocalStore(root), random.Random(seed)
    for shard in chance.sample(range(SHARDS), SHARDS):
        tables = {"conversations": conversations(f"c{shard}", latent_json=str(chance.random()))}
        commits.publish_shard(
            store, ROLLOUTS, shard=shard, tables=tables, inputs={}, attempt=str(os.getpid())
        )
    sealed = commits.seal(store, ROLLOUTS, shards=SHARDS, parents={}, inputs={})
    registry.register_candidate(store, registry.PolicyVersion(f"v{seed}", "sales", seed, None, "d", "k"))
    return sealed.digest, commits.read_table(store, sealed, table="conversations")["latent_json"].to_pylist()


@pytest.mark.slow
def test_of_eight_racing_processes_one_wins_each_shard_and_all_agree(tmp_path: Path) -> None:
    root = tmp_path / "lake"

    with multiprocessing.get_context("spawn").Pool(8) as pool:
        seen = pool.starmap(race, [(root, seed) for seed in range(8)], chunksize=1)

    assert all(one == seen[0] for one in seen)
    store = LocalStore(root)
    assert verify(store, commits.read(store, ROLLOUTS)) == []
    assert [event.seq for event in registry.events(store, "sales")] == list(range(8))
    assert {version.name for version in registry.versions(store, "sales")} == {
        f"v{seed}" for seed in range(8)
    }


def whole_lake(root: Path) -> tuple[LocalStore, list[str]]:
    store = LocalStore(root)
    pipeline(store, "first")
    record_facts(store, POLICY, attempt="first", facts={"seconds": 1.5})
    return store, [key for key in store.list("") if not key.startswith("sales/registry/")]


@pytest.mark.slow
def test_one_flipped_bit_in_any_object_is_named(tmp_path: Path) -> None:
    store, keys = whole_lake(tmp_path)
    sealed = {key.prefix: commits.read(store, key) for key in (ROLLOUTS, POLICY)}
    chance = random.Random(20)

    for key in keys:
        commit = next(commit for prefix, commit in sealed.items() if key.startswith(prefix))
        data = store.get(key)
        for place in {0, len(data) - 1, *chance.choices(range(len(data)), k=3)}:
            store.path(key).write_bytes(flipped(data, place, chance.randrange(8)))
            assert any(key in problem for problem in verify(store, commit)), (key, place)
        store.path(key).write_bytes(data)

    assert [problem for commit in sealed.values() for problem in verify(store, commit)] == []


def test_every_part_of_a_commit_counts(tmp_path: Path) -> None:
    store, _ = whole_lake(tmp_path)
    place = f"{POLICY.prefix}/commit.json"
    data = store.get(place)

    for position in range(0, len(data), 5):
        store.path(place).write_bytes(flipped(data, position, position % 8))
        with pytest.raises((CorruptObject, FutureSchema), match=place):
            commits.read(store, POLICY)


def test_a_damaged_file_is_refused_by_every_way_of_reading(tmp_path: Path) -> None:
    store, _ = whole_lake(tmp_path)
    commit = commits.read(store, ROLLOUTS)
    entry = commit.files[0]
    store.path(entry.key).write_bytes(flipped(store.get(entry.key), 100, 3))

    with pytest.raises(
        CorruptObject, match=f"'{entry.key}' is corrupt: expected sha256 {entry.sha256} .*found"
    ):
        commits.read_table(store, commit, table=entry.table)
    with pytest.raises(CorruptObject, match=entry.key):
        commits.table_paths(store, commit, table=entry.table)


def test_a_lost_file_is_a_problem_with_its_name(tmp_path: Path) -> None:
    store, _ = whole_lake(tmp_path)
    commit = commits.read(store, ROLLOUTS)
    store.path(commit.files[0].key).unlink()

    assert verify(store, commit) == [f"there is no object '{commit.files[0].key}' in the lake at {tmp_path}"]


def test_rows_that_differ_from_what_the_commit_promises_are_named(tmp_path: Path) -> None:
    store, _ = whole_lake(tmp_path)
    entry = commits.read(store, POLICY).files[0]
    liar = FileEntry(entry.table, entry.key, entry.sha256, entry.size_bytes, 7, "0" * 64)
    digest = commit_digest(POLICY, parents={}, inputs={}, files=(liar,), artifacts={})

    problems = verify(store, Commit(POLICY, {}, {}, (liar,), {}, digest))

    assert len(problems) == 2
    assert f"'{entry.key}' holds 1 rows, its commit says 7" in problems[0]
    assert f"'{entry.key}' has data digest {entry.data_digest}" in problems[1]


def test_a_commit_of_a_newer_format_asks_for_an_upgrade(tmp_path: Path) -> None:
    store, _ = whole_lake(tmp_path)
    place = f"{POLICY.prefix}/commit.json"
    newer = encode_commit(commits.read(store, POLICY)).replace(b'"format":1', b'"format":2')
    store.path(place).write_bytes(newer)

    with pytest.raises(FutureSchema, match=f"{place}' has format 2, newer than 1: upgrade"):
        commits.read(store, POLICY)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b"{}", b'{"format":1}', b"\xff\xfe"])
def test_an_object_that_is_no_commit_is_named(tmp_path: Path, data: bytes) -> None:
    store = LocalStore(tmp_path)
    store.create(f"{POLICY.prefix}/commit.json", data)

    with pytest.raises(CorruptObject, match=f"{POLICY.prefix}/commit.json"):
        commits.find(store, POLICY)
