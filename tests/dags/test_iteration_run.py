"""The DAG itself runs a real, tiny experiment: iteration 0 from logs, iteration 1 from rollouts."""

from pathlib import Path

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import DAG
from airflow.utils.db import initdb

from storage import registry
from storage.commits import CommitKey, read
from storage.stores import open_store

OFFLINE_ONLY = {"import_logs", "warm_start"}
ONLINE_ONLY = {"collect", "credit", "train_policy"}
WITH_Q = {"fit_q"}


@pytest.fixture(scope="module")
def database() -> None:
    """Airflow's tables, in the database of these tests."""
    initdb()


def states(dag: DAG, config: Path, **params: str) -> dict[str, set[str]]:
    """Run the DAG once; the states of every task's instances."""
    run = dag.test(run_conf={"config": str(config), "seed": 3, **params})
    found: dict[str, set[str]] = {}
    for instance in run.get_task_instances():
        found.setdefault(instance.task_id, set()).add(str(instance.state))
    return found


@pytest.mark.slow
def test_iteration_zero_comes_from_logs_and_iteration_one_from_rollouts(
    dag_bag: DagBag, database: None, tiny_config: Path
) -> None:
    dag = dag_bag.dags["itpo_iteration"]

    offline, online = states(dag, tiny_config), states(dag, tiny_config)

    skipped = {"approve", "next"}
    assert {task for task in offline if offline[task] == {"skipped"}} == ONLINE_ONLY | WITH_Q | skipped
    assert {task for task in online if online[task] == {"skipped"}} == OFFLINE_ONLY | WITH_Q | skipped
    assert offline["decide"] == online["decide"] == {"success"}
    store = open_store(str(tiny_config.parent / "lake"))
    assert [version.name for version in registry.versions(store, "tiny")] == ["tiny/v0000", "tiny/v0001"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("algorithm", "advantage"), [("itpo", "ppo"), ("dueling_advantage", "rloo"), ("iterative_ppo", "grpo")]
)
def test_an_algorithm_that_needs_a_q_fits_one_and_the_offline_iteration_skips_it(
    dag_bag: DagBag, database: None, tiny_config: Path, algorithm: str, advantage: str
) -> None:
    dag = dag_bag.dags["itpo_iteration"]
    chosen = {"algorithm": algorithm, "advantage": advantage}

    offline, online = states(dag, tiny_config, **chosen), states(dag, tiny_config, **chosen)

    assert offline["fit_q"] == offline["credit"] == {"skipped"}
    assert online["fit_q"] == online["credit"] == online["train_policy"] == online["report"] == {"success"}
    store = open_store(str(tiny_config.parent / "lake"))
    assert "q" in read(store, CommitKey("tiny", "credit", 1)).parents
