"""`itpo sql`: plain SQL over exactly the committed rows of a lake."""

import sys
from pathlib import Path

import typer
from rich.console import Console

from storage.listing import absence
from storage.warehouse import ask, open_lake, views_script
from tasks import answer_text
from tasks.config import ConfigError
from tasks.context import duck_settings, open_lake_store
from tasks.options import Options
from tasks.plain_text import plain

OUT = Console(highlight=False)
LIST_VIEWS = "select view_name, column_count from duckdb_views() where not internal order by view_name"


def print_answer(
    options: Options, statement: str | None, *, rows: int, iteration: int | None = None, form: str = "table"
) -> None:
    """Run one statement on the experiment's views, or on those of one iteration; prints at most `rows` rows.

    Raises SqlError, and ConfigError for a form that `answer_text` does not know.
    """
    config = options.load()
    store, settings = open_lake_store(config), duck_settings(config)
    said = absence(store, config.experiment)
    if said is not None:
        print(f"note: {said}", file=sys.stderr)
    # Side facts are one small object each: they are read when the question is about them.
    about_facts = statement is not None and "facts" in statement.lower()
    with open_lake(
        store, config.experiment, iteration=iteration, settings=settings, with_facts=about_facts
    ) as connection:
        answer = ask(connection, statement or LIST_VIEWS, rows=rows)
    answer_text.print_answer(answer, form, out=OUT)
    if answer.more:
        # What reads CSV or JSON from the one must not read this.
        typer.echo(f"more than {rows} rows; ask for more with --rows", err=form != "table")


def read_question(path: Path) -> str:
    """The statement in the file; raises ConfigError."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        why = "it is no text in UTF-8" if isinstance(problem, UnicodeDecodeError) else problem.strerror
        raise ConfigError(f"--file {path}: {why}; name a text file with one SQL statement") from problem


def write_script(options: Options, path: Path, *, iteration: int | None = None) -> None:
    """Write the views, or those of one iteration, as a stand-alone SQL file."""
    config = options.load()
    script = views_script(open_lake_store(config), config.experiment, iteration=iteration)
    path.write_text(script, encoding="utf-8")
    OUT.print(plain(f"views written: duckdb -init {path}"), soft_wrap=True)
