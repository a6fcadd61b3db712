"""A local Airflow as a set of processes: prepared, started, watched, and stopped without a trace.

Each part leads a session of its own. Airflow moves its tasks into process groups of their own, so a part is
stopped by session, not by group: everything in the session gets TERM, then KILL.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from dags.airflow_api import AirflowClient
from dags.local_settings import HOST, ROOT, USER, Place, environment, kept_secret, preset_login

PARTS = {
    "api-server": ("api-server",),
    "scheduler": ("scheduler", "--skip-serve-logs"),
    "dag-processor": ("dag-processor",),
}
TRIGGERER = {"triggerer": ("triggerer", "--skip-serve-logs")}
PREPARE = """
from airflow.utils.db import initdb
from airflow.models.pool import Pool
initdb()
Pool.create_or_update_pool("trainer", 1, "one training at a time", include_deferred=True)
"""


class LocalAirflowFailed(RuntimeError):
    """A part died or did not become healthy; the message ends with the tail of its log."""


@dataclass(frozen=True, slots=True)
class LocalAirflow:
    """A running local Airflow: where it is, who may log in, and its processes by name."""

    place: Place
    password: str
    parts: dict[str, subprocess.Popen[bytes]]

    def client(self) -> AirflowClient:
        """A logged-in caller of its REST API."""
        client = AirflowClient(self.place.url, USER, self.password)
        client.log_in()
        return client

    def check_alive(self) -> None:
        """Raise LocalAirflowFailed when any part has ended."""
        for name, process in self.parts.items():
            if process.poll() is not None:
                log = tail(self.place.logs / f"{name}.log")
                raise LocalAirflowFailed(f"airflow {name} ended with code {process.returncode}:\n{log}")


def free_port(first: int, *, tries: int = 50) -> int:
    """The first port from `first` on that nobody on loopback listens on."""
    for port in range(first, first + tries):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port
    raise LocalAirflowFailed(
        f"no free port among {first} to {first + tries - 1}: stop something, or give another port"
    )


def tail(path: Path, *, lines: int = 25) -> str:
    """The last lines of a log."""
    if not path.exists():
        return f"({path} was never written)"
    return f"{path}:\n" + "\n".join(path.read_text(errors="replace").splitlines()[-lines:])


@contextmanager
def running(
    place: Place,
    *,
    with_triggerer: bool = False,
    extra: dict[str, str] | None = None,
    timeout_s: float = 240.0,
) -> Generator[LocalAirflow]:
    """Prepare, start, wait until healthy, hand out; stop everything at the end, whatever happened."""
    airflow = start(place, with_triggerer=with_triggerer, extra=extra)
    try:
        wait_until_healthy(airflow, timeout_s=timeout_s)
        yield airflow
    finally:
        stop(airflow)


def start(place: Place, *, with_triggerer: bool = False, extra: dict[str, str] | None = None) -> LocalAirflow:
    """Stop what an earlier, killed start left behind; make or migrate the database; start the parts."""
    stop_leftovers(place)
    place.logs.mkdir(parents=True, exist_ok=True)
    password = preset_login(place)
    env = environment(place, jwt_secret=kept_secret(place), extra=extra)
    _prepare(place, env)
    wanted = PARTS | (TRIGGERER if with_triggerer else {})
    airflow = LocalAirflow(place, password, {name: _spawn(name, wanted[name], place, env) for name in wanted})
    _note(airflow)
    return airflow


def wait_until_healthy(airflow: LocalAirflow, *, timeout_s: float) -> None:
    """Until every part says so. Processes are watched too: a stranger on the port would also look healthy."""
    client = AirflowClient(airflow.place.url, USER, airflow.password)
    deadline = time.monotonic() + timeout_s
    status: dict[str, str | None] = {}
    while time.monotonic() < deadline:
        airflow.check_alive()
        if not status and (status := client.health()):
            client.warm_up()
        status = client.health()
        if status and all(
            status.get(part) == "healthy" for part in ("metadatabase", "scheduler", "dag_processor")
        ):
            return
        time.sleep(0.5)
    logs = "\n".join(tail(airflow.place.logs / f"{name}.log") for name in airflow.parts)
    raise LocalAirflowFailed(f"Airflow was not healthy after {timeout_s:.0f} s ({status}):\n{logs}")


def stop(airflow: LocalAirflow, *, grace_s: float = 5.0) -> None:
    """TERM to everything in the sessions of the parts, then KILL; waits until they are gone."""
    end_sessions([process.pid for process in airflow.parts.values()], grace_s=grace_s)
    for process in airflow.parts.values():
        process.wait()
    _noted(airflow.place).unlink(missing_ok=True)


def stop_leftovers(place: Place) -> None:
    """End what an earlier start in the same folder left; a reused process id is left alone."""
    if not _noted(place).exists():
        return
    noted: dict[str, float] = json.loads(_noted(place).read_text())
    ours = [int(pid) for pid, created in noted.items() if not _is_a_stranger(int(pid), created)]
    end_sessions(ours, grace_s=2.0)
    _noted(place).unlink()


def session_of(leader: int) -> list[psutil.Process]:
    """The living processes whose session this one leads or led."""
    found = []
    for pid in psutil.pids():
        try:
            if os.getsid(pid) == leader and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                found.append(psutil.Process(pid))
        except (ProcessLookupError, PermissionError, psutil.NoSuchProcess):
            continue
    return found


def end_sessions(leaders: list[int], *, grace_s: float) -> None:
    """TERM, wait at most `grace_s`, KILL, and wait again."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        _signal_all(_members(leaders), number)
        deadline = time.monotonic() + grace_s
        while _members(leaders) and time.monotonic() < deadline:
            time.sleep(0.1)


def _members(leaders: list[int]) -> list[psutil.Process]:
    return [process for leader in leaders for process in session_of(leader)]


def _signal_all(processes: list[psutil.Process], number: int) -> None:
    for process in processes:
        try:
            process.send_signal(number)
        except psutil.NoSuchProcess:
            continue


def _is_a_stranger(pid: int, created: float) -> bool:
    # A dead leader's id is not given away while its session has members, so it may still be asked for them.
    try:
        return abs(psutil.Process(pid).create_time() - created) >= 1.0
    except psutil.NoSuchProcess:
        return False


def _noted(place: Place) -> Path:
    return place.home / "processes.json"


def _note(airflow: LocalAirflow) -> None:
    started = {
        str(process.pid): psutil.Process(process.pid).create_time() for process in airflow.parts.values()
    }
    _noted(airflow.place).write_text(json.dumps(started))


def _prepare(place: Place, env: dict[str, str]) -> None:
    log = place.logs / "prepare.log"
    with log.open("wb") as out:
        done = subprocess.run(
            [sys.executable, "-c", PREPARE], env=env, cwd=ROOT, stdout=out, stderr=out, check=False
        )
    if done.returncode != 0:
        raise LocalAirflowFailed(f"preparing the database failed:\n{tail(log)}")


def _spawn(
    name: str, arguments: tuple[str, ...], place: Place, env: dict[str, str]
) -> subprocess.Popen[bytes]:
    with (place.logs / f"{name}.log").open("wb") as out:
        return subprocess.Popen(
            [sys.executable, "-m", "airflow", *arguments],
            env=env, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
        )  # fmt: skip
