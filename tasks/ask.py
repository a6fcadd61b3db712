"""`itpo sql`: plain SQL over exactly the committed rows of a lake."""

from pathlib import Path

from rich.console import Console
from rich.table import Table

from storage.warehouse import ask, open_lake, views_script
from tasks.context import duck_settings, open_lake_store
from tasks.options import Options

OUT = Console(highlight=False)
LIST_VIEWS = "select view_name, column_count from duckdb_views() where not internal order by view_name"


def print_answer(options: Options, statement: str | None, *, rows: int, iteration: int | None = None) -> None:
    """Run one statement on the experiment's views, or on those of one iteration; prints at most `rows` rows.

    Raises SqlError.
    """
    config = options.load()
    store, settings = open_lake_store(config), duck_settings(config)
    # Side facts are one small object each: they are read when the question is about them.
    about_facts = statement is not None and "facts" in statement.lower()
    with open_lake(
        store, config.experiment, iteration=iteration, settings=settings, with_facts=about_facts
    ) as connection:
        answer = ask(connection, statement or LIST_VIEWS, rows=rows)
    table = Table(*answer.names)
    for row in answer.rows:
        table.add_row(*(_cell(value) for value in row))
    OUT.print(table)
    if answer.more:
        OUT.print(f"more than {rows} rows; ask for more with --rows")


def write_script(options: Options, path: Path, *, iteration: int | None = None) -> None:
    """Write the views, or those of one iteration, as a stand-alone SQL file."""
    config = options.load()
    script = views_script(open_lake_store(config), config.experiment, iteration=iteration)
    path.write_text(script, encoding="utf-8")
    OUT.print(f"views written: duckdb -init {path}")


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.4f}" if isinstance(value, float) else str(value)
