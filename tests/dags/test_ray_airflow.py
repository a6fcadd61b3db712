"""The operator as Airflow runs it: deferred, watched, resumed, and its result handed on."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import DAG
from airflow.utils.db import initdb

from storage import run_logs
from storage.stores import open_store
from tasks import pipeline
from tests.dags.fake_ray_head import FakeHead, fake_head


@pytest.fixture(scope="module")
def database() -> None:
    initdb()


@pytest.fixture
def fake() -> Iterator[FakeHead]:
    with fake_head() as head:
        yield head


@pytest.fixture
def ray_config(tiny_config: Path, fake: FakeHead) -> Path:
    """The tiny experiment, curated, with its warm start on the fake cluster."""
    for stage in ("import", "curate"):
        pipeline.run_stage(stage, str(tiny_config), overrides={}, iteration=0)
    ray = f'[ray]\nstages = ["warm_start"]\naddress = "{fake.address}"\npoll_s = 0.05\n'
    tiny_config.write_text(tiny_config.read_text() + ray)
    return tiny_config


def ran(dag: DAG, config: Path) -> tuple[dict[str, str], dict[str, Any] | None]:
    """States by task, of the plan and the warm start alone, and what the latter left."""
    others = "import_logs|curate|fit_reward|evaluate|approve|decide|report|next"
    run = dag.test(run_conf={"config": str(config)}, mark_success_pattern=others)
    instances = {found.task_id: found for found in run.get_task_instances()}
    states = {name: str(instances[name].state) for name in ("plan", "warm_start")}
    return states, instances["warm_start"].xcom_pull(task_ids="warm_start")


@pytest.mark.slow
def test_a_deferred_stage_hands_on_what_its_job_committed(
    dag_bag: DagBag, database: None, ray_config: Path, fake: FakeHead
) -> None:
    def work(submission_id: str) -> None:
        pipeline.run_stage("warm_start", str(ray_config), overrides={}, iteration=0)

    fake.on_success = work
    fake.fates = [["PENDING", "RUNNING", "SUCCEEDED"]]

    states, left = ran(dag_bag.dags["itpo_iteration"], ray_config)

    (sent,) = fake.submitted
    store = open_store(str(ray_config.parent / "lake"))
    assert states == {"plan": "success", "warm_start": "success"}
    assert left["job"] == sent["submission_id"]
    assert left["result"]["commit"] == "tiny/policy/0000"
    assert run_logs.read(store, "tiny")[sent["submission_id"]][:2] == ["epoch 1", "epoch 2"]
