"""After forgetting, no byte of the lake knows the customer, and everybody else's rows are what they were."""

import functools
import shutil
from pathlib import Path

import pytest

from storage import commits, registry, revisions, weights
from storage.commits import CommitKey
from storage.deep_verification import verify_deep
from storage.errors import ConflictingCommit
from storage.forget_look import look
from storage.forgetting import forget, resume
from storage.listing import list_commits
from storage.local_store import LocalStore
from storage.objects import LakeStore
from storage.stores import open_store
from storage.tombstones import NothingToForget, Selector, Tombstone, tombstones
from tests.storage import forget_lake as planted
from tests.storage.forget_lake import ANN, ANN_COPIED, ANN_LATER, BOB, TALKS, TRACES, USER
from tests.storage.memory_store import CountingStore

BY_USER = Selector(user=USER)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("template") / "lake"
    planted.write_lake(LocalStore(folder))
    return folder


@pytest.fixture
def lake(tmp_path: Path, template: Path) -> LocalStore:
    return LocalStore(shutil.copytree(template, tmp_path / "lake"))


def forgotten(store: LakeStore, selector: Selector = BY_USER) -> Tombstone:
    """Forget as the command does: finish what was begun, else look and begin."""
    render = functools.partial(planted.render, store)
    done = resume(store, selector, render=render)
    found = look(store, selector)
    if done is not None and found.is_nothing:
        return done
    return forget(store, found, reason="asked to", render=render)


def test_the_customer_is_all_over_the_lake_before(lake: LocalStore) -> None:
    sorts = {trace.split(": ")[0].split("/")[1] for trace in planted.traces_in(lake)}

    assert sorts == {"rollouts", "curated", "reward", "credit", "report", "_logs"}


def test_no_byte_knows_the_user_afterwards(lake: LocalStore) -> None:
    forgotten(lake)

    assert planted.traces_in(lake) == []


def test_places_that_a_decision_shut_before_anything_was_made_keep_nobody_from_forgetting(
    lake: LocalStore,
) -> None:
    # A step on logged turns holds no conversations: its decision shuts the rollouts of its iteration.
    commits.close(lake, CommitKey("desk", "rollouts", 1), by="decide/0001")

    forgotten(lake)

    assert planted.traces_in(lake) == []


def test_logs_whose_next_revision_is_shut_forget_as_others_do(lake: LocalStore) -> None:
    revisions.hold(lake, planted.ROLLOUTS, by=planted.POLICY)

    forgotten(lake)

    assert planted.traces_in(lake) == []


def test_everybody_else_keeps_every_row(lake: LocalStore) -> None:
    gone = (ANN, ANN_LATER, ANN_COPIED)
    before = planted.rows_that_stay(lake, gone=gone)

    forgotten(lake)

    assert planted.rows_that_stay(lake, gone=()) == before
    assert len(before["shop/rollouts/iteration=0000/commit.json conversations"]) == 2


def test_one_conversation_goes_with_its_copies_and_the_other_stays(lake: LocalStore) -> None:
    before = planted.rows_that_stay(lake, gone=(ANN, ANN_COPIED))

    forgotten(lake, Selector(conversations=(ANN,)))

    assert planted.traces_in(lake, (ANN, ANN_COPIED, planted.SECRET)) == []
    kept = planted.rows_that_stay(lake, gone=())["shop/rollouts/iteration=0000/commit.json conversations"]
    assert [row["conversation_id"] for row in kept] == [ANN_LATER, BOB, planted.CID]
    assert planted.rows_that_stay(lake, gone=()) == before


def test_the_chain_is_whole_and_every_hash_is_right(lake: LocalStore) -> None:
    forgotten(lake)

    report = verify_deep(lake, None)

    assert report.problems == ()
    assert [version.name for version in registry.versions(lake, "shop")] == ["shop/v0000"]


def test_children_name_the_new_digest_of_a_parent_and_weights_the_one_they_saw(lake: LocalStore) -> None:
    credit_before = commits.read(lake, planted.CREDIT)

    forgotten(lake)

    curated, credit = commits.read(lake, planted.CURATED), commits.read(lake, planted.CREDIT)
    assert credit.parents["curated"] == curated.digest
    assert credit.supersedes[0].digest == credit_before.digest
    policy = commits.read(lake, planted.POLICY)
    assert (policy.parents["credit"], policy.supersedes) == (credit_before.digest, ())


def test_a_stage_run_again_takes_a_parent_that_forgot_for_the_one_it_was(lake: LocalStore) -> None:
    forgotten(lake)
    policy, credit = commits.read(lake, planted.POLICY), commits.read(lake, planted.CREDIT)
    now = {"credit": credit.digest}

    commits.check_inputs(policy, parents=now, inputs={"seed": "1"}, store=lake)

    with pytest.raises(ConflictingCommit, match="parent credit"):
        commits.check_inputs(policy, parents={"credit": "f" * 64}, inputs={"seed": "1"}, store=lake)


