"""DuckDB over named inputs: one statement, exact parameters, listed files, one answer for any threads."""

from pathlib import Path

import pyarrow as pa
import pytest

from storage import warehouse
from storage.digests import data_digest, file_sha256
from storage.duck import DuckSettings, connect
from storage.errors import CheckFailed, SqlError
from storage.paths import repository_root
from storage.tables import conform, encode
from storage.warehouse import ask, relations_read, run_checks, run_sql, sql_digests
from tests.storage.lake_rows import conversations, metrics, turns

ORDERED_SUM = """
select conversation_id, sum(value order by turn_index) as total, $label as label
from numbers
group by conversation_id
order by conversation_id
"""


@pytest.fixture
def sql(tmp_path: Path) -> Path:
    return tmp_path / "query.sql"


def written(folder: Path, name: str, rows: pa.Table) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{data_digest(rows)[:8]}.parquet"
    path.write_bytes(encode(conform(name, rows)))
    return path


def test_a_file_of_sql_is_found_by_name_and_run(tmp_path: Path) -> None:
    rows = run_sql(
        "success_by_version",
        relations={"conversations": conversations("c1", "c2", split="unseen", policy_version="sales/v0001")},
        parameters={"split": "unseen"},
    ).to_pylist()

    assert [(row["policy_version"], row["success"]) for row in rows] == [("sales/v0001", 1.0)]


def test_tables_and_files_are_equal_inputs(sql: Path, tmp_path: Path) -> None:
    sql.write_text("select conversation_id, turn_index, logprobs from turns order by all")
    rows = turns({"a": 2, "b": 1})
    files = [written(tmp_path, "turns", turns({"a": 2})), written(tmp_path, "turns", turns({"b": 1}))]

    of_table = run_sql(str(sql), relations={"turns": rows}, parameters={})
    of_files = run_sql(str(sql), relations={"turns": files}, parameters={})

    assert of_table.num_rows == 3
    assert data_digest(of_files) == data_digest(of_table)


def test_only_the_listed_files_are_read(sql: Path, tmp_path: Path) -> None:
    sql.write_text("select value from metrics")
    listed = written(tmp_path / "lake[1]*", "metrics", metrics(a=1.0))
    written(tmp_path / "lake[1]*", "metrics", metrics(a=2.0))
    written(tmp_path / "lake1", "metrics", metrics(a=3.0))

    assert run_sql(str(sql), relations={"metrics": [listed]}, parameters={})["value"].to_pylist() == [1.0]


def test_folder_names_add_no_columns(sql: Path, tmp_path: Path) -> None:
    sql.write_text("select iteration from conversations")
    path = written(
        tmp_path / "iteration=0009" / "shard=0001", "conversations", conversations("c1", iteration=3)
    )

    assert run_sql(str(sql), relations={"conversations": [path]}, parameters={})["iteration"].to_pylist() == [
        3
    ]


def test_no_files_are_an_empty_relation_with_the_right_columns(sql: Path) -> None:
    sql.write_text("select turn_index, logprobs from evaluation_turns")

    empty = run_sql(str(sql), relations={"evaluation_turns": []}, parameters={})

    assert empty.schema.equals(pa.schema({"turn_index": pa.int16(), "logprobs": pa.list_(pa.float32())}))
    with pytest.raises(SqlError, match="'mystery' has no files and is no dataset"):
        run_sql(str(sql), relations={"mystery": []}, parameters={})


def test_a_column_added_since_a_file_was_written_is_null(sql: Path, tmp_path: Path) -> None:
    sql.write_text("select turn_kind from turns order by turn_kind nulls last")
    older, newer = tmp_path / "older.parquet", tmp_path / "newer.parquet"
    older.write_bytes(encode(turns({"a": 1}).drop_columns(["turn_kind"])))
    newer.write_bytes(encode(turns({"b": 1}, turn_kind="ask")))

    assert run_sql(str(sql), relations={"turns": [older, newer]}, parameters={})["turn_kind"].to_pylist() == [
        "ask",
        None,
    ]
    assert run_sql(str(sql), relations={"turns": [older]}, parameters={})["turn_kind"].to_pylist() == [None]


def test_the_result_is_the_same_for_any_number_of_threads(sql: Path) -> None:
    sql.write_text(ORDERED_SUM)
    count = 300_000
    wild = [(-1.0) ** n * 10.0 ** (n * 7 % 17 - 8) for n in range(count)]
    numbers = pa.table(
        {
            "conversation_id": [f"c{n % 50}" for n in range(count)],
            "turn_index": list(range(count)),
            "value": wild,
        }
    )

    digests = {
        data_digest(
            run_sql(
                str(sql),
                relations={"numbers": numbers},
                parameters={"label": "x"},
                settings=DuckSettings(threads=threads),
            )
        )
        for threads in (1, 2, 4)
    }

    assert len(digests) == 1


