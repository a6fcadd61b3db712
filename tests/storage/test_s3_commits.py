"""Commits over a failing way to the bucket survive or fail cleanly, and running again gives one digest."""

from dataclasses import replace
from pathlib import Path

import pytest

from storage import commits, weights
from storage.commits import Commit, CommitKey
from storage.errors import CorruptObject, StorageError
from storage.local_store import LocalStore
from storage.objects import ObjectStore
from storage.s3 import S3Store
from storage.stores import open_store
from tests.storage.faulty_proxy import Act, Fault, FaultyLake, answer, drop_after, flip, truncate
from tests.storage.lake_rows import conversations, metrics, turns
from tests.storage.servers import client

pytestmark = pytest.mark.slow
ROLLOUTS, POLICY = CommitKey("sales", "rollouts", 1), CommitKey("sales", "policy", 1)


def pipeline(store: ObjectStore, attempt: str) -> Commit:
    """A shard, its seal, and a policy with weights."""
    tables = {"conversations": conversations("c0"), "turns": turns({"c0": 2})}
    commits.publish_shard(store, ROLLOUTS, shard=0, tables=tables, inputs={"seed": "1"}, attempt=attempt)
    rollouts = commits.seal(store, ROLLOUTS, shards=1, parents={}, inputs={"seed": "1"})
    return commits.commit(
        store,
        POLICY,
        tables={"metrics": metrics(loss=0.5)},
        parents={"rollouts": rollouts.digest},
        inputs={"seed": "1"},
        artifacts={"config.json": weights.put_bytes(store, POLICY, name="config.json", data=b"{}")},
        attempt=attempt,
    )


@pytest.fixture(scope="module")
def unbroken_digest(tmp_path_factory: pytest.TempPathFactory) -> str:
    return pipeline(LocalStore(tmp_path_factory.mktemp("unbroken")), "first").digest


def opened(lake: FaultyLake, *, deadline_s: float = 5.0) -> S3Store:
    store = open_store(lake.uri)
    assert isinstance(store, S3Store)
    return replace(store, deadline_s=deadline_s)


@pytest.mark.parametrize("act", [answer(500, "InternalError"), answer(503, "SlowDown"), drop_after])
def test_every_write_may_fail_once_in_a_way_that_passes(
    faulty_lake: FaultyLake, act: Act, unbroken_digest: str
) -> None:
    store = opened(faulty_lake)
    faulty_lake.faults += [
        Fault("PUT", part, act)
        for part in ("conversations-", "turns-", "shard-0000", "commit.json", "config.json")
    ]

    policy = pipeline(store, "first")

    assert policy.digest == unbroken_digest
    assert [fault.met >= 1 for fault in faulty_lake.faults] == [True] * 5
    assert commits.read(store, ROLLOUTS).digest == policy.parents["rollouts"]


@pytest.mark.parametrize(
    "part", ["turns-", "rollouts/iteration=0001/shard-0000", "rollouts/iteration=0001/commit", "config"]
)
@pytest.mark.parametrize(
    "act", [answer(400, "ExpiredToken"), answer(403, "AccessDenied"), answer(507, "QuotaExceeded")]
)
def test_a_write_that_is_refused_for_good_fails_cleanly_and_goes_on_later(
    faulty_lake: FaultyLake, act: Act, part: str, unbroken_digest: str
) -> None:
    store = opened(faulty_lake)
    faulty_lake.faults.append(Fault("PUT", part, act, times=99))

    with pytest.raises(StorageError, match=r"s3://"):
        pipeline(store, "first")

    faulty_lake.faults.clear()
    assert pipeline(store, "second").digest == unbroken_digest
    assert commits.read_table(store, commits.read(store, ROLLOUTS), table="turns").num_rows == 2


@pytest.mark.parametrize("act", [truncate, flip, answer(500, "InternalError")])
def test_what_is_read_is_whole_or_read_again(faulty_lake: FaultyLake, act: Act, unbroken_digest: str) -> None:
    store = opened(faulty_lake)
    pipeline(store, "first")
    faulty_lake.faults += [Fault("GET", part, act) for part in ("commit.json", "turns-", "conversations-")]

    rollouts = commits.read(store, ROLLOUTS)

    assert commits.read_table(store, rollouts, table="turns").num_rows == 2
    assert commits.table_paths(store, rollouts, table="conversations")[0].is_file()
    assert commits.read(store, POLICY).digest == unbroken_digest


def test_a_damaged_local_copy_is_fetched_again(moto_lake: str, tmp_path: Path) -> None:
    store = open_store(moto_lake, cache=tmp_path)
    pipeline(store, "first")
    rollouts = commits.read(store, ROLLOUTS)
    (path,) = commits.table_paths(store, rollouts, table="turns")
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + b"\0")

    assert commits.table_paths(store, rollouts, table="turns") == [path]
    assert path.read_bytes() == whole


def test_a_damaged_object_is_named_and_not_kept_trying(moto_lake: str, tmp_path: Path) -> None:
    store = open_store(moto_lake, cache=tmp_path)
    assert isinstance(store, S3Store)
    pipeline(store, "first")
    rollouts = commits.read(store, ROLLOUTS)
    entry = next(entry for entry in rollouts.files if entry.table == "turns")
    changed = store.get(entry.key)[:-1] + b"\0"
    client(str(store.place.endpoint)).put_object(
        Bucket=store.place.bucket, Key=f"lake/{entry.key}", Body=changed
    )

    with pytest.raises(CorruptObject, match=f"'{entry.key}' is corrupt: expected sha256 {entry.sha256}"):
        commits.table_paths(store, rollouts, table="turns")


def test_weights_come_back_as_a_folder(moto_lake: str, tmp_path: Path) -> None:
    store = open_store(moto_lake)
    pipeline(store, "first")

    folder = weights.get_folder(store, commits.read(store, POLICY).artifacts, destination=tmp_path / "policy")

    assert (folder / "config.json").read_bytes() == b"{}"
