"""A real Ray head on loopback for tests: ports of its own, killed whole, started again."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from dags import ray_jobs
from dags.local_airflow import free_port, tail
from dags.ray_jobs import RayHead, RayTrouble

START_S = 400.0
RAY = Path(sys.executable).with_name("ray")
MARK = "ITPO_TEST_RAY"  # in the environment of everything that a head starts, its jobs too

# Parts of the dashboard are given up after half a minute, which is too soon where many share two cores.
PATIENT = {"RAY_DASHBOARD_SUBPROCESS_MODULE_WAIT_READY_TIMEOUT": "300"}
# What answers the Jobs API, of eleven modules that are a process each: half of the head's processor time.
MODULES = "UsageStatsHead,JobHead,NodeHead,ReportHead"


@dataclass(slots=True)
class RealHead:
    """One head; its folder marks everything that it starts. Its dashboard has no pages."""

    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="itpo-ray-")))
    port: int = field(default_factory=lambda: free_port(38265))
    cpus: int = 2
    gpus: int = 0  # of Ray's counting: tests have none
    ray: Path = RAY
    address: str = ""  # where other nodes join

    @property
    def head(self) -> RayHead:
        """Its client."""
        return RayHead(f"http://127.0.0.1:{self.port}")

    def start(self) -> None:
        """Start and wait until the Jobs API answers."""
        gcs = free_port(self.port + 1)
        self.address = f"127.0.0.1:{gcs}"
        options = [
            "--head", "--include-dashboard=false", f"--num-cpus={self.cpus}",
            f"--num-gpus={self.gpus}", f"--port={gcs}",
            "--dashboard-host=127.0.0.1", f"--dashboard-port={self.port}",
            f"--dashboard-agent-listen-port={free_port(self.port + 101)}",
            f"--ray-client-server-port={free_port(self.port + 201)}", f"--temp-dir={self.folder}",
        ]  # fmt: skip
        _ray_start(options, folder=self.folder, ray=self.ray)
        self._serve()
        self._wait()

    def _serve(self) -> None:
        """Put Ray's own server, with more modules, in place of the one that serves nobody."""
        (idle,) = [each for each in self.processes() if "--disable-frontend" in each.cmdline()]
        left_out = ("--modules-to-load=", "--disable-frontend")
        command = [part for part in idle.cmdline() if not part.startswith(left_out)]
        env = idle.environ()
        idle.kill()
        psutil.wait_procs([idle], timeout=5.0)
        subprocess.run(
            ["setsid", "--fork", *command, f"--modules-to-load={MODULES}"], env=env, check=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def _wait(self) -> None:
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            try:
                self.head.ask(ray_jobs.jobs())
                return
            except RayTrouble:
                time.sleep(0.2)
        raise AssertionError(f"no Ray head after {START_S} s\n{tail(self.folder / 'start.log')}")

    def kill(self) -> None:
        """kill -9 of everything: what a machine does when it is gone."""
        _kill(self.folder)

    def remove(self) -> None:
        """Kill what runs and remove the folder."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def processes(self) -> list[psutil.Process]:
        """All that it started and that lives."""
        return _processes(self.folder)


@dataclass(slots=True)
class RealNode:
    """Another node of a head's cluster, with one CPU; a machine of its own as far as Ray knows."""

    head: RealHead
    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="itpo-node-")))

    def start(self) -> None:
        """Join the cluster."""
        agent = free_port(self.head.port + 301)
        options = [
            f"--address={self.head.address}", "--num-cpus=1", "--num-gpus=0",
            f"--dashboard-agent-listen-port={agent}",
        ]  # fmt: skip
        _ray_start(options, folder=self.folder)

    def kill(self) -> None:
        """kill -9 of everything on it."""
        _kill(self.folder)

    def pids(self) -> set[int]:
        """Everything on it."""
        return {process.pid for process in _processes(self.folder)}

    def remove(self) -> None:
        """Kill what runs and remove the folder."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


def _ray_start(options: list[str], *, folder: Path, ray: Path = RAY) -> None:
    """Again where Ray gives up: it waits seconds for its own parts, of which a busy machine makes minutes."""
    command = [
        str(ray), "start", "--disable-usage-stats", "--node-ip-address=127.0.0.1",
        "--min-worker-port=0", "--max-worker-port=0", "--object-store-memory=80000000", *options,
    ]  # fmt: skip
    deadline = time.monotonic() + START_S
    while not _has_started(command, folder):
        assert time.monotonic() < deadline, tail(folder / "start.log")
        _kill(folder)


def _has_started(command: list[str], folder: Path) -> bool:
    env = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
    with (folder / "start.log").open("ab") as out:
        done = subprocess.run(
            command, stdout=out, stderr=out, stdin=subprocess.DEVNULL, check=False,
            timeout=START_S, env=env | PATIENT | {MARK: str(folder)}, start_new_session=True,
        )  # fmt: skip
    return done.returncode == 0


def _kill(folder: Path) -> None:
    while found := _processes(folder):
        for process in found:
            process.kill()
        psutil.wait_procs(found, timeout=5.0)


def _processes(folder: Path) -> list[psutil.Process]:
    """Everything with the mark, and everything in a session with it: agents write over their environment."""
    living = [each for each in psutil.process_iter() if _is_alive(each)]
    sessions = {_session(each) for each in living if _is_marked(each, folder)} - {None}
    return [each for each in living if _session(each) in sessions]


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _is_marked(process: psutil.Process, folder: Path) -> bool:
    try:
        return process.environ().get(MARK) == str(folder)
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False


def _session(process: psutil.Process) -> int | None:
    try:
        return os.getsid(process.pid)
    except ProcessLookupError:
        return None
