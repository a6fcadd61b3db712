"""What the terminal shows: progress while a stage works, one line when it is done, the registry as tables."""

from collections.abc import Callable

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

from storage import registry
from tasks import pipeline
from tasks.context import Context
from tasks.options import Options

OUT = Console(highlight=False)


def run_stage(options: Options, stage: str, *, iteration: int) -> None:
    """One stage by hand."""
    context = Context(options.load(), iteration)
    with progress_bars() as bars:
        progress = _advance(bars, f"{context.experiment}/{iteration:04d} {stage}")
        result = pipeline.run_named(context, stage, on_progress=progress)
    OUT.print(_line(result), soft_wrap=True)


def run_iterations(options: Options, iterations: int) -> None:
    """Iterations 0 to `iterations` in order; the last line names the current policy and the report."""
    config = options.load()
    for iteration in range(iterations + 1):
        context = Context(config, iteration)
        for stage in pipeline.stages_of(iteration, config):
            with progress_bars() as bars:
                progress = _advance(bars, f"{context.experiment}/{iteration:04d} {stage}")
                result = pipeline.run_named(context, stage, on_progress=progress)
            OUT.print(_line(result), soft_wrap=True)
    current = registry.find_current(context.store, context.experiment)
    name = current.name if current else "none: version 0 did not pass its gates"
    OUT.print(
        f"current policy: [bold]{name}[/bold]   report: {result['figures'].get('experiment_page', '')}",
        soft_wrap=True,
    )


def print_registry(options: Options) -> None:
    """Versions, then events."""
    context = Context(options.load(), 0)
    current = registry.find_current(context.store, context.experiment)
    versions = Table(
        "version", "parent", "commit digest", "current", title=f"policies of {context.experiment}"
    )
    for version in registry.versions(context.store, context.experiment):
        here = "yes" if current and version.name == current.name else ""
        versions.add_row(version.name, version.parent or "", version.commit_digest[:16], here)
    events = Table("event", "action", "version", "reason", title="decisions")
    for event in registry.events(context.store, context.experiment):
        events.add_row(event.event_id, event.action, event.version, event.reason)
    OUT.print(versions, events)


def roll_back(options: Options, *, to: str | None, reason: str) -> None:
    """Record the rollback and say who is current now."""
    context = Context(options.load(), 0)
    count = len(registry.events(context.store, context.experiment))
    event = registry.rollback(
        context.store, context.experiment, to=to, reason=reason, event_id=f"rollback/{count:06d}"
    )
    OUT.print(f"current policy of {context.experiment}: [bold]{event.version}[/bold] ({event.reason})")


def progress_bars() -> Progress:
    """Bars that show on a terminal only, and vanish."""
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=OUT,
        transient=True,
        disable=not OUT.is_terminal,
    )


def _advance(bars: Progress, description: str) -> Callable[[int, int], None]:
    task = bars.add_task(description, total=None)
    return lambda done, total: bars.update(task, completed=done, total=total)


def _line(result: dict[str, object]) -> str:
    figures = result["figures"]
    shown = (
        ", ".join(f"{name} {_short(value)}" for name, value in figures.items())
        if isinstance(figures, dict)
        else ""
    )
    mark = "[dim]was there[/dim]" if result["resumed"] else f"{result['seconds']:.1f} s"
    return f"[bold]{result['commit']}[/bold] {result['stage']} {mark}  {shown}"


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
