"""`itpo sql`: plain SQL over exactly the committed rows of a lake."""

from pathlib import Path

from rich.console import Console
from rich.table import Table

from storage.errors import SqlError
from storage.warehouse import lake_views_script, open_lake
from tasks.config import ConfigError
from tasks.context import open_lake_store
from tasks.options import Options

OUT = Console(highlight=False)
LIST_VIEWS = "select view_name, column_count from duckdb_views() where not internal order by view_name"


def print_answer(options: Options, statement: str | None, *, rows: int) -> None:
    """Run one statement on the experiment's views and print at most `rows` rows."""
    config = options.load()
    connection = open_lake(open_lake_store(config), config.experiment)
    try:
        answer = connection.execute(statement or LIST_VIEWS)
        names = [column[0] for column in answer.description or []]
        found = answer.fetchmany(rows + 1)
    except SqlError as error:
        raise ConfigError(f"that SQL failed: {error}") from None
    table = Table(*names)
    for row in found[:rows]:
        table.add_row(*(_cell(value) for value in row))
    OUT.print(table)
    if len(found) > rows:
        OUT.print(f"more than {rows} rows; ask for more with --rows")


def write_script(options: Options, path: Path) -> None:
    """Write the views as a stand-alone SQL file."""
    config = options.load()
    path.write_text(lake_views_script(open_lake_store(config), config.experiment), encoding="utf-8")
    OUT.print(f"views written: duckdb -init {path}")


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.4f}" if isinstance(value, float) else str(value)
