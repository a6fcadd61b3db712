"""The command that hands conversations to other programs."""

from pathlib import Path
from typing import Annotated

import typer

from tasks.cli_options import DEFAULT_CONFIG, ConfigOption, ExperimentOption, IterationOption, LakeOption
from tasks.options import options_of


def add_to(app: typer.Typer, *, panel: str) -> None:
    """Add the command, in this part of the help."""
    app.command(
        "export",
        help="Write an iteration for another program: openai, verl, openrlhf, trl, trl-kto.",
        rich_help_panel=panel,
    )(export)


def export(
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to write.")],
    export_format: Annotated[
        str, typer.Option("--format", "-f", help="openai, verl, openrlhf, trl or trl-kto.")
    ] = "openai",
    kind: Annotated[str, typer.Option(help="rollouts or evaluation.")] = "rollouts",
    unit: Annotated[
        str | None,
        typer.Option(
            help="conversation: its opening as the prompt; turn: every history. Default: the format's."
        ),
    ] = None,
    kept_only: Annotated[bool, typer.Option("--kept-only", help="Only what the curation kept.")] = False,
    min_outcome: Annotated[
        float | None, typer.Option(help="Only conversations with at least this outcome.")
    ] = None,
    success: Annotated[float, typer.Option(help="trl-kto: outcomes from here on are liked.")] = 0.5,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
    iteration: IterationOption = 0,
    config: ConfigOption = DEFAULT_CONFIG,
    experiment: ExperimentOption = None,
    lake: LakeOption = None,
) -> None:
    """Says what was left out, and why; beside the file stands where it came from."""
    from tasks.context import Context
    from tasks.export import Request, listed, run

    context = Context(options_of(config, experiment=experiment, lake=lake).load(), iteration)
    request = Request(out, export_format, kind, unit, kept_only, min_outcome, success, force)
    counts = run(context, request)
    typer.echo(f"{context.key(kind).text} as {export_format} to {out}: {listed(counts)}")
