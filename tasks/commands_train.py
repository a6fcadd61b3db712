"""The command that trains a candidate, here or, as commands to give, on a cluster."""

import json
from typing import Annotated

import typer

from tasks.cli_options import (
    DEFAULT_CONFIG,
    AdvantageOption,
    AlgorithmOption,
    ConfigOption,
    ExperimentOption,
    IterationOption,
    LakeOption,
    SeedOption,
    SetOption,
)
from tasks.options import Options, options_of


def add_to(app: typer.Typer, *, panel: str) -> None:
    """Add the command, in this part of the help."""
    app.command("train-policy", help="Train a candidate on the credited turns.", rich_help_panel=panel)(
        train_policy
    )


def train_policy(
    *,
    config: ConfigOption = DEFAULT_CONFIG,
    experiment: ExperimentOption = None,
    iteration: IterationOption = 0,
    lake: LakeOption = None,
    seed: SeedOption = None,
    algorithm: AlgorithmOption = None,
    advantage: AdvantageOption = None,
    settings: SetOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print OpenRLHF's commands for the cluster of [openrlhf].")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --dry-run: as JSON.")] = False,
) -> None:
    """One candidate; a dry run needs the section [openrlhf] alone and touches no lake."""
    options = options_of(
        config,
        experiment=experiment,
        lake=lake,
        seed=seed,
        algorithm=algorithm,
        advantage=advantage,
        settings=settings,
    )
    if as_json and not dry_run:
        raise typer.BadParameter("--json shows what --dry-run would: give both")
    if dry_run:
        _show_commands(options, iteration=iteration, as_json=as_json)
    else:
        _train(options, iteration=iteration)


def _train(options: Options, *, iteration: int) -> None:
    from tasks import console

    console.run_stage(options, "train_policy", iteration=iteration)


def _show_commands(options: Options, *, iteration: int, as_json: bool) -> None:
    from tasks import cluster_commands

    shown = cluster_commands.commands(options.load(), max(1, iteration))
    typer.echo(
        json.dumps(cluster_commands.as_json(shown), indent=2) if as_json else cluster_commands.as_text(shown)
    )
