"""SQL that people supply: views are answered, every way out is shut, and the limits hold."""

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from storage import commits
from storage.commits import CommitKey
from storage.duck import DuckSettings, connect
from storage.errors import SqlError
from storage.local_store import LocalStore
from storage.sandbox import check_question, lock
from storage.warehouse import ask, open_lake
from tests.storage.lake_rows import conversations

# {secret} is a file of this user, {committed} a file that the views name, {uncommitted} one that they do not.
READING = (
    "select * from read_csv('{secret}')",
    "select * from read_text('{secret}')",
    "select * from read_blob('{secret}')",
    "select * from read_json('{secret}')",
    "select * from sniff_csv('{secret}')",
    "select * from '{secret}'",
    "select * from glob('/*')",
    "select * from glob('*')",
    "select * from read_parquet('{uncommitted}')",
    "select * from '{uncommitted}'",
    "select * from parquet_metadata('{uncommitted}')",
    "select * from stored_conversations(['{uncommitted}'])",
    "select * from read_parquet('{folder}/*.parquet')",
    "select * from query('select * from read_text(''{secret}'')')",
    "select * from read_text('file://{secret}')",
    "select * from read_parquet('http://127.0.0.1:9/x.parquet')",
    "select * from read_parquet('s3://bucket/x.parquet')",
    "explain analyze select * from read_text('{secret}')",
    "select getenv('HOME')",
    "select * from python_value",
    "select * from arrow_scan(1, 2, 3)",
    "select * from enable_logging('QueryLog', storage = 'file', storage_config = {{'path': '{target}'}})",
)
DOING = (
    "explain analyze copy (select 99 as a) to '{committed}' (format csv, use_tmp_file false)",
    "explain (analyze) copy (select 99 as a) to '{committed}' (format csv, use_tmp_file false)",
    "/* a remark */ explain analyze copy (select 99 as a) to '{committed}' (format csv, use_tmp_file false)",
    "explain analyze drop view conversations",
    "select * from query('from ena' || 'ble_logging(''QueryLog'')')",
    "copy (select 1) to '{target}'",
    "copy (select 1 as a) to '{committed}' (format parquet, use_tmp_file false)",
    "copy conversations from '{secret}'",
    "export database '{target}'",
    "import database '{folder}'",
    "attach '{target}' as other",
    "attach ':memory:' as other",
    "install httpfs",
    "load httpfs",
    "load '{target}.duckdb_extension'",
    "set enable_external_access = true",
    "set lock_configuration = false",
    "set allowed_paths = ['{secret}']",
    "set memory_limit = '100GB'",
    "reset memory_limit",
    "pragma memory_limit = '100GB'",
    "pragma enable_profiling = 'json'",
    "set profiling_output = '{target}'",
    "set file_search_path = '/'",
    "call enable_logging('QueryLog')",
    "create secret other (type s3, key_id 'a')",
    "create table kept as select 1",
    "create or replace view conversations as select 1",
    "drop view conversations",
    "insert into conversations select 1",
    "use temp",
    "prepare later as select 1",
    "select 1; copy (select 1) to '{target}'",
    "begin",
    "checkpoint",
    "",
)


BEYOND_THE_LOCK = tuple(
    statement
    for statement in DOING
    if statement.startswith(("export", "import", "attach '{", "install", "load", "set", "reset", "pragma"))
    or (statement.startswith("copy") and "{committed}" not in statement)
)
REFUSALS = r"refused, it does more than read|statements: give exactly one|does not parse: Permission Error"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> LocalStore:
    folder = tmp_path_factory.mktemp("sandbox")
    (folder / "secret.txt").write_text("nobody's business")
    found = LocalStore(folder / "lake [1]")
    for iteration in (1, 2):
        place = {"experiment": "sales", "iteration": iteration}
        commits.commit(
            found,
            CommitKey("sales", "rollouts", iteration),
            tables={"conversations": conversations(f"c{iteration}", **place)},
            parents={},
            inputs={},
            attempt="a",
        )
    return found


