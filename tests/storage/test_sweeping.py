"""Garbage collection takes what nobody can come to need, and nothing else, whatever lies in the lake."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage import commits, leases, weights
from storage.commits import CommitKey
from storage.datasets import named_keys, read_datasets
from storage.deep_verification import verify_deep
from storage.exclusion import Alone, alone
from storage.leases import Holder, Lease, Patience
from storage.objects import ObjectStore
from storage.probe import PASSED
from storage.processes import Process
from storage.sweeping import Sweep, find_garbage, remove_garbage
from storage.tombstones import BusyLake
from tests.storage.lake_rows import conversations, turns
from tests.storage.memory_store import CountingStore, MemoryStore
from tests.storage.test_commit_crashes import SHARDS, pipeline

DAY_S = 86_400.0
OPEN = CommitKey("sales", "rollouts", 2)
ELSEWHERE = Holder("attempt", Process("another-machine", "boot", 1, "0"))
GARBAGE = {
    "data of a sealed iteration": "sales/rollouts/iteration=0001/shard=0000/turns-" + "a" * 32 + ".parquet",
    "a page of a sealed iteration": "sales/policy/iteration=0001/artifacts/" + "b" * 32 + "/page.html",
    "data of an open iteration": f"{OPEN.prefix}/shard=0000/turns-" + "c" * 32 + ".parquet",
    "an old probe": "_probe/race-1.json",
}
LOST = f"{OPEN.prefix}/shard=0001/turns-{'e' * 32}.parquet"
KEPT = {
    "a verdict": PASSED,
    "a tombstone": "_tombstones/" + "d" * 32 + ".json",
    "somebody's notes": "notes.txt",
    "a log": "sales/_logs/collect-0001.json",
}


def lake() -> MemoryStore:
    """A finished iteration, a second one with one of its shards, and things that lie about."""
    store = MemoryStore()
    pipeline(store, "first")
    publish(store, shard=1)
    for key in (*GARBAGE.values(), *KEPT.values()):
        store.create(key, b"{}")
    return store


def publish(store: ObjectStore, *, shard: int) -> None:
    """One shard of the open iteration."""
    name = f"late{shard}"
    tables = {"conversations": conversations(name), "turns": turns({name: 2})}
    commits.publish_shard(store, OPEN, shard=shard, tables=tables, inputs={"seed": "1"}, attempt="late")


def swept(store: MemoryStore, *, now_s: float = 2 * DAY_S) -> Sweep:
    """Look at this time with a grace of a day, and remove."""
    store.now_s = now_s
    with sweeping(store) as mine:
        sweep = find_garbage(store, now_s=mine.now_s(), grace_s=DAY_S)
        remove_garbage(mine, sweep)
    return sweep


@contextmanager
def sweeping(store: MemoryStore) -> Generator[Alone, None, None]:
    """The right to remove, which gives stages up after the grace."""
    with alone(store, attempt="gc", ttl_s=60.0, on_wait=lambda holder: None) as mine:
        yield replace(mine, silent_s=DAY_S)


def work(store: MemoryStore, name: str) -> Lease:
    """A stage on another machine takes its lease."""
    place = leases.lease_place("sales", name)
    return leases.acquire(store, place, holder=ELSEWHERE, patience=Patience(), on_wait=lambda holder: None)


def test_what_nothing_names_goes_and_what_is_named_or_unknown_stays() -> None:
    store = lake()
    before = set(store.list(""))

    sweep = swept(store)

    assert before - set(store.list("")) == set(GARBAGE.values())
    assert [info.key for info in sweep.unknown] == [KEPT["somebody's notes"]]
    assert sweep.young == sweep.waiting == 0


def test_nothing_younger_than_the_grace_goes() -> None:
    store = lake()
    before = set(store.list(""))

    sweep = swept(store, now_s=DAY_S)

    assert before <= set(store.list(""))
    assert (sweep.garbage, sweep.young) == ((), len(GARBAGE))


def test_where_a_stage_is_at_work_what_it_may_come_to_name_stays() -> None:
    store = lake()
    store.now_s = 1.5 * DAY_S
    work(store, "collect-0002-000")

    sweep = swept(store)

    assert sweep.waiting == 1
    assert GARBAGE["data of an open iteration"] in store.objects
    assert GARBAGE["data of a sealed iteration"] not in store.objects


def test_leases_of_decided_iterations_go_once_nobody_holds_them() -> None:
    store = lake()
    for name in ("collect-0001-000", "collect-0002-000"):
        leases.release(store, leases.lease_place("sales", name), lease=work(store, name))

    swept(store)

    assert store.list("sales/_leases/") == ["sales/_leases/collect-0002-000.json"]


def test_a_lease_of_a_decided_iteration_that_somebody_holds_is_no_garbage() -> None:
    store = lake()
    work(store, "collect-0001-000")

    sweep = find_garbage(store, now_s=2 * DAY_S, grace_s=DAY_S)

    assert [each.info.key for each in sweep.garbage if "/_leases/" in each.info.key] == []


def test_what_was_named_since_the_look_is_not_deleted() -> None:
    store = lake()
    place = next(key for key in store.list(f"{OPEN.prefix}/shard=0001/") if "/turns-" in key)
    manifest = f"{OPEN.prefix}/shard-0001.json"
    unnamed = store.copy()
    unnamed.delete(manifest)
    sweep = find_garbage(unnamed, now_s=2 * DAY_S, grace_s=DAY_S)
    assert place in {each.info.key for each in sweep.garbage}

    with sweeping(store) as mine:
        gone = remove_garbage(mine, sweep)

    assert place not in gone
    assert place in store.objects


def test_a_stage_that_began_after_the_look_keeps_what_it_may_come_to_name() -> None:
    store = lake()
    sweep = find_garbage(store, now_s=2 * DAY_S, grace_s=DAY_S)
    store.now_s = 2 * DAY_S

    with sweeping(store) as mine:
        work(store, "collect-0002-000")
        gone = remove_garbage(mine, sweep)

    assert set(GARBAGE.values()) - set(gone) == {GARBAGE["data of an open iteration"]}


def test_a_lease_of_a_decided_iteration_that_was_taken_since_the_look_stays() -> None:
    store = lake()
    place = leases.lease_place("sales", "collect-0001-000")
    leases.release(store, place, lease=work(store, "collect-0001-000"))
    sweep = find_garbage(store, now_s=2 * DAY_S, grace_s=DAY_S)
    assert place in {each.info.key for each in sweep.garbage}

    with sweeping(store) as mine:
        work(store, "collect-0001-000")
        remove_garbage(mine, sweep)

    assert place in store.objects


def test_nothing_goes_while_a_forgetting_is_not_finished() -> None:
    store = lake()
    store.create("_tombstones/pending-1.json", b"{}")
    before = set(store.list(""))

    with pytest.raises(BusyLake, match=r"pending-1\.json: a forgetting was begun and not finished"):
        swept(store)

    assert before <= set(store.list(""))


def test_the_registry_is_read_once_and_a_dataset_once_however_much_there_is_to_delete() -> None:
    store = CountingStore()
    pipeline(store, "first")
    for number in range(20):
        store.create(f"sales/rollouts/iteration=0001/shard=0000/turns-{number:032x}.parquet", b"")
        name = f"fit_reward-0001-{number:03d}"
        leases.release(store, leases.lease_place("sales", name), lease=work(store, name))
    store.reads.clear()

    sweep = swept(store)

    looked, deleted = 1, 1
    assert len(sweep.garbage) == 40
    assert store.reads.count("sales/registry/000000.json") == looked
    assert store.reads.count("sales/rollouts/iteration=0001/commit.json") == looked + deleted


STEPS = st.lists(
    st.sampled_from(["shard 0", "shard 1", "seal", "weights", "lose manifest", "garbage", "sweep"]),
    max_size=8,
)


@pytest.mark.slow
@given(steps=STEPS)
@settings(max_examples=10)
def test_whatever_was_done_and_swept_in_between_the_pipeline_ends_whole(steps: list[str]) -> None:
    store = lake()
    for step in steps:
        store.now_s += 1.25 * DAY_S
        take(store, step)
        named = named_keys(read_datasets(store))
        swept(store, now_s=store.now_s)
        assert named <= set(store.list(""))

    for step in ("shard 0", "shard 1", "seal", "weights"):
        take(store, step)

    planted = (*GARBAGE.values(), *KEPT.values(), LOST)
    problems = verify_deep(store, None).problems
    assert [each for each in problems if not any(repr(key) in each for key in planted)] == []
    assert commits.read(store, OPEN).files


def take(store: MemoryStore, step: str) -> None:
    """One thing that a stage, a killed one or a loser does."""
    if step.startswith("shard"):
        publish(store, shard=int(step[-1]))
    elif step == "seal" and len(store.list(f"{OPEN.prefix}/shard-")) == SHARDS:
        commits.seal(store, OPEN, shards=SHARDS, parents={}, inputs={"seed": "1"})
    elif step == "weights":
        weights.put_bytes(store, CommitKey("sales", "policy", 2), name="config.json", data=b"{}")
    elif step == "lose manifest" and not store.list(f"{OPEN.prefix}/commit.json"):
        store.delete(f"{OPEN.prefix}/shard-0000.json")  # as if the writer had died before it
    elif step == "garbage":
        store.create(LOST, b"half a file")
