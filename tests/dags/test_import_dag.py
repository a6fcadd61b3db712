"""Logs come in through a DAG of their own: all files or none, then curated and shown."""

import json
from pathlib import Path
from typing import Any

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk.definitions.param import ParamsDict
from airflow.sdk.exceptions import ParamValidationError
from airflow.utils.db import initdb

from dags.import_params import import_overrides, import_params
from dags.params import ROOT, config_path
from storage.commits import CommitKey, read, read_table
from storage.stores import open_store
from tasks.config import load

TALK = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]


def checked(given: dict[str, Any]) -> dict[str, Any]:
    """The Params of a run as Airflow checks them."""
    params = ParamsDict(import_params())
    params.update(given)
    return dict(params.validate())


def log_file(folder: Path, name: str, *ids: str) -> Path:
    rows = [{"id": each, "messages": TALK, "outcome": 1.0} for each in ids]
    path = folder / name
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def test_an_import_is_one_task_for_all_files_then_curated_and_shown(dag_bag: DagBag) -> None:
    dag = dag_bag.dags["itpo_import"]

    upstream = {task.task_id: task.upstream_task_ids for task in dag.tasks}

    assert upstream == {"import_logs": set(), "curate": {"import_logs"}, "report": {"curate"}}


def test_only_a_person_starts_an_import_and_what_breaks_on_the_way_is_tried_again(dag_bag: DagBag) -> None:
    dag = dag_bag.dags["itpo_import"]

    assert (dag.timetable.can_be_scheduled, dag.max_active_runs, dag.catchup) == (False, 1, False)
    assert {task.retries for task in dag.tasks} == {3}
    assert dag.tasks[0].retry_policy.rules[0].exception_path == "tasks.config.ConfigError"


def test_files_and_choices_become_the_configuration_of_the_import() -> None:
    params = checked({"files": ["logs/a.jsonl", "/data/b.parquet"], "experiment": "night"})

    config = load(config_path(params), overrides=import_overrides(params))

    assert config.experiment == "night"
    assert config.logs.paths == (str(ROOT / "logs/a.jsonl"), "/data/b.parquet")
    assert (config.logs.format, config.logs.outcome_column) == ("auto", "outcome")


def test_outcomes_that_came_later_become_a_part_of_the_configuration() -> None:
    params = checked({"files": ["a.jsonl"], "outcomes": ["crm.csv"], "outcomes_key": "metadata.order"})

    config = load(config_path(params), overrides=import_overrides(params))

    assert (config.outcomes.paths, config.outcomes.key) == ((str(ROOT / "crm.csv"),), "metadata.order")


def test_without_outcomes_the_configuration_says_what_it_always_said() -> None:
    params = checked({"files": ["a.jsonl"]})

    assert not any(key.startswith("outcomes") for key in import_overrides(params))


@pytest.mark.parametrize("wrong", [{}, {"files": []}, {"files": [""]}, {"files": ["a"], "format": "guess"}])
def test_an_import_of_nothing_and_of_an_unknown_format_is_refused_by_the_form(wrong: dict[str, Any]) -> None:
    with pytest.raises(ParamValidationError):
        checked(wrong)


@pytest.mark.slow
def test_two_files_become_one_curated_commit_and_again_the_same(dag_bag: DagBag, tmp_path: Path) -> None:
    initdb()
    files = [log_file(tmp_path, "a.jsonl", "1", "2"), log_file(tmp_path, "b.jsonl", "3")]
    config = tmp_path / "small.toml"
    config.write_text(f'experiment = "logs"\n[lake]\nroot = "{tmp_path / "lake"}"\n')
    conf = {"config": str(config), "files": [str(path) for path in files]}
    store, dag = open_store(str(tmp_path / "lake")), dag_bag.dags["itpo_import"]

    first = dag.test(run_conf=conf)
    digest = read(store, CommitKey("logs", "rollouts", 0)).digest
    second = dag.test(run_conf=conf)

    assert {str(run.state) for run in (first, second)} == {"success"}
    curated = read(store, CommitKey("logs", "curated", 0))
    assert curated.parents == {"rollouts": digest}
    assert read_table(store, curated, table="curated").column("kept").to_pylist() == [True] * 3
