"""The command that holds simulated users against logged ones."""

from typing import Annotated

import typer

from tasks.cli_options import (
    DEFAULT_CONFIG,
    ConfigOption,
    ExperimentOption,
    LakeOption,
    SeedOption,
    SetOption,
)
from tasks.options import options_of

REFUSED = 2


def add_to(app: typer.Typer, *, panel: str) -> None:
    """Add the command, in this part of the help."""
    summary = "Hold the simulated users of an experiment against those of its logs, feature by feature."
    app.command("fidelity", help=summary, rich_help_panel=panel)(fidelity)


def fidelity(
    *,
    iteration: Annotated[
        int | None,
        typer.Option("--iteration", "-i", min=1, help="The users of these rollouts, not in the logs' place."),
    ] = None,
    conversations: Annotated[int, typer.Option(min=1, help="Most conversations of either side.")] = 1000,
    config: ConfigOption = DEFAULT_CONFIG,
    experiment: ExperimentOption = None,
    lake: LakeOption = None,
    seed: SeedOption = None,
    settings: SetOption = None,
) -> None:
    """Exit code 1 when a fault is named, 2 when there is too little to judge."""
    from tasks import fidelity_page
    from tasks.context import Context

    options = options_of(config, experiment=experiment, lake=lake, seed=seed, settings=settings)
    context = Context(options.load(), iteration or 0)
    comparison = fidelity_page.comparison_of(context, iteration, conversations=conversations)
    fidelity_page.show(comparison, users=context.config.user.kind)
    if comparison.found is None:
        raise typer.Exit(REFUSED)
    raise typer.Exit(int(bool(comparison.found.faults)))
