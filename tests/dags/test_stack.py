"""The stack itself: docker-compose.yml without containers, an iteration on it, nothing left at the end."""

import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from dags import stack, stack_processes
from dags.local_airflow import free_port
from dags.local_settings import ROOT
from dags.stack_compose import PORTS
from tests.dags.conftest import TINY

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(2700)]
UP_S = 1200.0
RAY = '[ray]\nstages = ["train_policy"]\npoll_s = 1.0\n'


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that the user of PostgreSQL may enter, as pytest's own is not."""
    made = Path(tempfile.mkdtemp(prefix="itpo-test-"))
    made.chmod(0o755)
    yield made
    stack_processes.stop_leftovers(made / "stack")
    shutil.rmtree(made, ignore_errors=True)


def own_ports() -> dict[str, int]:
    """Ports that are free now, all different."""
    ports: dict[str, int] = {}
    for key in PORTS:
        ports[key] = free_port(max(ports.values(), default=23000) + 1)
    return ports


def lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_an_iteration_runs_on_the_stack_and_nothing_is_left(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = folder / "tiny.toml"
    config.write_text(TINY + RAY)
    config.chmod(0o644)

    with stack.running(folder / "stack", ports=own_ports(), timeout_s=UP_S) as running:
        stack.iterate(running, config, timeout_s=UP_S)
        checked = {
            name: stack_processes.is_healthy(part)
            for name, part in running.parts.items()
            if part.service.health
        }
        processes = stack_processes.family(folder / "stack")
        objects = [path for path in (folder / "stack" / "bucket").rglob("*") if path.is_file()]

    said = capsys.readouterr().out
    assert "on the Ray head: itpo-tiny-0001-train_policy-" in said
    assert checked == dict.fromkeys(checked, True)
    assert len(checked) == 7
    assert len(objects) > 50  # the lake is in the bucket, and nothing of it is in a folder
    assert list((folder / "stack" / "lake").iterdir()) == []
    assert len(processes) > len(running.parts)
    assert [process for process in processes if lives(process)] == []
    assert stack_processes.family(folder / "stack") == set()


@pytest.mark.parametrize("at_least", [1, 12])  # while the database is made; while Ray and others start
def test_ctrl_c_on_the_way_up_stops_everything(folder: Path, at_least: int) -> None:
    ports = [f"--port={key}={port}" for key, port in own_ports().items()]
    command = [sys.executable, "-m", "dags.stack", "run", "--folder", str(folder), *ports]

    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, start_new_session=True) as process:
        started = some_of(folder / "run", at_least=at_least)
        temp = Path(json.loads((folder / "run" / "processes.json").read_text())["temp"])
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=120.0)

    assert process.returncode == 130
    assert b"everything is stopped" in said
    assert not temp.exists()
    assert [each for each in started if lives(each)] == []


def some_of(folder: Path, *, at_least: int) -> set[psutil.Process]:
    """The processes of the stack once there are some."""
    deadline = time.monotonic() + UP_S
    while time.monotonic() < deadline:
        if len(found := stack_processes.family(folder)) >= at_least:
            return found
        time.sleep(0.1)
    raise AssertionError("nothing was started")
