"""A stage as a job: its name, its command, its variables; and what the lake says about it."""

import shlex
import sys
from pathlib import Path
from typing import Any

import pytest

from storage.errors import ConflictingCommit
from storage.paths import repository_root
from tasks import cluster, pipeline
from tasks.cluster import StageJob
from tasks.config import ConfigError, load

PLAIN = 'experiment = "shop"\n[ray]\nstages = ["train_policy"]\n'
LOGS = 'experiment = "shop"\n[logs]\nscripted_conversations = 16\nscripted_requests = 8\n'


def written(folder: Path, text: str = PLAIN) -> str:
    path = folder / "shop.toml"
    path.write_text(text)
    return str(path)


def job(path: str, **overrides: Any) -> StageJob:
    found = cluster.job_of("train_policy", path, overrides=overrides, iteration=3)
    assert found is not None
    return found


def test_a_job_is_named_by_all_that_it_follows_from(tmp_path: Path) -> None:
    path = written(tmp_path)

    digest = load(path).digest[:8]

    assert job(path).prefix == f"itpo-shop-0003-train_policy-{digest}"
    assert job(path).prefix == job(path).prefix != job(path, seed=1).prefix


def test_where_stages_run_changes_neither_name_nor_data(tmp_path: Path) -> None:
    path = written(tmp_path)

    assert job(path, **{"ray.num_gpus": 8.0}).prefix == job(path).prefix
    assert job(path, **{"ray.num_gpus": 8.0}).resources == {"GPU": 8.0}


def test_a_stage_that_the_section_does_not_name_runs_here(tmp_path: Path) -> None:
    assert cluster.job_of("fit_reward", written(tmp_path), overrides={}, iteration=3) is None


def test_the_command_is_absolute_and_says_everything(tmp_path: Path) -> None:
    path = written(tmp_path)

    words = shlex.split(job(path, seed=1, experiment="night").entrypoint)

    assert words[:4] == [sys.executable, "-m", "tasks", "train-policy"]
    assert words[4:8] == ["--config", path, "--iteration", "3"]
    assert words[8:] == ["--set", 'experiment="night"', "--set", "seed=1"]


def test_a_shipped_configuration_lies_in_the_checkout_of_the_cluster() -> None:
    there = {"ray.working_dir": "/opt/itpo", "ray.interpreter": "/opt/venv/bin/python"}
    here = str(repository_root() / "configs/sales_small.toml")

    found = job(here, **{"ray.stages": ["train_policy"], **there})

    assert shlex.split(found.entrypoint)[0] == "/opt/venv/bin/python"
    assert "/opt/itpo/configs/sales_small.toml" in shlex.split(found.entrypoint)
    assert found.env["PYTHONPATH"] == "/opt/itpo"


def test_the_lake_is_handed_on_and_is_in_no_text_about_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ITPO_LAKE", "s3://private/shop")

    found = job(written(tmp_path))

    assert found.env["ITPO_LAKE"] == "s3://private/shop"
    assert "private" not in repr(found)
    assert "private" not in found.entrypoint


def test_two_lakes_are_two_owners(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path)
    monkeypatch.setenv("ITPO_LAKE", "s3://one")
    one = job(path)
    monkeypatch.setenv("ITPO_LAKE", "s3://two")

    assert one.prefix == job(path).prefix
    assert one.owner != job(path).owner


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('env = ["AWS_SECRET_ACCESS_KEY"]', "give secrets to the cluster's machines"),
        ('env = ["HF_TOKEN"]', "give secrets to the cluster's machines"),
        ('env = ["A B"]', "should match pattern"),
        ('address = "127.0.0.1:8265"', "should match pattern"),
        ('interpreter = "python"', "should match pattern"),
        ('stages = ["curate"]', "'warm_start'"),
        ("rollouts = {num_cpus = 0}", "all of them on one machine"),
        ("rollouts = {num_gpus = 2}", "an engine uses one GPU"),
        ("rollouts = {tries = 0}", "greater than or equal to 1"),
        ("num_gpus = -1", "greater than or equal to 0"),
        ("resources = {trainer = 0.0}", "greater than 0"),
        ("attempts = 0", "greater than or equal to 1"),
    ],
)
def test_a_section_that_cannot_work_is_refused(tmp_path: Path, line: str, message: str) -> None:
    path = written(tmp_path, f'experiment = "shop"\n[ray]\n{line}\n')

    with pytest.raises(ConfigError, match=message):
        load(path)


def test_logs_of_jobs_are_kept_once_and_found_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ITPO_LAKE", str(tmp_path / "lake"))
    path = written(tmp_path)

    for name, text in [("job-a1", "first\nfailed"), ("job-a1", "again"), ("other-a1", "x")]:
        cluster.keep_log(path, {}, name=name, text=text)

    assert cluster.logs_kept(path, {}, prefix="job-a") == ["job-a1"]


def test_a_commit_is_a_result_unless_it_was_made_under_other_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ITPO_LAKE", str(tmp_path / "lake"))
    path = written(tmp_path, LOGS)

    before = cluster.committed("import", path, overrides={}, iteration=0)
    made = pipeline.run_stage("import", path, overrides={}, iteration=0)
    after = cluster.committed("import", path, overrides={}, iteration=0)

    assert before is None
    assert after is not None
    assert (after["commit"], after["digest"]) == (made["commit"], made["digest"])
    with pytest.raises(ConflictingCommit, match="domain"):
        cluster.committed("import", path, overrides={"domain.preset": "hard"}, iteration=0)
