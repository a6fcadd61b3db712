"""Commands that say where things came from and whether they are still what they were."""

from typing import Annotated

import typer

from tasks.cli_options import DEFAULT_CONFIG, ConfigOption, ExperimentOption, LakeOption
from tasks.options import options_of

AllOption = Annotated[bool, typer.Option("--all", help="Every experiment in the lake.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("verify", help="Recompute every hash of an experiment and name what does not match.")(verify)


def verify(
    deep: Annotated[bool, typer.Option("--deep", help="Every object, and the chain between them.")] = False,
    everything: AllOption = False,
    config: ConfigOption = DEFAULT_CONFIG,
    experiment: ExperimentOption = None,
    lake: LakeOption = None,
) -> None:
    """Exit code 1 when something does not match."""
    from tasks import verify as verifying

    options = options_of(config, experiment=experiment, lake=lake)
    raise typer.Exit(verifying.run(options, deep=deep, everything=everything))
