"""The DAG itself, its training a job of a real Ray head and there OpenRLHF: `make test-openrlhf`."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.utils.db import initdb

from storage import registry, run_logs
from storage.paths import repository_root
from storage.stores import open_store
from tests.dags.real_ray_head import RealHead
from tests.openrlhf.on_cpu import HALF_AN_HOUR_S, PYTHON

CONFIG = repository_root() / "configs" / "sales_openrlhf_cpu.toml"
NAME = "sales-openrlhf-cpu"
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(3 * HALF_AN_HOUR_S)]


@pytest.fixture(scope="module")
def database() -> None:
    initdb()


@pytest.fixture
def head() -> Iterator[RealHead]:
    """OpenRLHF's own Ray, which counts GPUs that do not exist."""
    head = RealHead(cpus=8, gpus=4, ray=PYTHON.with_name("ray"))
    try:
        head.start()
        yield head
    finally:
        head.remove()


def test_each_run_trains_a_version_by_a_job_of_the_cluster(
    dag_bag: DagBag, database: None, head: RealHead, tmp_path: Path
) -> None:
    config, stage, lake = tmp_path / "cpu.toml", tmp_path / "stage", tmp_path / "lake"
    shipped = CONFIG.read_text().replace('stage_folder = ".work/openrlhf"', f'stage_folder = "{stage}"')
    ray = f'[ray]\nstages = ["train_policy"]\naddress = "http://127.0.0.1:{head.port}"\n'
    config.write_text(f'{shipped}\n{ray}\n[lake]\nroot = "{lake}"\n')

    # The first run starts from logs; the other two train.
    runs = [dag_bag.dags["itpo_iteration"].test(run_conf={"config": str(config)}) for _ in range(3)]

    assert [str(run.state) for run in runs] == ["success"] * 3
    store = open_store(str(lake))
    versions = registry.versions(store, NAME)
    assert [version.parent for version in versions] == [None, f"{NAME}/v0000", f"{NAME}/v0001"]
    # What the job said, and what OpenRLHF said inside it, once each.
    assert len(run_logs.names(store, NAME, prefix="itpo-")) == 2
    assert len(run_logs.names(store, NAME, prefix="openrlhf-")) == 2
