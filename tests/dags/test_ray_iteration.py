"""The DAG itself with a stage on a cluster: the fake head runs the very command that it is sent."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.utils.db import initdb

from storage import registry, run_logs
from storage.stores import open_store
from tests.dags.fake_ray_head import FakeHead, fake_head


@pytest.fixture(scope="module")
def database() -> None:
    initdb()


@pytest.fixture
def working_head() -> Iterator[FakeHead]:
    """Runs each job to its end when it is looked at for the second time."""
    with fake_head() as head:

        def work(submission_id: str) -> None:
            (sent,) = head.submitted
            given = sent["runtime_env"]["env_vars"]
            subprocess.run(sent["entrypoint"], shell=True, check=True, cwd="/", env=os.environ | given)

        head.on_success = work
        yield head


@pytest.mark.e2e
def test_the_stage_that_the_configuration_names_is_made_by_a_job_and_the_run_goes_on(
    dag_bag: DagBag, database: None, tiny_config: Path, working_head: FakeHead
) -> None:
    ray = f'[ray]\nstages = ["warm_start"]\naddress = "{working_head.address}"\npoll_s = 0.1\n'
    tiny_config.write_text(tiny_config.read_text() + ray)

    run = dag_bag.dags["itpo_iteration"].test(run_conf={"config": str(tiny_config), "seed": 3})

    states = {task.task_id: str(task.state) for task in run.get_task_instances()}
    store = open_store(str(tiny_config.parent / "lake"))
    (job,) = working_head.submitted
    assert states["warm_start"] == states["fit_reward"] == states["decide"] == "success"
    assert "warm-start" in job["entrypoint"]
    assert [version.name for version in registry.versions(store, "tiny")] == ["tiny/v0000"]
    assert run_logs.names(store, "tiny", prefix="itpo-") == [job["submission_id"]]


@pytest.mark.e2e
def test_all_shards_are_one_job_where_the_configuration_names_collect(
    dag_bag: DagBag, database: None, tiny_config: Path, working_head: FakeHead
) -> None:
    dag, conf = dag_bag.dags["itpo_iteration"], {"config": str(tiny_config), "seed": 3}
    dag.test(run_conf=conf)
    ray = f'[ray]\nstages = ["collect"]\naddress = "{working_head.address}"\npoll_s = 0.1\n'
    tiny_config.write_text(tiny_config.read_text() + ray)

    run = dag.test(run_conf=conf)

    states = [(task.task_id, task.map_index, str(task.state)) for task in run.get_task_instances()]
    store = open_store(str(tiny_config.parent / "lake"))
    (job,) = working_head.submitted
    assert [each for each in states if each[0] == "collect"] == [("collect", 0, "success")]
    assert ("train_policy", -1, "success") in states
    assert "-m tasks collect" in job["entrypoint"]
    assert [version.name for version in registry.versions(store, "tiny")] == ["tiny/v0000", "tiny/v0001"]
