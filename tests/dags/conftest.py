"""An Airflow of its own for these tests: its settings stand before anything imports Airflow."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HOME = Path(tempfile.mkdtemp(prefix="itpo-airflow-"))
os.environ |= {
    "AIRFLOW_HOME": str(HOME),
    "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
    "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{HOME / 'airflow.db'}",
}

import pytest  # noqa: E402
from airflow.dag_processing.dagbag import DagBag  # noqa: E402

TINY = """
experiment = "tiny"
seed = 7
[logs]
scripted_conversations = 64
scripted_requests = 64
[collect]
conversations = 64
group_size = 8
batch = 32
[warm_start]
steps = 20
min_copy_accuracy = 0.0
min_start_success = 0.0
[reward]
first_epochs = 1
min_heldout_auc = 0.0
[train]
epochs = 1
[evaluate]
unseen_scenarios = 16
seen_scenarios = 16
bootstrap = 100
"""


@pytest.fixture(scope="session", autouse=True)
def airflow_home() -> Iterator[Path]:
    """The folder of this Airflow, removed at the end."""
    yield HOME
    shutil.rmtree(HOME, ignore_errors=True)


@pytest.fixture(scope="session")
def dag_bag() -> DagBag:
    """Every DAG file of the project."""
    return DagBag(ROOT / "dags")


@pytest.fixture
def tiny_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A real configuration that takes seconds; its lake and scratch folders are the test's own."""
    monkeypatch.setenv("ITPO_LAKE", str(tmp_path / "lake"))
    monkeypatch.setenv("ITPO_WORK", str(tmp_path / "work"))
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    return path
