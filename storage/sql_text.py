"""Values, types and rows as SQL text: what views are made of, as views take no parameters."""

import re
from collections.abc import Mapping, Sequence

import pyarrow as pa

Literal = str | int | float | bool | None


def literal(value: Literal) -> str:
    """The value as DuckDB writes it; floats with every digit, texts quoted."""
    if value is None:
        return "null"
    if isinstance(value, str):
        # A null character would end the statement for some clients.
        return "'" + value.replace("'", "''").replace("\0", "\ufffd") + "'"
    if isinstance(value, float):
        return f"'{value!r}'::double"
    return str(value).lower()


def values_select(columns: Mapping[str, str], rows: Sequence[Sequence[Literal]]) -> str:
    """A select of exactly these rows; `columns` are the SQL types by name, which also hold without a row."""
    empty = ", ".join(f'cast(null as {kind}) as "{name}"' for name, kind in columns.items())
    if not rows:
        return f"select {empty} where false"
    names = ", ".join(f'"{name}"' for name in columns)
    values = ",\n".join("(" + ", ".join(map(literal, row)) + ")" for row in rows)
    return f"select {empty} where false\nunion all by name from (values\n{values}\n) as given({names})"


def values_view(name: str, *, columns: Mapping[str, str], rows: Sequence[Sequence[Literal]]) -> str:
    """A view of exactly these rows, as one statement with its semicolon."""
    return f'create or replace view "{name}" as\n{values_select(columns, rows)};\n'


def empty_select(schema: pa.Schema) -> str:
    """A select without rows that has the names and types of the schema."""
    columns = ", ".join(f'cast(null as {_sql_type(field.type)}) as "{field.name}"' for field in schema)
    return f"select {columns} where false"


def schema_map(schema: pa.Schema) -> str:
    """The schema as `read_parquet` takes it: a column that a file lacks is null."""
    columns = ",\n".join(
        f"    {literal(field.name)}: {{name: {literal(field.name)}, type: {literal(_sql_type(field.type))}, "
        "default_value: null}"
        for field in schema
    )
    return f"map {{\n{columns}\n}}"


def without_patterns(path: str) -> str:
    """The path with the characters of file patterns quoted: DuckDB expands patterns in lists, too."""
    return re.sub(r"([*?\[])", r"[\1]", path)


def _sql_type(kind: pa.DataType) -> str:
    if pa.types.is_list(kind):
        return f"{_sql_type(kind.value_type)}[]"
    return _SQL_TYPES[kind]


_SQL_TYPES = {
    pa.string(): "varchar",
    pa.bool_(): "boolean",
    pa.int16(): "smallint",
    pa.int32(): "integer",
    pa.int64(): "bigint",
    pa.float32(): "float",
    pa.float64(): "double",
}