@pytest.fixture(scope="module")
def locked(store: LocalStore) -> Iterator[duckdb.DuckDBPyConnection]:
    """One experiment's first iteration; the second is a file of the lake that these views do not name."""
    with open_lake(store, "sales", iteration=1) as connection:
        yield connection


def filled(statement: str, store: LocalStore) -> str:
    committed, uncommitted = (str(store.path(key)) for key in store.list("sales/") if ".parquet" in key)
    places = {"secret": store.root.parent / "secret.txt", "target": store.root.parent / "stolen"}
    return statement.format(
        **places, committed=committed, uncommitted=uncommitted, folder=store.path("sales/rollouts")
    )


@pytest.mark.parametrize("statement", READING)
def test_nothing_but_the_committed_files_of_the_views_can_be_read(
    locked: duckdb.DuckDBPyConnection, store: LocalStore, statement: str
) -> None:
    python_value = conversations("c9")

    with pytest.raises(SqlError, match="this SQL"):
        ask(locked, filled(statement, store), rows=1)

    assert python_value.num_rows == 1
    assert not (store.root.parent / "stolen").exists()


@pytest.mark.parametrize("statement", DOING)
def test_nothing_can_be_done_but_reading(
    locked: duckdb.DuckDBPyConnection, store: LocalStore, statement: str
) -> None:
    before = {key: store.get(key) for key in store.list("")}

    with pytest.raises(SqlError, match=REFUSALS):
        ask(locked, filled(statement, store), rows=1)

    assert {key: store.get(key) for key in store.list("")} == before
    assert not (store.root.parent / "stolen").exists()


@pytest.mark.parametrize("statement", BEYOND_THE_LOCK)
def test_the_lock_holds_for_programs_too(store: LocalStore, statement: str) -> None:
    """`ask` refuses these before DuckDB sees them; without it, files and settings are still out of reach."""
    with open_lake(store, "sales", iteration=1) as connection, pytest.raises(duckdb.Error):
        connection.execute(filled(statement, store))

    assert not (store.root.parent / "stolen").exists()


def test_the_views_go_on_working(locked: duckdb.DuckDBPyConnection) -> None:
    for statement in (
        "select conversation_id from conversations",
        "from conversations select conversation_id",
        "with one as (select conversation_id from conversations) select * from one",
        "select conversation_id from query_table('conversations')",
    ):
        assert ask(locked, statement, rows=9).rows == (("c1",),)
    for statement in ("describe turns", "summarize turns", "show tables", "explain select * from turns"):
        assert ask(locked, statement, rows=99).rows


def test_statements_that_only_read_pass_the_check(locked: duckdb.DuckDBPyConnection) -> None:
    for statement in ("values (1)", "table x", "select 1;", "-- why\nselect 1"):
        check_question(locked, statement)
    with pytest.raises(SqlError, match="does not parse"):
        check_question(locked, "selec 1")


def test_not_even_parsing_opens_a_file(locked: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    (tmp_path / "schema.sql").write_text("nobody's business")

    with pytest.raises(SqlError) as refused:
        ask(locked, f"import database '{tmp_path}'", rows=1)

    assert "business" not in str(refused.value)


def test_a_locked_database_goes_on_spilling(tmp_path: Path) -> None:
    large = "select count(distinct md5(i::text)) from range(1000000) t(i)"
    answers = {}

    for max_spill in ("10GB", "5MB"):
        limits = DuckSettings(threads=2, memory_limit="50MB", spill=tmp_path / "spill", max_spill=max_spill)
        with connect(limits) as connection:
            lock(connection, allowed=[])
            answers[max_spill] = counted(connection, large)

    assert answers["10GB"] == 1_000_000
    assert "raise lake.max_spill" in str(answers["5MB"])
    assert list((tmp_path / "spill").iterdir()) == []


def counted(connection: duckdb.DuckDBPyConnection, statement: str) -> object:
    try:
        return ask(connection, statement, rows=1).rows[0][0]
    except SqlError as refused:
        return refused