def test_an_unsealed_shard_follows_its_parent(lake: LocalStore) -> None:
    forgotten(lake)

    shard = commits.read_shard(lake, CommitKey("again", "curated", 0), shard=0)
    rollouts = commits.read(lake, CommitKey("again", "rollouts", 0))
    assert shard is not None
    assert shard.inputs["parent rollouts"] == rollouts.digest
    assert [entry.rows for entry in shard.files] == [1]


def test_the_tombstone_counts_and_names_who_learned_and_nobody_else(lake: LocalStore) -> None:
    tombstone = forgotten(lake)

    assert tombstones(lake) == [tombstone]
    assert tombstone.conversations == 3
    assert tombstone.removed == {
        "rollouts": {"conversations": 3, "turns": 6, "quarantine": 4},
        "curated": {"curated": 3},
        "reward": {"turn_scores": 2},
        "credit": {"credits": 2},
    }
    learned = {each.commit: (each.how, each.version) for each in tombstone.affected}
    assert learned == {
        "shop/policy/0000": ("direct", "shop/v0000"),
        "shop/reward/0000": ("direct", None),
    }
    assert [each.commit for each in tombstone.renewed] == [
        "again/rollouts/0000",
        *(f"shop/{kind}/0000" for kind in ("credit", "curated", "report", "reward", "rollouts")),
    ]


def test_what_was_dropped_before_training_taught_nobody(lake: LocalStore) -> None:
    tombstone = forgotten(lake, Selector(conversations=(ANN_LATER,)))

    assert tombstone.affected == ()


def test_an_unknown_id_changes_nothing(lake: LocalStore) -> None:
    before = planted.files_below(lake.root)

    with pytest.raises(NothingToForget):
        forgotten(lake, Selector(conversations=("f" * 32,)))

    assert planted.files_below(lake.root) == before


def test_forgetting_again_finds_nothing(lake: LocalStore) -> None:
    forgotten(lake)

    assert look(lake, BY_USER).is_nothing


def test_two_selectors_one_after_the_other_supersede_twice(lake: LocalStore) -> None:
    first = forgotten(lake, Selector(conversations=(ANN_LATER,)))
    second = forgotten(lake)

    rollouts = commits.read(lake, planted.ROLLOUTS)
    assert [each.tombstone for each in rollouts.supersedes] == [first.name, second.name]
    assert verify_deep(lake, None).problems == ()


def test_looking_changes_nothing_and_lists_what_would_go(lake: LocalStore) -> None:
    before = planted.files_below(lake.root)

    found = look(lake, BY_USER)

    assert planted.files_below(lake.root) == before
    assert found.meant.ids == {ANN, ANN_LATER, ANN_COPIED}
    assert found.meant.copies == {ANN_COPIED}
    assert found.pages == ("shop/report/0000",)
    assert found.mentions == ()


def test_looking_leaves_weights_where_they_are() -> None:
    store = CountingStore()
    planted.write_lake(store)
    place = weights.put_bytes(store, planted.POLICY, name="model.safetensors", data=bytes(8)).key
    store.reads.clear()

    look(store, Selector(user=USER))

    assert place not in store.reads
    assert len(store.reads) > 10


def test_a_short_user_id_takes_nobody_else_along(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "lake")
    rows = [planted.conversation(name, user_id=user) for name, user in ((ANN, "7"), (BOB, "77"))]
    key = CommitKey("shop", "rollouts", 0)
    tables = {"conversations": planted.rows_of("conversations", rows)}
    commits.commit(store, key, tables=tables, parents={}, inputs={}, attempt="a")

    forgotten(store, Selector(user="7"))

    kept = commits.read_table(store, commits.read(store, key), table="conversations").to_pylist()
    assert [row["conversation_id"] for row in kept] == [BOB]


@pytest.mark.slow
@pytest.mark.parametrize("address", ["moto_lake", pytest.param("ministack_lake", marks=pytest.mark.e2e)])
def test_a_bucket_forgets_as_a_folder_does(
    address: str, request: pytest.FixtureRequest, lake: LocalStore
) -> None:
    bucket = open_store(request.getfixturevalue(address))
    planted.write_lake(bucket)

    forgotten(bucket)
    forgotten(lake)

    assert planted.traces_in(bucket) == []
    assert verify_deep(bucket, None).problems == ()
    assert digests(bucket) == digests(lake)


def digests(store: LakeStore) -> dict[str, str]:
    """Data digest of every commit."""
    return {commit.key.text: commit.digest for commit in list_commits(store, None)}


def test_the_words_of_a_tombstone_are_no_words_of_the_customer(lake: LocalStore) -> None:
    name = forgotten(lake).name

    text = lake.get(f"_tombstones/{name}.json").decode()
    assert not any(trace in text for trace in TRACES)
    assert lake.list("_tombstones/") == [f"_tombstones/{name}.json"]
    assert all(said not in text for talk in TALKS.values() for said in talk)
