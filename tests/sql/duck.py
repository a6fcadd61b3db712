"""Runs one file of `sql/` over small tables of rows, on a DuckDB of its own."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path

import duckdb
import pyarrow as pa

from storage.schemas import SCHEMAS

SQL = Path(__file__).parents[2] / "sql"
TURN_INPUTS = pa.schema(
    [
        pa.field("conversation_id", pa.string()),
        pa.field("turn_index", pa.int16()),
        pa.field("dirichlet_draw", pa.float64()),
        pa.field("oracle_advantage", pa.float64()),
    ]
)
RELATIONS = {
    **SCHEMAS,
    "turn_inputs": TURN_INPUTS,
    "evaluation_conversations": SCHEMAS["conversations"],
    "evaluation_turns": SCHEMAS["turns"],
    "policy_conversations": pa.schema(
        [
            pa.field(name, pa.string())
            for name in ("experiment", "policy_version", "conversation_id", "relation", "source_key", "fold")
        ]
    ),
}

Value = str | int | float | bool | None | Sequence[int] | Sequence[float]
Row = Mapping[str, Value]
Parameter = str | int | float | bool


def empty_value(kind: pa.DataType) -> Value:
    """The dullest value that a required column may hold."""
    if pa.types.is_list(kind):
        return []
    if pa.types.is_boolean(kind):
        return False
    return "" if pa.types.is_string(kind) else 0


def table(relation: str, rows: Iterable[Row]) -> pa.Table:
    """Rows as a table of the contract; a required column that a row leaves out gets a dull value."""
    schema = RELATIONS[relation]
    dull = {field.name: None if field.nullable else empty_value(field.type) for field in schema}
    return pa.Table.from_pylist([{**dull, **row} for row in rows], schema=schema)


@cache
def one_thread() -> duckdb.DuckDBPyConnection:
    """One database for all tests of a process: opening one takes longer than most queries here."""
    return duckdb.connect(config={"threads": 1})


def connect(relations: Mapping[str, pa.Table], *, threads: int = 1) -> duckdb.DuckDBPyConnection:
    """A connection in which each table can be read under its name, and no table of another connection."""
    connection = one_thread().cursor() if threads == 1 else duckdb.connect(config={"threads": threads})
    for name, rows in relations.items():
        connection.register(name, rows)
    return connection


def run(
    name: str,
    relations: Mapping[str, pa.Table],
    parameters: Mapping[str, Parameter] | None = None,
    *,
    threads: int = 1,
) -> pa.Table:
    """The table that `sql/<name>` selects."""
    with connect(relations, threads=threads) as connection:
        text = (SQL / name).read_text(encoding="utf-8")
        return connection.sql(text, params=dict(parameters or {})).to_arrow_table()


def rows_of(
    name: str, relations: Mapping[str, Iterable[Row]], parameters: Mapping[str, Parameter] | None = None
) -> list[dict[str, Value]]:
    """The same over literal rows, and as rows."""
    return run(name, {key: table(key, rows) for key, rows in relations.items()}, parameters).to_pylist()


CREDIT_PARAMETERS = {"algorithm": "norm_itpo_share", "use_scores": True, "temperature": 0.4, "share": 0.5}


def credits(
    relations: Mapping[str, pa.Table],
    *,
    estimator: str = "grpo",
    parameters: Mapping[str, Parameter] | None = None,
    threads: int = 1,
) -> pa.Table:
    """The three files of the credit stage, one after the other."""
    given = {**CREDIT_PARAMETERS, **(parameters or {})}
    shares = {name: given[name] for name in ("use_scores", "temperature", "share")}
    turn_credits = run("turn_credits.sql", relations, shares, threads=threads)
    tables = {**relations, "turn_credits": turn_credits}
    floor = {"std_floor": 1e-4} if estimator == "grpo" else {}
    tables["advantages"] = run(f"advantages_{estimator}.sql", tables, floor, threads=threads)
    return run("credits.sql", tables, {"algorithm": given["algorithm"]}, threads=threads)
