"""Commands that say where things came from and whether they are still what they were."""

from typing import Annotated

import typer

from tasks.cli_options import DEFAULT_CONFIG, ConfigOption, ExperimentOption, LakeOption
from tasks.options import options_of

JsonOption = Annotated[bool, typer.Option("--json", help="The same as JSON, with nothing shortened.")]
AllOption = Annotated[bool, typer.Option("--all", help="Every experiment in the lake.")]


def add_to(app: typer.Typer, *, panel: str) -> None:
    """Add the commands, in this part of the help."""
    app.command(
        "why",
        help="From which conversations a policy came, and why it was kept or not.",
        rich_help_panel=panel,
    )(why)
    app.command(
        "where",
        help="Every dataset that holds a conversation, and every policy it taught.",
        rich_help_panel=panel,
    )(where)
    app.command("diff", help="In what two iterations differ, stage by stage.", rich_help_panel=panel)(diff)
    app.command(
        "verify",
        help="Recompute every hash of an experiment and name what does not match.",
        rich_help_panel=panel,
    )(verify)


def why(
    *,
    policy: Annotated[str, typer.Argument(help="Version (sales/v0003, v0003) or 'current'.")] = "current",
    as_json: JsonOption = False,
    config: ConfigOption = DEFAULT_CONFIG,
    experiment: ExperimentOption = None,
    lake: LakeOption = None,
) -> None:
    """Back to the first log, or to where the chain breaks."""
    from tasks import why as receipts

    receipts.run(options_of(config, experiment=experiment, lake=lake), policy, as_json=as_json)


def where(
    *,
    conversation: Annotated[
        str, typer.Argument(help="Its id, six characters of it or more, or its id in the log.")
    ],
    as_json: JsonOption = False,
    config: ConfigOption = DEFAULT_CONFIG,
    experiment: ExperimentOption = None,
    lake: LakeOption = None,
) -> None:
    """Kept or dropped, what it earned, who learnt from it."""
    from tasks import where as trails

    trails.run(options_of(config, experiment=experiment, lake=lake), conversation, as_json=as_json)


def diff(
    *,
    first: Annotated[str, typer.Argument(help="An iteration: 2, or sales/2.")],
    second: Annotated[str, typer.Argument(help="Another: 3, or sales-b/3.")],
    as_json: JsonOption = False,
    config: ConfigOption = DEFAULT_CONFIG,
    experiment: ExperimentOption = None,
    lake: LakeOption = None,
) -> None:
    """Data, settings, SQL, code, users, results."""
    from tasks import diff as differences

    options = options_of(config, experiment=experiment, lake=lake)
    differences.run(options, first, second=second, as_json=as_json)


def verify(
    *,
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