def test_memory_can_be_limited(sql: Path) -> None:
    sql.write_text("select current_setting('memory_limit') as memory, current_setting('threads') as threads")

    row = run_sql(
        str(sql), relations={}, parameters={}, settings=DuckSettings(threads=1, memory_limit="256MiB")
    ).to_pylist()[0]

    assert (row["memory"], row["threads"]) == ("256.0 MiB", 1)


def test_parameters_must_be_exactly_those_of_the_file(sql: Path) -> None:
    sql.write_text("select $a + $b as s")

    with pytest.raises(
        SqlError, match=r"query.sql takes the parameters \['a', 'b'\]; missing \['b'\].*\['c'\]"
    ):
        run_sql(str(sql), relations={}, parameters={"a": 1, "c": 2})
    assert run_sql(str(sql), relations={}, parameters={"a": 1, "b": 2.5})["s"].to_pylist() == [3.5]


def test_a_parameter_is_a_value_and_never_sql(sql: Path) -> None:
    sql.write_text("select $a as s")
    attack = "'; drop table turns; --"

    assert run_sql(str(sql), relations={}, parameters={"a": attack})["s"].to_pylist() == [attack]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("select 1 as a; select 2 as b", "exactly one select, it holds 2"),
        ("create table x as select 1 as a", "exactly one select"),
        ("selec 1", "does not parse"),
        ("select nothing from turns", "query.sql failed"),
        ("select * from nowhere", "nowhere"),
        ("select * from sql", "query.sql failed"),
    ],
)
def test_sql_that_cannot_run_is_refused_with_its_file(sql: Path, text: str, complaint: str) -> None:
    sql.write_text(text)

    with pytest.raises(SqlError, match=complaint):
        run_sql(str(sql), relations={"turns": turns({"a": 1})}, parameters={})


def test_an_unknown_file_is_named() -> None:
    with pytest.raises(SqlError, match="there is no SQL file 'no_such_thing'"):
        run_sql("no_such_thing", relations={}, parameters={})


def test_a_damaged_parquet_file_is_named(sql: Path, tmp_path: Path) -> None:
    sql.write_text("select * from metrics")
    path = written(tmp_path, "metrics", metrics(a=1.0))
    path.write_bytes(path.read_bytes()[:-5])

    with pytest.raises(SqlError, match=path.name):
        run_sql(str(sql), relations={"metrics": [path]}, parameters={})


def test_nothing_is_installed_or_loaded_on_demand() -> None:
    with connect() as connection:
        settings = connection.execute(
            "select name, value from duckdb_settings() where name like 'auto%known_extensions' order by name"
        ).fetchall()

    assert settings == [("autoinstall_known_extensions", "false"), ("autoload_known_extensions", "false")]


def test_connections_spill_into_folders_of_their_own() -> None:
    with connect() as one, connect() as other:
        folders = {c.execute("select current_setting('temp_directory')").fetchone() for c in (one, other)}

    assert len(folders) == 2


def test_relations_are_read_from_the_header(sql: Path) -> None:
    sql.write_text(
        "-- Grain:  one.\n-- Reads:  conversations, turns   (views, all)\n-- Params: none\nselect 1"
    )

    assert relations_read(sql) == {"conversations", "turns"}
    sql.write_text("select 1")
    with pytest.raises(SqlError, match="no `-- Reads:` line"):
        relations_read(sql)


def test_checks_run_where_their_relations_are_given() -> None:
    passed = run_checks({"conversations": conversations("c1")})

    assert "conversations_unique" in passed
    assert "turn_index_dense" not in passed
    assert {result.num_rows for result in passed.values()} == {0}


def test_every_check_runs_when_all_relations_are_given() -> None:
    files = (repository_root() / "sql" / "checks").glob("*.sql")
    known = {"conversations", "turns", "curated", "turn_scores", "credits", "classic", "turn_inputs"}
    known |= {"evaluation_conversations", "evaluation_turns"}

    assert run_checks({name: [] for name in known}).keys() == {path.stem for path in files}


def test_a_failed_check_is_named_with_its_first_offenders() -> None:
    twice = pa.concat_tables([conversations(*(f"c{n}" for n in range(5)))] * 2)

    with pytest.raises(
        CheckFailed, match=r"conversations_unique found 5 offending rows, first .*'c0'.*'c2'"
    ) as failed:
        run_checks({"conversations": twice})

    assert "'c3'" not in str(failed.value)


def test_sql_digests_are_those_of_the_files() -> None:
    name = "curated.sql"

    assert sql_digests([name]) == {name: file_sha256(repository_root() / "sql" / name)}


def test_answers_to_people_are_cut_and_say_so() -> None:
    with connect() as connection:
        answer = ask(connection, "select range as n from range(5)", rows=3)

        assert answer == warehouse.Answer(("n",), ((0,), (1,), (2,)), more=True)
        assert not ask(connection, "select 1 as n", rows=3).more
        with pytest.raises(SqlError, match=r"this SQL failed: .*nothing"):
            ask(connection, "select nothing", rows=3)
