"""An experiment is a set of jobs; what is in the lake is not run again, other settings are refused."""

from pathlib import Path

import pytest

from storage import commits
from storage.errors import StorageError
from storage.rows import to_table
from storage.stores import open_store
from tasks.config import ConfigError
from tasks.experiments.runs import Job, experiment, jobs, long_rows, measured, missing, seeds_of

JOB = Job("many-small", "outcome", 201, settings="lr 7e-4")


def keep(lake: Path, job: Job, rows: list[dict[str, float | str | None]]) -> None:
    commits.commit(
        open_store(str(lake)),
        job.key,
        tables={"measurements": to_table("measurements", list(long_rows(job, rows)))},
        parents={},
        inputs=job.inputs,
        attempt="a",
    )


def test_what_a_run_measured_comes_back_as_it_was(tmp_path: Path) -> None:
    keep(tmp_path, JOB, [{"success": 0.5, "verdict": "agree"}, {"success": 0.75, "verdict": None}])

    found = measured(open_store(str(tmp_path)), [JOB])

    assert found == {("outcome", 201): [{"success": 0.5, "verdict": "agree"}, {"success": 0.75}]}


def test_a_finished_job_is_not_run_again(tmp_path: Path) -> None:
    other = Job("many-small", "share", 201, settings="lr 7e-4")
    keep(tmp_path, JOB, [{"success": 0.5}])

    assert missing(open_store(str(tmp_path)), [JOB, other]) == [other]


def test_a_changed_recipe_is_refused_not_mixed_in(tmp_path: Path) -> None:
    keep(tmp_path, JOB, [{"success": 0.5}])
    changed = Job("many-small", "outcome", 201, settings="lr 1e-3")

    with pytest.raises(StorageError, match="settings"):
        missing(open_store(str(tmp_path)), [changed])


def test_jobs_come_seed_by_seed() -> None:
    found = jobs("many-small", (201, 202))

    assert [job.seed for job in found] == sorted(job.seed for job in found)
    assert len(found) == 2 * len(experiment("many-small").arms)


def test_reporting_and_tuning_seeds_never_meet() -> None:
    assert not set(seeds_of("many-small")) & set(seeds_of("many-small", count=4, tuning=True))


def test_a_recipe_that_was_changed_reports_on_fresh_seeds() -> None:
    assert not set(seeds_of("iterative-ppo-quarter")) & set(seeds_of("many-small"))


def test_more_seeds_than_were_set_apart_are_refused() -> None:
    with pytest.raises(ConfigError, match="there are 5"):
        seeds_of("many-small", count=6)


def test_an_unknown_experiment_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="many-small"):
        experiment("many-smal")
