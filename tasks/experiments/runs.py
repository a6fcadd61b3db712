"""Run an experiment: one job per arm and seed, over processes, each committed to the lake when it is done.

A job that is in the lake already is not run again, so an interrupted experiment goes on where it stopped.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

from storage import commits
from storage.commits import Commit, CommitKey
from storage.objects import ObjectStore
from storage.rows import to_table
from storage.stores import open_store
from tasks import threads
from tasks.config import ConfigError

if TYPE_CHECKING:
    from itpo_core.experiments.catalogue import Experiment, Row

KIND = "runs"


@dataclass(frozen=True, slots=True)
class Job:
    """One arm of one seed. `settings` is everything that decides its figures but the seed."""

    experiment: str
    arm: str
    seed: int
    settings: str

    @property
    def key(self) -> CommitKey:
        """Where its figures lie: the experiment's folder, a kind per arm, the seed as the iteration."""
        return CommitKey(f"experiment-{self.experiment}", f"{KIND}-{self.arm}", self.seed)

    @property
    def inputs(self) -> dict[str, str]:
        """What the commit is made under."""
        return {"seed": str(self.seed), "settings": hashlib.sha256(self.settings.encode()).hexdigest()}


def experiment(name: str) -> "Experiment":
    """The experiment of that name; ConfigError lists those that exist."""
    from itpo_core.experiments.catalogue import EXPERIMENTS

    if name not in EXPERIMENTS:
        raise ConfigError(f"experiment {name!r} does not exist: choose one of {', '.join(EXPERIMENTS)}")
    return EXPERIMENTS[name]


def seeds_of(name: str, *, count: int | None = None, tuning: bool = False) -> tuple[int, ...]:
    """The first `count` seeds that the experiment reports on (by default as many as it is meant to have), or
    tuning seeds; ConfigError for more than there are."""
    from itpo_core.experiments.recipes import TUNING_SEEDS

    of = experiment(name)
    known, wanted = TUNING_SEEDS if tuning else of.reporting, of.seeds if count is None else count
    if not 1 <= wanted <= len(known):
        raise ConfigError(f"{wanted} seeds: there are {len(known)}, set apart for this; use at most these")
    return known[:wanted]


def jobs(name: str, seeds: Sequence[int]) -> list[Job]:
    """Seed by seed, so that an experiment that is cut off has whole seeds."""
    of = experiment(name)
    return [Job(name, arm, seed, of.settings[arm]) for seed in seeds for arm in of.arms]


def missing(store: ObjectStore, wanted: Sequence[Job]) -> list[Job]:
    """Those without a commit. Raises StorageError for one that was made under other settings."""
    return [job for job in wanted if _found(store, job) is None]


def run(
    wanted: Sequence[Job],
    *,
    lake: str,
    cache: Path,
    workers: int,
    on_done: Callable[[Job], None] = lambda job: None,
) -> None:
    """Run the jobs over processes of one thread each; what was done stays when one of them breaks."""
    cache.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        futures = {pool.submit(run_job, job, lake=lake, cache=cache): job for job in wanted}
        for future in as_completed(futures):
            future.result()
            on_done(futures[future])


def run_job(job: Job, *, lake: str, cache: Path) -> None:
    """One job from its recipe to its commit."""
    threads.limit()
    from itpo_core.experiments.loop import fixed_threads

    fixed_threads()
    rows = experiment(job.experiment).run(arm=job.arm, seed=job.seed, cache=cache / f"seed-{job.seed}")
    store = open_store(lake)
    commits.commit(
        store,
        job.key,
        tables={"measurements": to_table("measurements", list(long_rows(job, rows)))},
        parents={},
        inputs=job.inputs,
        attempt=f"{job.arm}-{job.seed}",
    )


def long_rows(job: Job, rows: Sequence["Row"]) -> Iterator[dict[str, object]]:
    """One row per figure; a figure that nobody has (None) has no row, a word goes into `label`."""
    for step, figures in enumerate(rows):
        for name in sorted(figures):
            value = figures[name]
            if value is not None:
                word = isinstance(value, str)
                yield {
                    "arm": job.arm,
                    "seed": job.seed,
                    "step": step,
                    "name": name,
                    "value": None if word else float(value),
                    "label": value if word else None,
                }


def measured(store: ObjectStore, wanted: Sequence[Job]) -> Mapping[tuple[str, int], list["Row"]]:
    """Rows of figures per step, by arm and seed, of the jobs that are in the lake."""
    found = {(job.arm, job.seed): _found(store, job) for job in wanted}
    return {place: _rows(store, commit) for place, commit in found.items() if commit is not None}


def _found(store: ObjectStore, job: Job) -> Commit | None:
    commit = commits.find(store, job.key)
    if commit is not None:
        commits.check_inputs(commit, parents={}, inputs=job.inputs)
    return commit


def _rows(store: ObjectStore, commit: Commit) -> list["Row"]:
    steps: dict[int, dict[str, float | str]] = {}
    for row in commits.read_table(store, commit, table="measurements").to_pylist():
        known = row["label"] if row["value"] is None else row["value"]
        steps.setdefault(row["step"], {})[row["name"]] = known
    return [steps[step] for step in sorted(steps)]
