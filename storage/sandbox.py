"""SQL that people supply: it reads the views that were made for it, and nothing else."""

import re
from collections.abc import Sequence

import duckdb

from storage.errors import SqlError
from storage.sql_text import literal

# In DuckDB 1.5 logging changes a locked configuration, and a log file that is refused ends the process;
# `query` runs text that nobody has looked at.
_REFUSED = re.compile(r"\b(?:(?:enable|disable)_(?:logging|profiling)\b|query\s*\()", re.IGNORECASE)
_EXPLAIN = re.compile(r"\s*explain\b\s*(?:analyze\b|\([^)]*\))?", re.IGNORECASE)


def lock(connection: duckdb.DuckDBPyConnection, *, allowed: Sequence[str]) -> None:
    """From now on only these files can be opened, nothing is loaded or attached, and no setting changes.

    DuckDB goes on spilling into its own folder.
    """
    files = ", ".join(map(literal, allowed))
    connection.execute(f"set allowed_paths = [{files}]")
    connection.execute("set enable_external_access = false")
    connection.execute("set lock_configuration = true")


def check_question(connection: duckdb.DuckDBPyConnection, statement: str) -> None:
    """Raise SqlError unless this is one statement that only reads."""
    found = _single(connection, statement)
    kind = found.type
    if kind == duckdb.StatementType.EXPLAIN:
        # `explain analyze` carries out what it explains, be it a copy over a file that may be read.
        kind = _single(connection, _EXPLAIN.sub("", statement, count=1)).type
    if kind != duckdb.StatementType.SELECT or _REFUSED.search(statement) is not None:
        raise SqlError(
            f"this SQL is refused, it does more than read ({kind.name}): only select, from, values, "
            "describe, summarize, show and explain of those are answered; `itpo sql --script views.sql` "
            "writes the views for a DuckDB of your own, where everything is allowed"
        )


def _single(connection: duckdb.DuckDBPyConnection, statement: str) -> duckdb.Statement:
    try:
        # By the locked connection: `import database` opens its files when it is parsed.
        found = connection.extract_statements(statement)
    except duckdb.Error as problem:
        raise SqlError(f"this SQL does not parse: {problem}") from problem
    if len(found) != 1:
        raise SqlError(f"this SQL holds {len(found)} statements: give exactly one")
    return found[0]
