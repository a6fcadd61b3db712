"""All DAG files import, and say what they should: order, skips, retries, pool, assets."""

from datetime import timedelta
from pathlib import Path

import pytest
from airflow.dag_processing.dagbag import DagBag

UPSTREAM = {
    "plan": set(),
    "import_logs": {"plan"},
    "collect": {"plan"},
    "curate": {"import_logs", "collect"},
    "warm_start": {"import_logs", "curate"},
    "fit_reward": {"curate", "warm_start"},
    "fit_q": {"collect", "fit_reward"},
    "credit": {"plan", "fit_reward", "fit_q"},
    "train_policy": {"credit"},
    "evaluate": {"fit_reward", "train_policy"},
    "approve": {"evaluate"},
    "decide": {"evaluate", "approve"},
    "report": {"decide"},
    "next": {"report"},
}


def test_every_dag_file_imports_and_helpers_are_no_dag_files(dag_bag: DagBag) -> None:
    assert dag_bag.import_errors == {}
    assert set(dag_bag.dags) == {"itpo_import", "itpo_iteration", "itpo_schedule"}
    assert len(dag_bag.dagbag_stats) == 3


def test_the_iteration_runs_its_stages_in_order(dag_bag: DagBag) -> None:
    dag = dag_bag.dags["itpo_iteration"]

    assert {task.task_id: task.upstream_task_ids for task in dag.tasks} == UPSTREAM


def test_one_iteration_at_a_time(dag_bag: DagBag) -> None:
    dag = dag_bag.dags["itpo_iteration"]

    assert dag.max_active_runs == 1
    assert dag.catchup is False
    assert {task.task_id for task in dag.tasks if task.pool == "trainer"} == {
        "warm_start",
        "fit_reward",
        "fit_q",
        "train_policy",
    }


def test_every_task_is_retried_with_growing_pauses_unless_its_configuration_is_wrong(dag_bag: DagBag) -> None:
    for task in dag_bag.dags["itpo_iteration"].tasks:
        assert (task.retries, task.retry_exponential_backoff) == (3, 2.0)
        assert task.retry_policy.rules[0].exception_path == "tasks.config.ConfigError"


def test_every_task_is_ended_after_a_day_but_a_persons_answer(dag_bag: DagBag) -> None:
    dag = dag_bag.dags["itpo_iteration"]

    limits = {task.task_id: task.execution_timeout for task in dag.tasks}

    assert limits.pop("approve") is None
    assert dag.get_task("approve").response_timeout is None  # Airflow would make it of the other
    assert set(limits.values()) == {timedelta(days=1)}


def test_tasks_behind_a_skipped_branch_still_run(dag_bag: DagBag) -> None:
    rules = {task.task_id: str(task.trigger_rule.value) for task in dag_bag.dags["itpo_iteration"].tasks}

    joins = {name: rule for name, rule in rules.items() if rule != "all_success"}
    assert joins == {
        "curate": "none_failed_min_one_success",
        "fit_reward": "none_failed_min_one_success",
        "credit": "none_failed_min_one_success",  # a Q that nothing needs is skipped; credit is not
        "evaluate": "none_failed_min_one_success",
        "decide": "none_failed",
    }


def test_stages_that_others_wait_for_emit_assets(dag_bag: DagBag) -> None:
    tasks = dag_bag.dags["itpo_iteration"].tasks

    emitted = {task.task_id: [asset.name for asset in task.outlets] for task in tasks if task.outlets}
    assert emitted == {"curate": ["itpo_rollouts"], "credit": ["itpo_credit"], "decide": ["itpo_policy"]}


def test_the_clock_is_nightly_and_paused_until_asked(dag_bag: DagBag) -> None:
    dag = dag_bag.dags["itpo_schedule"]

    assert dag.timetable.expression == "0 2 * * *"
    assert dag.is_paused_upon_creation is True
    assert [task.task_id for task in dag.tasks] == ["start"]


@pytest.mark.parametrize("name", ["itpo_import", "itpo_iteration", "itpo_schedule"])
def test_a_dag_file_is_wiring_only(dag_bag: DagBag, name: str) -> None:
    lines = Path(dag_bag.dags[name].fileloc).read_text().splitlines()

    assert len(lines) < 60
