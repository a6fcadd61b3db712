"""The command that lets imported conversations of the current version stand in for collected ones."""

from typing import Annotated

import typer

from tasks.cli_options import DEFAULT_CONFIG, ConfigOption, ExperimentOption, LakeOption, SetOption
from tasks.options import options_of


def add_to(app: typer.Typer, *, panel: str) -> None:
    """Add the command, in this part of the help."""
    summary = "Make an iteration's rollouts of imported conversations that the current version held."
    app.command("recompute", help=summary, rich_help_panel=panel)(recompute)


def recompute(
    imported: Annotated[str, typer.Argument(help="The experiment that the log was imported as.")],
    *,
    iteration: Annotated[
        int | None, typer.Option("--iteration", "-i", min=1, help="Default: the next one.")
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    experiment: ExperimentOption = None,
    lake: LakeOption = None,
    settings: SetOption = None,
) -> None:
    """Says how many conversations can be weighed, and why the others cannot."""
    from storage import registry
    from tasks import console
    from tasks.context import Context

    options = options_of(config, experiment=experiment, lake=lake, settings=settings)
    options = options.with_section("collect", {"imported": imported})
    context = Context(options.load(), 0)
    following = registry.next_iteration(context.store, context.experiment)
    console.run_stage(options, "collect", iteration=following if iteration is None else iteration)
