"""Follow the runs of `itpo_iteration`, each of which starts the next, until the budget is spent."""

import time
from collections.abc import Callable
from typing import Any

from dags.airflow_api import AirflowClient
from dags.local_airflow import LocalAirflow, tail
from dags.time_shares import Interval

DAG = "itpo_iteration"
ENDED = frozenset({"success", "failed"})
Say = Callable[[str], None]
TaskRow = dict[str, Any]  # Any: JSON values of the REST API


class RunFailed(RuntimeError):
    """A run ended red; the message names the task and ends with the tail of its log."""


def wait_for_dag(airflow: LocalAirflow, client: AirflowClient, *, timeout_s: float = 120.0) -> None:
    """Until the DAG file has been parsed; raises RunFailed with the traceback when it does not import."""
    deadline = time.monotonic() + timeout_s
    while not client.has_dag(DAG):
        airflow.check_alive()
        if errors := client.import_errors():
            raise RunFailed(f"a DAG file does not import:\n{errors[0]}")
        if time.monotonic() > deadline:
            raise RunFailed(f"{DAG} was not parsed within {timeout_s:.0f} s; see {airflow.place.logs}")
        time.sleep(0.5)


def follow(
    airflow: LocalAirflow,
    client: AirflowClient,
    *,
    say: Say,
    show: Say,
    timeout_s: float,
    poll_s: float = 2.0,
) -> list[str]:
    """Say each finished task, show what is at work, and return the run ids once nothing more will start."""
    deadline = time.monotonic() + timeout_s
    said: set[tuple[str, str, int]] = set()
    while time.monotonic() < deadline:
        airflow.check_alive()
        runs = client.runs(DAG)
        for run in runs:
            _say_new(client, run["dag_run_id"], said, say=say, show=show)
        for run in runs:
            _raise_if_failed(airflow, client, run)
        if runs and all(run["state"] in ENDED for run in runs) and _is_last(client, runs[-1]["dag_run_id"]):
            return [run["dag_run_id"] for run in runs]
        time.sleep(poll_s)
    raise RunFailed(f"not finished after {timeout_s:.0f} s; the logs are in {airflow.place.logs}")


def work_intervals(client: AirflowClient, run_ids: list[str], *, since_s: float) -> list[Interval]:
    """When each stage worked from `since_s` on, as the tasks themselves measured it."""
    found = []
    for run_id in run_ids:
        for task in client.task_instances(DAG, run_id):
            work = _work_of(client, task)
            if work is not None and work["began"] >= since_s:
                found.append(Interval(task["task_id"], work["began"], work["began"] + work["seconds"]))
    return found


def figures(client: AirflowClient, run_id: str, *, task_id: str) -> dict[str, Any]:  # Any: JSON values
    """What a stage reported."""
    tasks = [task for task in client.task_instances(DAG, run_id) if task["task_id"] == task_id]
    work = _work_of(client, tasks[0])
    return {} if work is None else work["result"]["figures"]


def _work_of(client: AirflowClient, task: TaskRow) -> TaskRow | None:
    if task["state"] != "success" or task["task_id"] in {"plan", "approve", "next"}:
        return None
    return client.xcom(task, key="work" if task["task_id"] == "evaluate" else "return_value")


def _say_new(
    client: AirflowClient, run_id: str, said: set[tuple[str, str, int]], *, say: Say, show: Say
) -> None:
    if (run_id, "", 0) in said:
        return
    tasks = client.task_instances(DAG, run_id)
    for task in sorted(tasks, key=lambda each: each["end_date"] or "9"):
        name = (run_id, task["task_id"], task["map_index"])
        if task["state"] == "success" and name not in said:
            said.add(name)
            say(f"{run_id}  {_label(task):24} {task['duration'] or 0.0:7.1f} s")
    if working := [_label(task) for task in tasks if task["state"] == "running"]:
        show(f"{run_id}: {', '.join(working)}")
    if all(task["state"] in {"success", "skipped"} for task in tasks):
        said.add((run_id, "", 0))


def _label(task: TaskRow) -> str:
    return " ".join(filter(None, (task["task_id"], task["rendered_map_index"])))


def _raise_if_failed(airflow: LocalAirflow, client: AirflowClient, run: TaskRow) -> None:
    if run["state"] != "failed":
        return
    run_id = run["dag_run_id"]
    failed = [task for task in client.task_instances(DAG, run_id) if task["state"] == "failed"]
    names = ", ".join(_label(task) for task in failed)
    folder = airflow.place.logs / f"dag_id={DAG}" / f"run_id={run_id}" / f"task_id={failed[0]['task_id']}"
    logs = sorted(folder.rglob("*.log"), key=lambda path: path.stat().st_mtime)
    raise RunFailed(f"run {run_id} failed in {names}\n{tail(logs[-1]) if logs else folder}")


def _is_last(client: AirflowClient, run_id: str) -> bool:
    return any(
        task["task_id"] == "next" and task["state"] != "success"
        for task in client.task_instances(DAG, run_id)
    )
