"""The command that turns an adapter into whole weights."""

from pathlib import Path
from typing import Annotated

import typer

from tasks.cli_options import DEFAULT_CONFIG, ConfigOption, ExperimentOption, LakeOption
from tasks.options import options_of


def add_to(app: typer.Typer, *, panel: str) -> None:
    """Add the command, in this part of the help."""
    app.command(
        "merge", help="Write a policy, adapter and base in one, as whole weights.", rich_help_panel=panel
    )(merge)


def merge(
    policy: Annotated[str, typer.Argument(help="A version, `current`, or a folder.")],
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder to write; it must not exist yet.")],
    config: ConfigOption = DEFAULT_CONFIG,
    experiment: ExperimentOption = None,
    lake: LakeOption = None,
) -> None:
    """Says how far the logits of what was written are from those of base and adapter."""
    from tasks.chat import policy_folder
    from tasks.context import Context
    from tasks.merge import run

    context = Context(options_of(config, experiment=experiment, lake=lake).load(), 0)
    gap = run(policy_folder(context, policy), out)
    typer.echo(f"{policy} as whole weights in {out}; logits differ by at most {gap:.1e}")
