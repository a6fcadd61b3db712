"""Lakes of every earlier schema version stay readable; a version only ever adds columns that may be null."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from storage import commits, registry
from storage.commits import CommitKey
from storage.facts import read_facts
from storage.listing import list_commits
from storage.local_store import LocalStore
from storage.schemas import SCHEMA_VERSION, SCHEMAS
from storage.verification import verify
from storage.warehouse import run_sql
from storage.weights import get_folder
from tests.storage.fixture_lake import CURATION, EXPERIMENT
from tests.storage.frozen import (
    QUESTIONS,
    Columns,
    answer,
    columns_of,
    facts_of,
    fixture_store,
    kept,
    versions,
)
from tests.storage.write_fixture import write_fixture

VERSIONS = versions()


def additions_only(old: Columns, new: Columns) -> list[str]:
    """What a reader of the old columns would miss in the new ones, and what old files would lack."""
    faults = [f"{table}: the dataset is gone" for table in old if table not in new]
    for table in old.keys() & new.keys():
        before = {column["name"]: column for column in old[table]}
        after = {column["name"]: column for column in new[table]}
        faults += [f"{table}.{name}: {before[name]} became {after.get(name)}" for name in before
                   if after.get(name) != before[name]]  # fmt: skip
        faults += [f"{table}.{name}: new and required" for name in after.keys() - before.keys()
                   if not after[name]["nullable"]]  # fmt: skip
    return sorted(faults)


def column(name: str, kind: str = "string", *, nullable: bool = False) -> dict[str, object]:
    return {"name": name, "type": kind, "nullable": nullable}


def test_every_version_so_far_has_a_fixture() -> None:
    assert list(range(1, SCHEMA_VERSION + 1)) == VERSIONS


def test_the_present_schema_is_the_one_that_was_frozen() -> None:
    assert columns_of() == kept(SCHEMA_VERSION, "schemas")


@pytest.mark.parametrize("version", VERSIONS)
def test_since_every_version_columns_were_only_added_and_may_be_null(version: int) -> None:
    assert additions_only(kept(version, "schemas"), columns_of()) == []


@pytest.mark.parametrize(
    ("new", "fault"),
    [
        ({"t": [column("a")]}, "t.b: {'name': 'b', 'type': 'string', 'nullable': False} became None"),
        ({"t": [column("a"), column("b", "int32")]}, "t.b: "),
        ({"t": [column("a"), column("b", nullable=True)]}, "t.b: "),
        ({"t": [column("a"), column("b"), column("c")]}, "t.c: new and required"),
        ({}, "t: the dataset is gone"),
    ],
)
def test_what_breaks_old_files_is_named(new: Mapping[str, list[dict[str, object]]], fault: str) -> None:
    (found,) = additions_only({"t": [column("a"), column("b")]}, new)

    assert found.startswith(fault)


def test_a_new_column_that_may_be_null_is_allowed() -> None:
    assert (
        additions_only({"t": [column("a")]}, {"t": [column("b", nullable=True), column("a")], "u": []}) == []
    )


@pytest.mark.parametrize("version", VERSIONS)
def test_commits_files_and_registry_have_the_digests_of_the_day(version: int) -> None:
    golden, found = kept(version, "golden"), facts_of(fixture_store(version))

    assert {name: found[name] for name in found if name != "answers"} == {
        name: golden[name] for name in golden if name != "answers"
    }


@pytest.mark.parametrize("version", VERSIONS)
def test_verification_finds_nothing_in_an_old_lake(version: int) -> None:
    store = fixture_store(version)
    found = list(list_commits(store, EXPERIMENT))

    problems = [problem for commit in found for problem in verify(store, commit)]

    assert (len(found), problems) == (13, [])


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("version", VERSIONS)
def test_views_over_an_old_lake_give_the_answers_of_the_day(version: int, question: str) -> None:
    assert answer(fixture_store(version), question) == kept(version, "golden")["answers"][question]


@pytest.mark.parametrize("version", VERSIONS)
def test_old_tables_are_read_under_the_present_schema(version: int) -> None:
    store = fixture_store(version)
    stored = {
        (commit.key, entry.table) for commit in list_commits(store, EXPERIMENT) for entry in commit.files
    }

    schemas = {
        (key, name): commits.read_table(store, commits.read(store, key), table=name).schema
        for key, name in stored
    }

    assert {name for _, name in stored} == columns_of().keys()
    assert all(schema == SCHEMAS[name] for (_, name), schema in schemas.items())


@pytest.mark.parametrize("iteration", [0, 1])
@pytest.mark.parametrize("version", VERSIONS)
def test_the_curation_of_old_rollouts_gives_what_it_gave_then(version: int, iteration: int) -> None:
    store = fixture_store(version)
    rollouts = commits.read(store, CommitKey(EXPERIMENT, "rollouts", iteration))
    then = commits.read_table(
        store, commits.read(store, CommitKey(EXPERIMENT, "curated", iteration)), table="curated"
    )
    paths = {name: commits.table_paths(store, rollouts, table=name) for name in ("conversations", "turns")}

    now = run_sql("curated.sql", relations=paths, parameters=CURATION)

    assert now.sort_by("conversation_id").select(then.column_names).to_pylist() == then.to_pylist()


@pytest.mark.parametrize("version", VERSIONS)
def test_side_facts_artifacts_and_the_current_policy_of_an_old_lake_are_read(
    version: int, tmp_path: Path
) -> None:
    store = fixture_store(version)
    policy = commits.read(store, CommitKey(EXPERIMENT, "policy", 1))

    folder = get_folder(store, policy.artifacts, destination=tmp_path / "weights")

    assert (folder / "model.safetensors").read_bytes() == bytes(range(64))
    assert read_facts(store, CommitKey(EXPERIMENT, "rollouts", 1))[0]["seconds"] == 1.5
    assert registry.current(store, EXPERIMENT).name == "shop/v0000"


def test_a_fixture_is_never_written_twice(tmp_path: Path) -> None:
    with pytest.raises(FileExistsError, match="fixtures are never changed"):
        write_fixture(tmp_path)


def test_the_fixture_of_the_present_version_can_be_made_again(tmp_path: Path) -> None:
    write_fixture(tmp_path / "again")

    found = facts_of(LocalStore(tmp_path / "again" / "lake"))

    assert found["data_digests"] == kept(SCHEMA_VERSION, "golden")["data_digests"]
