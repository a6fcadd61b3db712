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

START_S = 150.0
RAY = Path(sys.executable).with_name("ray")
MARK = "ITPO_TEST_RAY"  # in the environment of everything that a head starts, its jobs too

# Parts of the dashboard are given up after half a minute, which is too soon where many share two cores.
PATIENT = {"RAY_DASHBOARD_SUBPROCESS_MODULE_WAIT_READY_TIMEOUT": "140"}


@dataclass(slots=True)
class RealHead:
    """One head; its folder marks everything that it starts."""

    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="itpo-ray-")))
    port: int = field(default_factory=lambda: free_port(38265))

    @property
    def head(self) -> RayHead:
        """Its client."""
        return RayHead(f"http://127.0.0.1:{self.port}")

    def start(self) -> None:
        """Start and wait until the Jobs API answers."""
        command = [
            str(RAY), "start", "--head", "--disable-usage-stats", "--num-cpus=2", "--num-gpus=0",
            "--node-ip-address=127.0.0.1", f"--port={free_port(self.port + 1)}",
            "--dashboard-host=127.0.0.1", f"--dashboard-port={self.port}",
            f"--dashboard-agent-listen-port={free_port(self.port + 101)}",
            f"--ray-client-server-port={free_port(self.port + 201)}", "--min-worker-port=0",
            "--max-worker-port=0", "--object-store-memory=80000000", f"--temp-dir={self.folder}",
        ]  # fmt: skip
        env = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
        with (self.folder / "head.log").open("ab") as out:
            done = subprocess.run(
                command, stdout=out, stderr=out, stdin=subprocess.DEVNULL, check=False,
                timeout=START_S, env=env | PATIENT | {MARK: str(self.folder)},
            )  # fmt: skip
        assert done.returncode == 0, tail(self.folder / "head.log")
        self._wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            try:
                self.head.ask(ray_jobs.jobs())
                return
            except RayTrouble:
                time.sleep(0.2)
        raise AssertionError(f"no Ray head after {START_S} s\n{tail(self.folder / 'head.log')}")

    def kill(self) -> None:
        """kill -9 of everything: what a machine does when it is gone."""
        while found := self.processes():
            for process in found:
                process.kill()
            psutil.wait_procs(found, timeout=5.0)

    def remove(self) -> None:
        """Kill what runs and remove the folder."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def processes(self) -> list[psutil.Process]:
        """All that it started and that lives."""
        found = []
        for process in psutil.process_iter():
            try:
                is_ours = process.environ().get(MARK) == str(self.folder)
                if is_ours and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        return found
