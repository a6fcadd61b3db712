"""`itpo sql`: plain SQL over exactly the committed rows of a lake."""

from pathlib import Path

from rich.console import Console
from rich.table import Table

from storage.lake_views import lake_views_script
from storage.warehouse import ask, open_lake
from tasks.context import open_lake_store
from tasks.options import Options

OUT = Console(highlight=False)
LIST_VIEWS = "select view_name, column_count from duckdb_views() where not internal order by view_name"


def print_answer(options: Options, statement: str | None, *, rows: int) -> None:
    """Run one statement on the experiment's views and print at most `rows` rows; raises SqlError."""
    config = options.load()
    connection = open_lake(open_lake_store(config), config.experiment)
    answer = ask(connection, statement or LIST_VIEWS, rows=rows)
    table = Table(*answer.names)
    for row in answer.rows:
        table.add_row(*(_cell(value) for value in row))
    OUT.print(table)
    if answer.more:
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
