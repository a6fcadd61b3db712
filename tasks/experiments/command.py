"""What `itpo experiment` and `itpo results` do: run what is missing, show the table, write the pages."""

import os
from pathlib import Path

from storage.paths import repository_root
from tasks.console import OUT, progress_bars
from tasks.context import lake_address, open_lake_store
from tasks.experiments import runs
from tasks.experiments.page import page_html, section_of, write_results
from tasks.options import Options
from tasks.plain_text import plain

FINDINGS = "results-findings.md"  # written by hand, put before the tables


def run(options: Options, name: str, *, seeds: int | None, workers: int, tuning: bool) -> None:
    """Run an experiment's missing jobs and print its section."""
    config = options.load()
    store = open_lake_store(config)
    chosen = runs.seeds_of(name, count=seeds, tuning=tuning)
    wanted = runs.jobs(name, chosen)
    todo = runs.missing(store, wanted)
    OUT.print(f"{name}: {len(wanted) - len(todo)} of {len(wanted)} runs are in the lake")
    with progress_bars() as bars:
        bar = bars.add_task(name, total=len(todo))
        runs.run(
            todo,
            lake=lake_address(config),
            cache=scratch_folder(),
            workers=workers,
            on_done=lambda job: bars.update(bar, advance=1, description=f"{job.arm} {job.seed}"),
        )
    page = reports_folder() / f"{name}.html"
    section = section_of(store, name, images=page.parent / "images", seeds=chosen)
    page.write_text(page_html(section or ""), encoding="utf-8")
    OUT.print(plain(f"page: {page}"), soft_wrap=True)


def write(options: Options, path: Path) -> None:
    """Write the results file and the same as a page in the reports folder."""
    store = open_lake_store(options.load())
    target = path if path.is_absolute() else repository_root() / path
    write_results(store, target, notes=target.with_name(FINDINGS))
    OUT.print(plain(f"results: {target}"), soft_wrap=True)


def scratch_folder() -> Path:
    """Where clones and tuned starts are kept between runs; anything in it can be made again."""
    return Path(os.environ.get("ITPO_WORK", repository_root() / ".work")) / "experiments"


def reports_folder() -> Path:
    """Where pages of experiments lie."""
    folder = Path(os.environ.get("ITPO_REPORTS", repository_root() / "reports")) / "experiments"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
