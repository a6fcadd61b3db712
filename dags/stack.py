"""`make stack`: the processes of docker-compose.yml without containers, one iteration on them, a clean stop.

`up` leaves them running, `down` stops them. Ctrl-C stops everything, too.
"""

import argparse
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rich.console import Console

from dags import stack_processes
from dags.airflow_api import AirflowClient, AirflowRefused
from dags.demo import print_times
from dags.following import DAG, RunFailed, follow, wait_for_dag, work_intervals
from dags.local_airflow import LocalAirflow, LocalAirflowFailed, wait_until_healthy
from dags.local_settings import ROOT, USER, Place
from dags.stack_compose import StackFailed
from dags.stack_processes import Stack
from dags.stack_settings import chosen_ports
from dags.time_shares import divide

OUT = Console(highlight=False)
CONFIG = ROOT / "configs" / "sales_ray.toml"
FOLDER = ROOT / ".stack"
FAILURES = (StackFailed, LocalAirflowFailed, RunFailed, AirflowRefused)


def main(arguments: list[str] | None = None) -> int:
    """0 when all went well, 2 with the reason when something broke, 130 after Ctrl-C."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    given = _parsed(arguments)
    try:
        COMMANDS[given.command](given)
    except KeyboardInterrupt:
        OUT.print("interrupted; everything is stopped")
        return 130
    except FAILURES as failure:
        OUT.print(str(failure), markup=False)
        return 2
    return 0


def run_once(given: argparse.Namespace) -> None:
    """Start in an empty folder, run iterations 0 and 1, check the receipts, stop."""
    folder = given.folder / "run"
    stack_processes.stop_leftovers(folder)
    shutil.rmtree(folder, ignore_errors=True)
    with running(folder, ports=chosen_ports(given.port), timeout_s=given.timeout_s) as stack:
        iterate(stack, given.config, timeout_s=given.timeout_s)
    OUT.print(f"stopped, nothing is left running; logs: {stack.place.home / 'logs'}")


def up(given: argparse.Namespace) -> None:
    """Start and leave running; what is there of an earlier start is used again."""
    folder = given.folder / "kept"
    with ExitStack() as on_failure:
        stack = stack_processes.prepared(folder, ports=chosen_ports(given.port))
        on_failure.callback(_stop, stack)
        _bring_up(stack, timeout_s=given.timeout_s)
        airflow_of(stack).client().unpause(DAG)
        on_failure.pop_all()
    airflow = airflow_of(stack)
    OUT.print(f"{airflow.place.url}  user {USER}  password {airflow.password}  (loopback only)")
    OUT.print(
        f"Ray: http://127.0.0.1:{stack.place.ports['ray_dashboard']}; `make stack-down` stops everything"
    )


def down(given: argparse.Namespace) -> None:
    """Stop what `up` left running; its data stays."""
    stack_processes.stop_leftovers(given.folder / "kept")
    OUT.print("stopped, nothing is left running")


@contextmanager
def running(folder: Path, *, ports: dict[str, int], timeout_s: float) -> Generator[Stack]:
    """A stack that is up; stopped at the end, whatever happened."""
    stack = stack_processes.prepared(folder, ports=ports)
    try:
        _bring_up(stack, timeout_s=timeout_s)
        yield stack
    finally:
        _stop(stack)


def airflow_of(stack: Stack) -> LocalAirflow:
    """The Airflow of the stack; all of its parts are watched as Airflow's are."""
    lasting = {name: p for name, p in stack.processes.items() if not stack.parts[name].service.is_one_shot}
    place = Place(stack.place.home, stack.place.ports["api"])
    return LocalAirflow(place, stack.variables["ITPO_ADMIN_PASSWORD"], lasting)


def iterate(stack: Stack, config: Path, *, timeout_s: float) -> None:
    """Iteration 0, which starts a policy from logs, and iteration 1, which improves it; then the receipts."""
    began_s, airflow = time.time(), airflow_of(stack)
    client = airflow.client()
    wait_for_dag(airflow, client)
    client.unpause(DAG)
    client.trigger(DAG, run_id="stack-0000", conf={"config": str(config.resolve()), "iterations": 2})
    with OUT.status("running") as status:
        run_ids = follow(airflow, client, say=OUT.print, show=status.update, timeout_s=timeout_s)
    intervals = work_intervals(client, run_ids, since_s=began_s)
    print_times(divide(intervals, began_s=began_s, triggered_s=began_s, ended_s=time.time()), intervals)
    OUT.print(jobs_of(client, run_ids))
    OUT.print(receipts(stack, config), markup=False)


def jobs_of(client: AirflowClient, run_ids: list[str]) -> str:
    """Which stages were jobs of the Ray head."""
    tasks = [task for run_id in run_ids for task in client.task_instances(DAG, run_id)]
    found = [client.xcom(task) for task in tasks if task["task_id"] in {"warm_start", "train_policy"}]
    jobs = [work["job"] for work in found if work and "job" in work]
    return f"on the Ray head: {', '.join(jobs) or 'nothing'}"


def receipts(stack: Stack, config: Path) -> str:
    """What `itpo verify` says of the lake; StackFailed when it finds fault."""
    command = [sys.executable, "-m", "tasks", "verify", "--config", str(config)]
    environment = stack.parts["airflow-scheduler"].environment
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise StackFailed(f"itpo verify ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout.strip()


def _bring_up(stack: Stack, *, timeout_s: float) -> None:
    began_s = time.monotonic()
    with OUT.status("starting PostgreSQL, the S3 server, Ray and Airflow"):
        stack_processes.start(stack, timeout_s=timeout_s)
        wait_until_healthy(airflow_of(stack), timeout_s=timeout_s)
    OUT.print(f"up after {time.monotonic() - began_s:.0f} s: {', '.join(stack.parts)}")


def _stop(stack: Stack) -> None:
    # A second Ctrl-C in the middle would leave half of it running.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        stack_processes.stop(stack.place.folder, stack.processes)
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


COMMANDS = {"run": run_once, "up": up, "down": down}


def _parsed(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m dags.stack", description=__doc__)
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="short, and open to PostgreSQL's user")
    parser.add_argument("--config", type=Path, default=CONFIG)
    parser.add_argument("--port", action="append", default=[], metavar="KEY=PORT")
    parser.add_argument("--timeout-s", type=float, default=1800.0)
    given = parser.parse_args(arguments)
    given.folder = given.folder.resolve()
    return given


if __name__ == "__main__":
    sys.exit(main())
