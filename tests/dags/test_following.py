"""Following runs that start one another, against an Airflow that answers by heart."""

from pathlib import Path

import pytest

from dags.airflow_api import AirflowClient
from dags.following import DAG, RunFailed, TaskRow, figures, follow, work_intervals
from dags.local_airflow import LocalAirflow
from dags.local_settings import Place


def task(
    run_id: str, task_id: str, *, state: str = "success", map_index: int = -1, label: str | None = None
) -> TaskRow:
    return {
        "dag_id": DAG, "dag_run_id": run_id, "task_id": task_id, "state": state, "map_index": map_index,
        "rendered_map_index": label, "duration": 1.5, "end_date": "2026-01-01T00:00:00Z",
    }  # fmt: skip


class Recited(AirflowClient):
    """Each look at the runs shows the next of the given moments; the last one stays."""

    def __init__(self, *moments: dict[str, tuple[str, list[TaskRow]]]) -> None:
        super().__init__("http://127.0.0.1:1", "nobody", "none")
        self.moments = list(moments)

    def runs(self, dag_id: str) -> list[TaskRow]:
        if len(self.moments) > 1:
            self.moments.pop(0)
        return [{"dag_run_id": run_id, "state": state} for run_id, (state, _) in self.moments[0].items()]

    def task_instances(self, dag_id: str, run_id: str) -> list[TaskRow]:
        return self.moments[0][run_id][1]

    def xcom(self, task: TaskRow, key: str = "return_value") -> TaskRow:
        return {"began": 100.0, "seconds": 4.0, "result": {"figures": {"key": key}}}


def alone(home: Path) -> LocalAirflow:
    return LocalAirflow(Place(home, 1), "none", parts={})


def followed(client: AirflowClient, home: Path) -> tuple[list[str], list[str]]:
    said: list[str] = []
    run_ids = follow(alone(home), client, say=said.append, show=lambda text: None, timeout_s=5.0, poll_s=0.0)
    return run_ids, said


def test_it_goes_on_until_a_run_starts_no_other(tmp_path: Path) -> None:
    first = ("success", [task("demo-0000", "next")])
    client = Recited(
        {},
        {"demo-0000": ("running", [task("demo-0000", "plan", state="running")])},
        {"demo-0000": first},
        {"demo-0000": first, "demo-0001": ("success", [task("demo-0001", "next", state="skipped")])},
    )

    run_ids, said = followed(client, tmp_path)

    assert run_ids == ["demo-0000", "demo-0001"]
    assert said == [f"demo-0000  {'next':24}     1.5 s"]


def test_every_finished_task_is_said_once_with_its_shard(tmp_path: Path) -> None:
    shards = [task("demo-0001", "collect", map_index=index, label=f"shard-{index:03d}") for index in range(2)]
    client = Recited(
        {},
        {"demo-0001": ("running", shards)},
        {"demo-0001": ("success", [*shards, task("demo-0001", "next", state="skipped")])},
    )

    said = followed(client, tmp_path)[1]

    assert [line.split()[1:3] for line in said] == [["collect", "shard-000"], ["collect", "shard-001"]]


def test_a_red_run_is_named_with_the_end_of_its_log(tmp_path: Path) -> None:
    log = tmp_path / "logs" / f"dag_id={DAG}" / "run_id=demo-0000" / "task_id=curate" / "attempt=1.log"
    log.parent.mkdir(parents=True)
    log.write_text("the cause")
    client = Recited({"demo-0000": ("failed", [task("demo-0000", "curate", state="failed")])})

    with pytest.raises(RunFailed, match=r"run demo-0000 failed in curate\n.*attempt=1.log:\nthe cause"):
        followed(client, tmp_path)


def test_only_work_of_this_start_is_counted() -> None:
    client = Recited({"demo-0000": ("success", [task("demo-0000", "credit"), task("demo-0000", "plan")])})

    assert [each.stage for each in work_intervals(client, ["demo-0000"], since_s=99.0)] == ["credit"]
    assert work_intervals(client, ["demo-0000"], since_s=101.0) == []


def test_figures_of_the_branch_lie_under_a_key_of_their_own() -> None:
    client = Recited({"demo-0000": ("success", [task("demo-0000", "evaluate"), task("demo-0000", "report")])})

    assert figures(client, "demo-0000", task_id="evaluate") == {"key": "work"}
    assert figures(client, "demo-0000", task_id="report") == {"key": "return_value"}
