"""`make ui`: a local Airflow with its web pages on loopback, until Ctrl-C."""

import argparse
import signal
import sys
import time
from pathlib import Path

from rich.console import Console

from dags.following import DAG, RunFailed, wait_for_dag
from dags.local_airflow import LocalAirflow, LocalAirflowFailed, free_port, running
from dags.local_settings import ROOT, USER, Place

OUT = Console(highlight=False)


def main(arguments: list[str] | None = None) -> int:
    """0 after Ctrl-C, 2 when Airflow does not start or a part of it ends."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    given = _parsed(arguments)
    try:
        with running(Place(given.home.resolve(), free_port(given.port)), with_triggerer=True) as airflow:
            serve(airflow)
    except KeyboardInterrupt:
        OUT.print("stopped")
    except (LocalAirflowFailed, RunFailed) as failure:
        OUT.print(str(failure), markup=False)
        return 2
    return 0


def serve(airflow: LocalAirflow) -> None:
    """Unpause, say where to look, and watch the parts."""
    client = airflow.client()
    wait_for_dag(airflow, client)
    client.unpause(DAG)
    OUT.print(
        f"{airflow.place.url}  user {USER}  password {airflow.password}  (development login, loopback only)"
    )
    OUT.print(f"trigger {DAG} with the play button; Ctrl-C stops everything; logs: {airflow.place.logs}")
    while True:
        airflow.check_alive()
        time.sleep(2.0)


def _parsed(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m dags.ui", description=__doc__)
    parser.add_argument("--home", type=Path, default=ROOT / ".airflow", help="folder of this Airflow")
    parser.add_argument("--port", type=int, default=8080, help="the next free port is taken")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
