"""The command that joins what was told later to imported conversations."""

from pathlib import Path
from typing import Annotated

import typer

from tasks.cli_options import DEFAULT_CONFIG, ConfigOption, LakeOption, SetOption
from tasks.options import options_of


def add_to(app: typer.Typer, *, panel: str) -> None:
    """Add the command, in this part of the help."""
    summary = "Join outcomes that came later to the imported conversations of an experiment, by key."
    app.command("outcomes", help=summary, rich_help_panel=panel)(outcomes)


def outcomes(
    *,
    files: Annotated[
        list[Path],
        typer.Argument(help="JSONL, JSON, CSV or Parquet, also gzipped; all of them or none."),
    ],
    experiment: Annotated[str, typer.Option("--experiment", "-e", help="Whose logs they are about.")],
    key: Annotated[
        str | None,
        typer.Option(help="What a key means: id (of the log), conversation_id, or metadata.NAME."),
    ] = None,
    key_column: Annotated[str | None, typer.Option(help="Where a row holds its key (key).")] = None,
    outcome_column: Annotated[str | None, typer.Option(help="Where it holds its outcome (outcome).")] = None,
    newest_wins: Annotated[
        bool, typer.Option("--newest-wins", help="Of outcomes that differ and have times, the newest.")
    ] = False,
    config: ConfigOption = DEFAULT_CONFIG,
    lake: LakeOption = None,
    settings: SetOption = None,
) -> None:
    """Accepted + duplicate + contradicting + unmatched + refused = read, with the reasons."""
    from tasks import console

    named = {"key": key, "key_column": key_column, "outcome_column": outcome_column}
    asked = {"paths": [str(path) for path in files], "newest_wins": newest_wins or None, **named}
    given = {name: value for name, value in asked.items() if value is not None}
    options = options_of(config, experiment=experiment, lake=lake, settings=settings)
    console.run_stage(options.with_section("outcomes", given), "outcomes", iteration=0)
