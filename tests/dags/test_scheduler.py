"""A real scheduler: the clock and a person at once, a person's approval, and a kill -9 of everything."""

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dags.airflow_api import AirflowClient
from dags.following import DAG, TaskRow, follow, wait_for_dag
from dags.local_airflow import LocalAirflow, free_port, running, session_of
from dags.local_settings import ROOT, Place
from tasks.proof import data_digests

CLOCK = "itpo_schedule"
RUN_S = 600.0

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]


def quiet(text: str) -> None:
    """Say nothing."""


@pytest.fixture
def airflow(tmp_path: Path, tiny_config: Path) -> Iterator[LocalAirflow]:
    """A real Airflow whose clock starts the tiny configuration: at once when asked to, then every night."""
    place = Place(tmp_path / "home", free_port(18080))
    clock = {"ITPO_SCHEDULE_CONFIG": str(tiny_config)}
    with running(place, extra=clock) as airflow:
        wait_for_dag(airflow, airflow.client())
        yield airflow


def ended(client: AirflowClient, run_ids: set[str]) -> dict[str, str]:
    """State of the runs by id, once all of these have ended."""
    deadline = time.monotonic() + RUN_S
    while time.monotonic() < deadline:
        states = {run["dag_run_id"]: run["state"] for run in client.runs(DAG)}
        if run_ids <= states.keys() and set(states.values()) <= {"success", "failed"}:
            return states
        time.sleep(1.0)
    raise AssertionError(f"{run_ids} did not end within {RUN_S} s: {client.runs(DAG)}")


def task_in_state(client: AirflowClient, run_id: str, *, task_id: str, state: str) -> TaskRow:
    deadline = time.monotonic() + RUN_S
    while time.monotonic() < deadline:
        for task in client.task_instances(DAG, run_id):
            if (task["task_id"], task["state"]) == (task_id, state):
                return task
        time.sleep(1.0)
    raise AssertionError(f"{task_id} of {run_id} never was {state}")


def planned_iteration(client: AirflowClient, run_id: str) -> int:
    plan = next(task for task in client.task_instances(DAG, run_id) if task["task_id"] == "plan")
    return client.xcom(plan, key="iteration")


def test_the_clock_and_a_person_at_once_give_two_iterations_and_none_twice(
    airflow: LocalAirflow, tiny_config: Path
) -> None:
    client = airflow.client()

    client.unpause(CLOCK)
    client.unpause(DAG)
    client.trigger(DAG, run_id="by-hand", conf={"config": str(tiny_config)})
    states = ended(client, {"by-hand", "tiny-0000"})

    iterations = {run_id: planned_iteration(client, run_id) for run_id in states}
    assert states == {"by-hand": "success", "tiny-0000": "success"}
    assert sorted(iterations.values()) == [0, 1]
    assert [run["run_type"] for run in client.runs(CLOCK)] == ["scheduled"]


def test_a_person_is_asked_before_the_decision_when_the_run_says_so(
    airflow: LocalAirflow, tiny_config: Path
) -> None:
    client = airflow.client()
    client.unpause(DAG)
    client.trigger(DAG, run_id="asks", conf={"config": str(tiny_config), "require_approval": True})

    waiting = task_in_state(client, "asks", task_id="approve", state="awaiting_input")
    undecided = [task["state"] for task in client.task_instances(DAG, "asks") if task["task_id"] == "decide"]
    time.sleep(4.0)  # an answer before Airflow has seen the task's process end would be asked for again
    client.answer(waiting, "Approve")

    assert undecided == [None]
    assert ended(client, {"asks"}) == {"asks": "success"}


def unbroken_digests(config: Path, folder: Path) -> dict[str, str]:
    """The same experiment in one process, in a lake of its own."""
    command = [sys.executable, "-m", "tasks", "run", "--config", str(config), "--iterations", "1"]
    surroundings = {"ITPO_LAKE": str(folder / "lake"), "ITPO_WORK": str(folder / "work")}
    subprocess.run(command, cwd=ROOT, env=os.environ | surroundings, check=True, capture_output=True)
    return data_digests(str(config), {})


def test_killed_at_a_random_moment_and_started_again_it_ends_with_the_same_data(
    tmp_path: Path, tiny_config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seed = int(os.environ.get("ITPO_KILL_SEED", random.SystemRandom().randrange(10_000)))
    delay_s = random.Random(seed).uniform(1.0, 40.0)
    print(f"ITPO_KILL_SEED={seed}: everything is killed after {delay_s:.1f} s")
    place = Place(tmp_path / "home", free_port(18080))

    with running(place) as first:
        client = first.client()
        wait_for_dag(first, client)
        client.unpause(DAG)
        client.trigger(DAG, run_id="tiny-0000", conf={"config": str(tiny_config), "iterations": 2})
        time.sleep(delay_s)
        for part in first.parts.values():
            for process in session_of(part.pid):
                process.kill()
    with running(place) as second:
        run_ids = follow(second, second.client(), say=quiet, show=quiet, timeout_s=RUN_S)
    broken = data_digests(str(tiny_config), {})

    monkeypatch.setenv("ITPO_LAKE", str(tmp_path / "unbroken" / "lake"))
    assert run_ids == ["tiny-0000", "tiny-0001"]
    assert broken == unbroken_digests(tiny_config, tmp_path / "unbroken")
    assert len(broken) > 10
