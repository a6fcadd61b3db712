"""`itpo verify`: is everything that the lake holds still what was written?"""

from rich.table import Table

from storage.deep_verification import DeepReport, verify_deep
from storage.listing import readable_commits, require_experiment
from storage.verification import verify
from tasks.console import OUT, progress_bars
from tasks.context import open_lake_store
from tasks.options import Options
from tasks.plain_text import plain

SHOWN_NOTES = 20


def run(options: Options, *, deep: bool, everything: bool) -> int:
    """Verify the experiment, or everything in the lake; 0 when all is well, 1 when something is not."""
    config = options.load()
    experiment = None if everything else config.experiment
    return deeply(options, experiment) if deep else commit_by_commit(options, experiment)


def commit_by_commit(options: Options, experiment: str | None) -> int:
    """Every commit and its own files, manifests and side facts."""
    store = open_lake_store(options.load())
    require_experiment(store, experiment)
    found, unreadable = readable_commits(store, experiment)
    problems = [*unreadable, *(problem for commit in found for problem in verify(store, commit))]
    _print_problems(problems)
    where = experiment or "the whole lake"
    OUT.print(f"{len(found)} commits of {where} verified, {len(problems)} problems", soft_wrap=True)
    return 1 if problems else 0


def deeply(options: Options, experiment: str | None) -> int:
    """Every object, and all that objects say about each other."""
    store = open_lake_store(options.load())
    require_experiment(store, experiment)
    with progress_bars() as bars:
        task = bars.add_task("reading every object", total=None)
        report = verify_deep(
            store,
            experiment,
            on_progress=lambda done, total: bars.update(task, completed=done, total=total),
        )
    print_report(report, where=experiment or "the whole lake")
    return 1 if report.problems else 0


def print_report(report: DeepReport, *, where: str) -> None:
    """What was read, what is remarkable, and what is wrong, which comes last."""
    table = Table("read", "objects", box=None, pad_edge=False)
    for sort, count in sorted(report.objects.items()):
        table.add_row(sort, str(count))
    OUT.print(table)
    for key, digest in sorted(report.heads.items()):
        OUT.print(plain(f"last event  {key}  {digest}"), soft_wrap=True)
    for note in report.notes[:SHOWN_NOTES]:
        OUT.print(plain(f"note: {note}", style="dim"), soft_wrap=True)
    if len(report.notes) > SHOWN_NOTES:
        OUT.print(f"[dim]and {len(report.notes) - SHOWN_NOTES} more notes[/dim]")
    _print_problems(report.problems)
    said = "everything matches" if not report.problems else f"{len(report.problems)} problems"
    OUT.print(f"{sum(report.objects.values())} objects of {where} verified: {said}", soft_wrap=True)


def _print_problems(problems: list[str] | tuple[str, ...]) -> None:
    for problem in problems:
        OUT.print(plain(problem, style="red"), soft_wrap=True)
