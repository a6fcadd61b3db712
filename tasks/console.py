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
from rich.table import Column, Table
from rich.text import Text

from storage import registry
from tasks import from_logs, pipeline
from tasks.context import Context
from tasks.options import Options
from tasks.plain_text import one_line, plain, print_table

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
    last = from_logs.last_iteration(config)
    is_cut = last is not None and iterations > last
    for iteration in range((last if is_cut else iterations) + 1):
        context = Context(config, iteration)
        for stage in pipeline.stages_of(iteration, config):
            with progress_bars() as bars:
                progress = _advance(bars, f"{context.experiment}/{iteration:04d} {stage}")
                result = pipeline.run_named(context, stage, on_progress=progress)
            OUT.print(_line(result), soft_wrap=True)
    current = registry.find_current(context.store, context.experiment)
    name = current.name if current else "none: no version passed its gates (`itpo policies` says why)"
    page = result["figures"].get("experiment_page", "")
    if is_cut:
        OUT.print(
            f"the log is used up after iteration {last} of {iterations}: {from_logs.REMEDY}", soft_wrap=True
        )
    OUT.print(
        Text.assemble("current policy: ", (one_line(name), "bold"), one_line(f"   report: {page}")),
        soft_wrap=True,
    )


def print_registry(options: Options) -> None:
    """Versions, then events."""
    context = Context(options.load(), 0)
    current = registry.find_current(context.store, context.experiment)
    versions = _table(
        "version", "parent", "commit digest", "current", title=f"policies of {context.experiment}"
    )
    for version in registry.versions(context.store, context.experiment):
        here = "yes" if current and version.name == current.name else ""
        _add(versions, version.name, version.parent or "", version.commit_digest[:16], here)
    events = _table("event", "action", "version", "reason", title="decisions")
    for event in registry.events(context.store, context.experiment):
        _add(events, event.event_id, event.action, event.version, event.reason)
    for table in (versions, events):
        print_table(table, out=OUT)


def roll_back(options: Options, *, to: str | None, reason: str) -> None:
    """Record the rollback to a version (sales/v0002, v0002) and say who is current now."""
    context = Context(options.load(), 0)
    version = to if to is None or "/" in to else f"{context.experiment}/{to}"
    count = len(registry.events(context.store, context.experiment))
    event = registry.rollback(
        context.store, context.experiment, to=version, reason=reason, event_id=f"rollback/{count:06d}"
    )
    said = (
        f"current policy of {context.experiment}: ",
        (event.version, "bold"),
        f" ({one_line(event.reason)})",
    )
    OUT.print(Text.assemble(*said), soft_wrap=True)


def progress_bars() -> Progress:
    """Bars that show on a terminal only, and vanish."""
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
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


def _line(result: dict[str, object]) -> Text:
    figures = result["figures"]
    shown = (
        ", ".join(f"{name} {_short(value)}" for name, value in figures.items())
        if isinstance(figures, dict)
        else ""
    )
    mark = ("was there", "dim") if result["resumed"] else f"{result['seconds']:.1f} s"
    commit = (f"{result['commit']}", "bold")
    return Text.assemble(commit, f" {result['stage']} ", mark, f"  {one_line(shown)}")


def _table(*names: str, title: str) -> Table:
    return Table(*(Column(name, overflow="fold") for name in names), title=plain(title))


def _add(table: Table, *cells: str) -> None:
    table.add_row(*map(plain, cells))


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
