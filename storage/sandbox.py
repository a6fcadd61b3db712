"""SQL that people supply: it reads the views that were made for it, and nothing else."""

import re
from collections.abc import Sequence

import duckdb

from storage.errors import SqlError
from storage.sql_text import literal

_ANSWERED = frozenset({duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN})
# In DuckDB 1.5 this function changes a locked configuration, and a log file that is refused ends the process.
_REFUSED = re.compile(r"\b(?:enable|disable)_(?:logging|profiling)\b", re.IGNORECASE)


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
    try:
        # By the locked connection: `import database` opens its files when it is parsed.
        found = connection.extract_statements(statement)
    except duckdb.Error as problem:
        raise SqlError(f"this SQL does not parse: {problem}") from problem
    if len(found) != 1:
        raise SqlError(f"this SQL holds {len(found)} statements: give exactly one")
    if found[0].type not in _ANSWERED or _REFUSED.search(statement) is not None:
        raise SqlError(
            f"this SQL is refused, it does more than read ({found[0].type.name}): only select, from, values, "
            "describe, summarize, show and explain are answered; `itpo sql --script views.sql` writes the "
            "views for a DuckDB of your own, where everything is allowed"
        )
