"""Commands that take something out of a lake for good: what is to be forgotten, and what nobody needs."""

from typing import Annotated

import typer

from tasks.cli_options import DEFAULT_CONFIG, ConfigOption, ExperimentOption, LakeOption, SetOption
from tasks.options import options_of


def add_to(app: typer.Typer, *, panel: str) -> None:
    """Add the commands, in this part of the help."""
    app.command(
        "forget", help="Remove a conversation, or a user, from the lake for good.", rich_help_panel=panel
    )(forget)
    app.command("gc", help="List what nothing needs any more; --delete removes it.", rich_help_panel=panel)(
        gc
    )


def forget(
    *,
    reason: Annotated[str, typer.Option(help="Why; kept in the tombstone, so without names and ids.")],
    conversation: Annotated[
        list[str] | None, typer.Option("--conversation", help="Id of a conversation; as often as needed.")
    ] = None,
    user: Annotated[str | None, typer.Option("--user", help="All conversations of this user.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    config: ConfigOption = DEFAULT_CONFIG,
    experiment: ExperimentOption = None,
    lake: LakeOption = None,
    settings: SetOption = None,
) -> None:
    """Over every experiment of the lake. Exit code 1 when there was nothing to remove."""
    from tasks import forget as forgetting

    options = options_of(config, experiment=experiment, lake=lake, settings=settings)
    selector = forgetting.selector_of(conversation or (), user)
    raise typer.Exit(forgetting.run(options, selector, reason=reason, dry_run=dry_run, yes=yes))


def gc(
    *,
    grace_hours: Annotated[float, typer.Option(min=0, help="What is younger than this stays.")] = 24.0,
    delete: Annotated[bool, typer.Option("--delete", help="Remove it, not only list it.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Allow a grace that is shorter than a lease.")
    ] = False,
    config: ConfigOption = DEFAULT_CONFIG,
    lake: LakeOption = None,
) -> None:
    """Over every experiment of the lake."""
    from tasks import gc as collecting

    options = options_of(config, lake=lake)
    raise typer.Exit(collecting.run(options, grace_s=grace_hours * 3600, delete=delete, force=force))
