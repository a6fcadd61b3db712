"""How DuckDB reads committed files: the same rows by every rung of the ladder, in few requests."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from storage import commits
from storage.commits import CommitKey
from storage.digests import data_digest
from storage.duck import DuckSettings, connect
from storage.errors import SqlError, StorageError
from storage.local_store import LocalStore
from storage.objects import LakeStore
from storage.scans import RUNGS, load_httpfs, open_reader, packaged_httpfs
from storage.stores import open_store
from storage.tables import ROW_GROUP_ROWS
from storage.warehouse import ask, open_lake
from tests.storage.counting import CountingServer, counting_server
from tests.storage.lake_rows import conversations, turns
from tests.storage.servers import PASSWORD, aws_environment, make_bucket

EVERYTHING = "select * from turns order by all"
FULL_SCAN = "select count(*), sum(list_sum(logprobs)), max(user_text) from turns"


def fill(store: LakeStore, *, iterations: int = 2, shards: int = 1) -> None:
    """Two conversations of three turns per iteration and shard."""
    for iteration in range(iterations):
        key = CommitKey("sales", "rollouts", iteration)
        for shard in range(shards):
            names = [f"c{iteration}-{shard}-{n}" for n in (0, 1)]
            place = {"experiment": "sales", "iteration": iteration}
            rows = {
                "conversations": conversations(*names, **place),
                "turns": turns(dict.fromkeys(names, 3), user_text="it's", **place),
            }
            commits.publish_shard(store, key, shard=shard, tables=rows, inputs={}, attempt="a")
        commits.seal(store, key, shards=shards, parents={}, inputs={})


def digest(store: LakeStore, reader: str, statement: str = EVERYTHING) -> str:
    with open_lake(store, "sales", settings=DuckSettings(reader=reader)) as connection:
        return data_digest(connection.sql(statement).to_arrow_table())


@pytest.fixture(scope="module")
def server() -> Iterator[CountingServer]:
    with counting_server() as running, aws_environment(running.endpoint):
        yield running


@pytest.fixture
def bucket(server: CountingServer) -> LakeStore:
    return open_store(f"s3://{make_bucket(server.endpoint)}/it/lake")


def available() -> Sequence[str]:
    with connect() as connection:
        return [name for name in RUNGS if name != "httpfs" or load_httpfs(connection)]


def test_every_reader_of_a_local_lake_gives_the_same_rows(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "it's a lake [1]")
    fill(store)

    digests = {reader: digest(store, reader) for reader in ("auto", "s3fs", "pyarrow")}

    assert len(set(digests.values())) == 1


def test_every_reader_of_a_bucket_gives_the_rows_of_the_same_lake_in_a_folder(
    bucket: LakeStore, tmp_path: Path
) -> None:
    local = LocalStore(tmp_path)
    fill(local)
    fill(bucket)

    digests = {reader: digest(bucket, reader) for reader in ("auto", *available())}

    assert set(digests.values()) == {digest(local, "auto")}


def test_a_full_scan_of_a_bucket_takes_at_most_three_requests_a_file(
    bucket: LakeStore, server: CountingServer
) -> None:
    fill(bucket, iterations=2, shards=3)

    for reader in available():
        server.requests.clear()
        with open_lake(bucket, "sales", settings=DuckSettings(reader=reader)) as connection:
            opened = server.of(".parquet")
            ask(connection, FULL_SCAN, rows=1)
        scanned = [path for _, path in server.requests if "/turns-" in path]
        assert opened == [], f"{reader} opens files before it is asked"
        assert len(set(scanned)) == 6
        assert max(scanned.count(path) for path in set(scanned)) <= 3, reader


@pytest.mark.slow
def test_many_row_groups_take_no_more_requests_and_threads_none_of_their_own(
    bucket: LakeStore, server: CountingServer
) -> None:
    rows = 3 * ROW_GROUP_ROWS
    figures = pa.table({"step": range(rows), "value": [n * 0.5 for n in range(rows)]})
    named = figures.append_column("stage", [["test"] * rows]).append_column("name", [["figure"] * rows])
    key = CommitKey("sales", "policy", 0)
    commits.commit(bucket, key, tables={"metrics": named}, parents={}, inputs={}, attempt="a")

    for reader in available():
        server.requests.clear()
        with open_lake(bucket, "sales", settings=DuckSettings(reader=reader, threads=4)) as connection:
            answer = ask(connection, "select count(*), sum(step), max(value) from metrics", rows=1).rows[0]
        assert answer == (rows, rows * (rows - 1) // 2, (rows - 1) * 0.5)
        assert 1 <= len(server.of(".parquet")) <= 3, reader


def test_only_the_files_that_a_question_is_about_are_fetched(
    bucket: LakeStore, server: CountingServer
) -> None:
    fill(bucket)

    server.requests.clear()
    digest(bucket, "s3fs", "select count(*) from turns where iteration = 1")

    assert [path for _, path in server.requests if "/conversations-" in path] == []


def test_httpfs_is_found_in_the_package_of_exactly_this_duckdb() -> None:
    found = packaged_httpfs()

    assert (found is not None) == (duckdb.__version__ == "1.5.5")
    assert found is None or f"v{duckdb.__version__}" in found.parts


def test_a_reader_that_cannot_be_had_is_refused_with_what_it_needs(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)

    with pytest.raises(SqlError, match="httpfs reads s3:// only and needs its extension"):
        open_lake(store, None, settings=DuckSettings(reader="httpfs"))
    with connect() as connection, pytest.raises(SqlError, match="'ftp' is unknown: use auto, httpfs, s3fs"):
        open_reader(connection, store, entries=[], choice="ftp")


@pytest.mark.parametrize("reader", ["s3fs", "pyarrow"])
def test_an_object_that_is_gone_or_cut_short_is_named(tmp_path: Path, reader: str) -> None:
    store = LocalStore(tmp_path)
    fill(store, iterations=1)
    (place,) = (key for key in store.list("sales/") if "/turns-" in key)

    with open_lake(store, None, settings=DuckSettings(reader=reader)) as connection:
        store.path(place).write_bytes(store.get(place)[:-7])
        with pytest.raises(StorageError, match="turns-"):
            ask(connection, FULL_SCAN, rows=1)
        store.delete(place)
        with pytest.raises(StorageError, match="turns-"):
            ask(connection, FULL_SCAN, rows=1)


def test_no_view_setting_or_error_tells_the_credentials(bucket: LakeStore) -> None:
    fill(bucket, iterations=1)
    asked = [
        "select * from duckdb_settings()",
        "select * from duckdb_secrets()",
        "select * from duckdb_secrets(redact = false)",
        "select sql from duckdb_views()",
        "select * from read_parquet('s3://elsewhere/x.parquet')",
    ]

    for reader in available():
        with open_lake(bucket, "sales", settings=DuckSettings(reader=reader)) as connection:
            told = [answered(connection, statement) for statement in asked]
        assert PASSWORD not in "".join(told)


def answered(connection: duckdb.DuckDBPyConnection, statement: str) -> str:
    try:
        return str(ask(connection, statement, rows=10_000).rows)
    except SqlError as refused:
        return str(refused)
