"""Revisions of imported rollouts: found by name, finished for whoever was killed, and all that is seen."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from storage import commits, revisions
from storage.commits import Commit, CommitKey
from storage.errors import MissingCommit
from storage.local_store import LocalStore
from storage.verification import verify
from storage.warehouse import ask, open_lake
from tests.storage.lake_rows import conversations, rows_of

FIRST = CommitKey("talks", "rollouts", 0)
CURATED = CommitKey("talks", "curated", 0)


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "lake")


def put(store: LocalStore, key: CommitKey, *, parents: Mapping[str, str] | None = None) -> Commit:
    """A commit of one row; of a revision the outcome is its number."""
    place = {"experiment": "talks", "iteration": 0}
    kept = {"conversation_id": "c", "kept": True, "fold": "train", "group_id": "g", **place}
    tables = {
        "rollouts": {"conversations": conversations("c", outcome=float(revisions.revision(key)), **place)},
        "curated": {"curated": rows_of("curated", [kept])},
    }[revisions.family(key.kind)]
    return commits.commit(store, key, tables=tables, parents=parents or {}, inputs={"seed": "0"}, attempt="a")


def seen(store: LocalStore, statement: str) -> object:
    with open_lake(store, "talks") as connection:
        return ask(connection, statement, rows=9).rows


def test_the_newest_is_found_and_what_belongs_to_it_has_its_number(store: LocalStore) -> None:
    for number in range(3):
        put(store, revisions.revised(FIRST, number))

    assert revisions.newest_key(store, FIRST).text == "talks/rollouts-0002/0000"
    assert revisions.newest_key(store, CURATED).text == "talks/curated-0002/0000"
    assert revisions.sibling(revisions.revised(FIRST, 2), "curated").kind == "curated-0002"


def test_other_kinds_have_no_revisions() -> None:
    lab = CommitKey("talks", "lab-0001", 0)

    assert revisions.revision(lab) == 0
    assert revisions.revised(lab, 3) == lab


def test_views_show_the_newest_and_no_curation_of_an_older_one(store: LocalStore) -> None:
    put(store, FIRST)
    put(store, CURATED)
    put(store, revisions.revised(FIRST, 1))
    before = seen(store, "select count(*) from curated")

    put(store, revisions.revised(CURATED, 1))

    assert before == ((0,),)
    assert seen(store, "select count(*) from curated") == ((1,),)
    assert seen(store, "select outcome from conversations") == ((1.0,),)
    assert seen(store, "select count(*) from commits") == ((4,),)


def test_what_a_killed_writer_left_whole_is_sealed_by_the_next(store: LocalStore) -> None:
    first, key = put(store, FIRST), revisions.revised(FIRST, 1)
    inputs = {"seed": "0", "parent rollouts": first.digest}
    tables = {"conversations": conversations("c", outcome=1.0)}
    commits.publish_shard(store, key, shard=0, tables=tables, inputs=inputs, attempt="killed")

    assert revisions.finish(store, FIRST)

    sealed = commits.read(store, key)
    assert (sealed.parents, sealed.inputs) == ({"rollouts": first.digest}, {"seed": "0"})
    assert verify(store, sealed) == []
    assert not revisions.finish(store, key)


def test_a_revision_that_is_not_curated_says_which_stage_to_run(store: LocalStore) -> None:
    with pytest.raises(MissingCommit, match="run `itpo curate`"):
        commits.read(store, revisions.revised(CURATED, 1))
