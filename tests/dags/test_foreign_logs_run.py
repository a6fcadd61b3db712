"""The DAG on a log file of no domain: imitation, then a step on its turns, with nothing rolled out."""

from pathlib import Path

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.utils.db import initdb

from storage import registry
from storage.stores import open_store
from tests.dags.test_iteration_run import states
from tests.foreign_logs import CONFIG_FILE, TINY, write_log

SKIPPED_IN_THE_STEP = {"import_logs", "collect", "curate", "warm_start", "fit_reward", "fit_q"}


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The shipped configuration, small, on a small file."""
    monkeypatch.setenv("ITPO_LAKE", str(tmp_path / "lake"))
    monkeypatch.setenv("ITPO_WORK", str(tmp_path / "work"))
    monkeypatch.setenv("ITPO_REPORTS", str(tmp_path / "reports"))
    lines = ['experiment = "desk"', '[domain]\nname = "logs"', f'[logs]\npaths = ["{write_log(tmp_path)}"]']
    sections: dict[str, list[str]] = {}
    for key, value in TINY.items():
        section, _, name = key.rpartition(".")
        if section not in ("", "logs"):
            sections.setdefault(section, []).append(f"{name} = {value}")
    lines += [f"[{section}]\n" + "\n".join(names) for section, names in sections.items()]
    path = tmp_path / CONFIG_FILE.name
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.slow
@pytest.mark.e2e
def test_the_step_on_logged_turns_is_a_run_of_its_own(dag_bag: DagBag, config: Path) -> None:
    initdb()
    dag = dag_bag.dags["itpo_iteration"]

    logs, step = states(dag, config), states(dag, config)

    assert {task for task in logs if logs[task] == {"skipped"}} >= {"collect", "credit", "train_policy"}
    assert logs["warm_start"] == logs["decide"] == {"success"}
    assert {task for task in step if step[task] == {"skipped"}} >= SKIPPED_IN_THE_STEP
    assert step["credit"] == step["train_policy"] == step["decide"] == step["report"] == {"success"}
    store = open_store(str(config.parent / "lake"))
    assert [version.name for version in registry.versions(store, "desk")] == ["desk/v0000", "desk/v0001"]
