"""The commit protocol: visible all at once, never changed, refused when made from something else."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import pytest

from storage import commits
from storage.commits import Commit, CommitKey
from storage.errors import BadKey, ConflictingCommit, CorruptObject, InvalidTable, MissingCommit, MissingShard
from storage.facts import read_facts, record_facts
from storage.local_store import LocalStore
from storage.manifests import ShardManifest, commit_digest, parse_key
from storage.verification import verify
from storage.weights import put_bytes
from tests.storage.lake_rows import conversations, metrics, turns

KEY = CommitKey("sales", "rollouts", 3)
INPUTS = {"config": "c1", "seed": "7"}
PARENTS = {"policy": "p1"}


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "lake")


def publish(
    store: LocalStore, shard: int, *, inputs: Mapping[str, str] = INPUTS, attempt: str = "a"
) -> ShardManifest:
    tables = {"conversations": conversations(f"c{shard}"), "turns": turns({f"c{shard}": 2})}
    return commits.publish_shard(store, KEY, shard=shard, tables=tables, inputs=inputs, attempt=attempt)


def seal(store: LocalStore, shards: int, *, inputs: Mapping[str, str] = INPUTS) -> Commit:
    return commits.seal(store, KEY, shards=shards, parents=PARENTS, inputs=inputs)


def policy(
    store: LocalStore, value: float, *, inputs: Mapping[str, str] = INPUTS, key: str = "sales"
) -> Commit:
    return commits.commit(
        store,
        CommitKey(key, "policy", 0),
        tables={"metrics": metrics(loss=value)},
        parents=PARENTS,
        inputs=inputs,
        attempt="a",
    )


def test_keys_are_written_for_places_and_for_people() -> None:
    assert KEY.prefix == "sales/rollouts/iteration=0003"
    assert KEY.text == "sales/rollouts/0003"
    assert parse_key("sales/rollouts/0003") == KEY


@pytest.mark.parametrize("experiment", ["../etc", "a/b", "", "Sales", "a" * 64, ".hidden"])
def test_an_experiment_with_a_path_in_it_is_refused(experiment: str) -> None:
    with pytest.raises(BadKey, match="is no experiment or kind"):
        CommitKey(experiment, "rollouts", 0)


@pytest.mark.parametrize("iteration", [-1, 10_000])
def test_an_iteration_out_of_range_is_refused(iteration: int) -> None:
    with pytest.raises(BadKey, match=str(iteration)):
        CommitKey("sales", "rollouts", iteration)


def test_a_sealed_iteration_reads_back_shard_after_shard(store: LocalStore) -> None:
    publish(store, 1)
    publish(store, 0)
    sealed = seal(store, 2)

    assert commits.find(store, KEY) == commits.read(store, KEY) == sealed
    assert commits.read_table(store, sealed, table="conversations")["conversation_id"].to_pylist() == [
        "c0",
        "c1",
    ]
    assert commits.read_table(store, sealed, table="turns")["turn_index"].to_pylist() == [0, 1, 0, 1]
    assert [path.parent.name for path in commits.table_paths(store, sealed, table="turns")] == [
        "shard=0000",
        "shard=0001",
    ]
    assert verify(store, sealed) == []


def test_a_table_that_the_commit_does_not_hold_is_empty(store: LocalStore) -> None:
    sealed = policy(store, 1.0)

    assert commits.read_table(store, sealed, table="turns").num_rows == 0
    assert commits.table_paths(store, sealed, table="turns") == []


def test_published_shards_are_invisible_until_sealed(store: LocalStore) -> None:
    publish(store, 0)

    assert commits.find(store, KEY) is None
    with pytest.raises(MissingCommit, match=r"sales/rollouts/0003: run `itpo collect` .* sales, iteration 3"):
        commits.read(store, KEY)


@pytest.mark.parametrize(("kind", "stage"), [("rollouts", "import"), ("policy", "warm-start")])
def test_what_iteration_0_lacks_is_made_by_its_own_stages(store: LocalStore, kind: str, stage: str) -> None:
    with pytest.raises(MissingCommit, match=f"run `itpo {stage}` .* sales, iteration 0"):
        commits.read(store, CommitKey("sales", kind, 0))


def test_missing_shards_are_listed(store: LocalStore) -> None:
    publish(store, 1)

    with pytest.raises(MissingShard, match=r"shards \[0, 2, 3\] of 4 are missing"):
        seal(store, 4)
    assert commits.find(store, KEY) is None


def test_a_retried_shard_gets_the_first_attempt(store: LocalStore) -> None:
    first, second = publish(store, 0, attempt="one"), publish(store, 0, attempt="two")

    assert second == first
    assert second.attempt == "one"


def test_a_shard_from_other_inputs_names_every_difference(store: LocalStore) -> None:
    publish(store, 0)

    with pytest.raises(ConflictingCommit) as refused:
        publish(store, 0, inputs={"config": "c2", "seed": "7", "extra": "x"})

    assert "shard 0 of sales/rollouts/0003" in str(refused.value)
    assert "config: committed 'c1', now 'c2'" in str(refused.value)
    assert "extra: committed None, now 'x'" in str(refused.value)
    assert "another experiment name" in str(refused.value)
    assert "seed" not in str(refused.value)


def test_a_commit_of_the_same_inputs_is_returned_as_it_is(store: LocalStore) -> None:
    first = policy(store, 1.0)

    assert policy(store, 2.0) == first
    assert commits.read_table(store, first, table="metrics")["value"].to_pylist() == [1.0]


def test_a_commit_from_other_inputs_or_parents_is_refused(store: LocalStore) -> None:
    sealed = policy(store, 1.0)

    with pytest.raises(ConflictingCommit, match="seed: committed '7', now '8'"):
        policy(store, 1.0, inputs={"config": "c1", "seed": "8"})
    with pytest.raises(ConflictingCommit, match="parent policy: committed 'p1', now 'p2'"):
        commits.check_inputs(sealed, parents={"policy": "p2"}, inputs=INPUTS)
    commits.check_inputs(sealed, parents=PARENTS, inputs=INPUTS)


def test_sealing_again_returns_the_commit_and_other_shards_are_refused(store: LocalStore) -> None:
    publish(store, 0)
    sealed = seal(store, 1)
    publish(store, 1)

    assert seal(store, 1) == sealed
    with pytest.raises(ConflictingCommit, match="the same inputs gave other rows"):
        seal(store, 2)
    with pytest.raises(ConflictingCommit, match="config: committed 'c1', now 'c9'"):
        seal(store, 1, inputs={**INPUTS, "config": "c9"})


def test_other_artifacts_under_the_same_inputs_are_named(store: LocalStore) -> None:
    publish(store, 0)
    kept, other = (put_bytes(store, KEY, name="a.json", data=data) for data in (b"{}", b"[]"))
    commits.seal(store, KEY, shards=1, parents={}, inputs={}, artifacts={"a.json": kept})

    with pytest.raises(ConflictingCommit, match=f"a.json: committed '{kept.sha256}', now '{other.sha256}'"):
        commits.seal(store, KEY, shards=1, parents={}, inputs={}, artifacts={"a.json": other})


def test_bad_rows_leave_nothing_behind(store: LocalStore) -> None:
    with pytest.raises(InvalidTable):
        commits.publish_shard(
            store, KEY, shard=0, tables={"turns": turns({"a": 1}, n_turns=5)}, inputs={}, attempt="a"
        )

    assert store.list("") == []


def test_the_digest_is_of_the_data_and_of_nothing_else(tmp_path: Path) -> None:
    digests = set()
    for attempt in ("one", "two"):
        store = LocalStore(tmp_path / attempt)
        publish(store, 0, attempt=attempt)
        record_facts(store, KEY, attempt=attempt, facts={"seconds": 1.0, "attempt_no": attempt})
        digests.add(seal(store, 1).digest)

    assert len(digests) == 1


def test_the_digest_follows_rows_inputs_parents_and_key(tmp_path: Path) -> None:
    digests = {
        policy(LocalStore(tmp_path / "1"), 1.0).digest,
        policy(LocalStore(tmp_path / "2"), 2.0).digest,
        policy(LocalStore(tmp_path / "3"), 1.0, inputs={"config": "c2"}).digest,
        policy(LocalStore(tmp_path / "4"), 1.0, key="other").digest,
    }

    assert len(digests) == 4


def test_the_digest_does_not_follow_the_parquet_bytes(store: LocalStore) -> None:
    sealed = policy(store, 1.0)
    rewritten = dataclasses.replace(sealed.files[0], key="elsewhere", sha256="0" * 64, size_bytes=1)

    digest = commit_digest(sealed.key, parents=PARENTS, inputs=INPUTS, files=(rewritten,), artifacts={})

    assert digest == sealed.digest


def test_a_commit_in_the_wrong_place_is_refused(store: LocalStore) -> None:
    policy(store, 1.0)
    misplaced = CommitKey("sales", "policy", 1)
    store.create(f"{misplaced.prefix}/commit.json", store.get("sales/policy/iteration=0000/commit.json"))

    with pytest.raises(CorruptObject, match="holds the commit sales/policy/0000"):
        commits.read(store, misplaced)


def test_side_facts_of_every_attempt_are_kept_and_the_first_record_stays(store: LocalStore) -> None:
    record_facts(store, KEY, attempt="b", facts={"seconds": 2.5})
    record_facts(store, KEY, attempt="a", facts={"revision": "r1"})
    record_facts(store, KEY, attempt="b", facts={"seconds": 9.0})

    assert read_facts(store, KEY) == [{"attempt": "a", "revision": "r1"}, {"attempt": "b", "seconds": 2.5}]


def test_a_file_that_was_collected_before_its_shard_was_claimed_is_written_again(tmp_path: Path) -> None:
    left = LocalStore(tmp_path)
    tables = {"metrics": metrics(loss=0.5)}

    class CollectedInBetween(LocalStore):
        def create(self, key: str, data: bytes) -> bool:
            created = LocalStore.create(self, key, data)
            if key.endswith(".parquet") and not created:
                self.delete(key)
            return created

    key = CommitKey("sales", "policy", 1)
    manifest = commits.publish_shard(left, key, shard=0, tables=tables, inputs={}, attempt="dead")
    left.delete(f"{key.prefix}/shard-0000.json")  # it died before it claimed the shard

    commits.publish_shard(CollectedInBetween(tmp_path), key, shard=0, tables=tables, inputs={}, attempt="b")

    assert left.get(manifest.files[0].key)
