"""Two trainings that gave different bytes: the committed weights and figures come from the same one."""

import functools
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage import commits, weights
from storage.commits import Commit, CommitKey
from storage.datasets import named_keys, read_datasets
from storage.deep_verification import verify_deep
from storage.errors import ConflictingCommit, CorruptObject
from storage.manifests import ShardManifest, decode_shard, encode_shard, shard_key
from storage.objects import ObjectStore
from storage.verification import verify
from tests.storage.interleaving import TakingTurns, interleaved
from tests.storage.lake_rows import metrics
from tests.storage.memory_store import InterruptedStore, MemoryStore
from tests.storage.stores import Killed

KEY = CommitKey("sales", "policy", 3)
MANIFEST = shard_key(KEY, 0)
WEIGHTS = "model.safetensors"
BOTH = ("config.json", WEIGHTS)
CALLS = 10  # of one writer that nobody disturbs
LOSSES = (0.25, 0.75)


def train(store: ObjectStore, writer: int) -> Commit:
    """What a stage does with the result of its training, which is another one for every writer."""
    artifacts = {
        name: weights.put_bytes(store, KEY, name=name, data=f"{name} of {writer}".encode()) for name in BOTH
    }
    return commits.commit(
        store,
        KEY,
        tables={"metrics": metrics(loss=LOSSES[writer])},
        parents={"credit": "c"},
        inputs={"seed": "1"},
        artifacts=artifacts,
        attempt=f"writer-{writer}",
    )


def trained_by(store: ObjectStore) -> set[str]:
    """Whose rows, weights and configuration the commit holds."""
    found = commits.read(store, KEY)
    [loss] = commits.read_table(store, found, table="metrics")["value"].to_pylist()
    artifacts = [store.get(found.artifacts[name].key).decode() for name in BOTH]
    return {str(LOSSES.index(loss)), *(text.rpartition(" ")[2] for text in artifacts)}


def check_one(order: Sequence[int]) -> None:
    store = MemoryStore()

    first, second = interleaved(store, train, order=order)

    assert isinstance(first, Commit), first
    assert first == second
    assert len(trained_by(store)) == 1
    assert verify(store, first) == []


def test_one_training_makes_so_many_calls() -> None:
    [first, _] = interleaved(MemoryStore(), _counted, order=[0] * 99)

    assert first == CALLS


def _counted(store: TakingTurns, writer: int) -> int:
    train(store, writer)
    return store.calls


@pytest.mark.parametrize("before", range(CALLS + 1))
def test_of_two_trainings_one_gives_rows_and_weights_wherever_the_second_comes_between(before: int) -> None:
    for after in range(CALLS + 1):
        check_one([0] * before + [1] * after + [0] * CALLS)


@given(order=st.lists(st.sampled_from([0, 1]), max_size=2 * CALLS))
@settings(max_examples=50, deadline=None)
def test_so_it_is_in_any_order_of_their_calls(order: list[int]) -> None:
    check_one(order)


@pytest.mark.parametrize("done", [False, True])
def test_a_second_training_finishes_what_a_killed_one_claimed_with_its_weights(done: bool) -> None:
    for number in range(5):  # two artifacts, the rows, the claim, the commit
        store = MemoryStore()
        with pytest.raises(Killed):
            train(InterruptedStore(store, functools.partial(_die, (number, done))), 0)

        train(store, 1)

        claimed = (number, done) >= (3, True)
        assert trained_by(store) == ({"0"} if claimed else {"1"}), number


def _die(moment: tuple[int, bool], number: int, done: bool) -> None:
    if (number, done) == moment:
        raise Killed


def test_what_is_claimed_is_named_before_it_is_committed() -> None:
    store = MemoryStore()
    train(store, 0)
    store.delete(f"{KEY.prefix}/commit.json")

    named = named_keys(read_datasets(store))

    assert {key for key in store.objects if "/artifacts/" in key} <= named


def test_a_manifest_says_that_it_names_artifacts_so_that_an_earlier_program_refuses_it() -> None:
    store = MemoryStore()
    train(store, 0)

    assert b'"format":2' in store.get(MANIFEST)
    assert b'"format":1' in store.get(f"{KEY.prefix}/commit.json")
    with pytest.raises(CorruptObject, match="does not have its checksum"):
        decode_shard(store.get(MANIFEST).replace(b'"format":2', b'"format":1'), place=MANIFEST)


def claimed_by_an_earlier_program(writer: int) -> MemoryStore:
    """It was killed between the claim of the rows and the commit."""
    made, store = MemoryStore(), MemoryStore()
    train(made, writer)
    manifest = decode_shard(made.get(MANIFEST), place=MANIFEST)
    for entry in manifest.files:
        store.create(entry.key, made.get(entry.key))
    earlier = ShardManifest(KEY, 0, manifest.inputs, manifest.attempt, manifest.files)
    store.create(MANIFEST, encode_shard(earlier))
    return store


def test_rows_that_an_earlier_program_claimed_alone_get_the_weights_of_the_training_that_gave_them() -> None:
    store = claimed_by_an_earlier_program(0)

    train(store, 0)

    assert b'"format":1' in store.get(MANIFEST)
    assert trained_by(store) == {"0"}


def test_rows_that_an_earlier_program_claimed_alone_get_no_weights_of_another_training() -> None:
    store = claimed_by_an_earlier_program(0)

    with pytest.raises(ConflictingCommit, match="writer-0 claimed other rows, with an earlier version"):
        train(store, 1)

    assert commits.find(store, KEY) is None


def test_a_claim_of_other_artifacts_than_the_commit_has_is_noticed() -> None:
    store, other = MemoryStore(), MemoryStore()
    train(store, 0)
    train(other, 1)
    for key in (key for key in other.objects if "commit.json" not in key and key != MANIFEST):
        store.create(key, other.get(key))
    mine, theirs = (decode_shard(each.get(MANIFEST), place=MANIFEST) for each in (store, other))
    mixed = ShardManifest(KEY, 0, mine.inputs, mine.attempt, mine.files, theirs.artifacts)
    store.objects[MANIFEST] = encode_shard(mixed)

    problems = verify_deep(store, None).problems

    assert [text for text in problems if "claims other artifacts" in text and MANIFEST in text]
