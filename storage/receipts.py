"""Questions about where things came from: the files of sql/receipts, asked of the views of an open lake."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import TypeAlias

import duckdb

from storage.errors import SqlError
from storage.warehouse import sql_path

Connection: TypeAlias = duckdb.DuckDBPyConnection
Row: TypeAlias = Mapping[str, object]
NO_PARAMETERS: Mapping[str, str] = MappingProxyType({})


def receipt_rows(
    connection: Connection, name: str, *, parameters: Mapping[str, str] = NO_PARAMETERS
) -> list[Row]:
    """What one file of sql/receipts selects; raises SqlError naming it."""
    path = sql_path(f"receipts/{name}.sql")
    try:
        cursor = connection.execute(path.read_text(encoding="utf-8"), dict(parameters))
        names = [column[0] for column in cursor.description or []]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    except duckdb.Error as problem:
        raise SqlError(f"{path} failed: {problem}") from problem
