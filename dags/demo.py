"""`make demo`: the whole loop on a real scheduler, from logs to a policy that learned turn by turn.

An interrupted demo is resumed by the same command; a finished one is started afresh in an empty lake.
"""

import argparse
import shutil
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from dags.airflow_api import AirflowClient
from dags.following import DAG, RunFailed, figures, follow, wait_for_dag, work_intervals
from dags.local_airflow import LocalAirflow, LocalAirflowFailed, free_port, running
from dags.local_settings import ROOT, Place
from dags.time_shares import Division, Interval, divide, seconds_by_stage

MIN_GAIN_POINTS, MIN_LOWER_POINTS = 30.0, 15.0
OUT = Console(highlight=False)


@dataclass(frozen=True, slots=True)
class Demo:
    """What to run and where. `runs` counts iteration 0 too."""

    config: Path
    runs: int
    folder: Path
    timeout_s: float
    experiment: str = "demo"

    @property
    def unfinished(self) -> Path:
        """There from the first second of a demo to its last."""
        return self.folder / "unfinished"

    @property
    def conf(self) -> dict[str, object]:
        """Params of the first run."""
        return {
            "config": str(self.config.resolve()),
            "experiment": self.experiment,
            "algorithm": "norm_itpo_share",
            "iterations": self.runs,
        }

    @property
    def overrides(self) -> dict[str, object]:
        """The same as configuration values, to read the lake by."""
        return {"experiment": self.experiment, "lake.root": str(self.folder / "lake")}

    @property
    def surroundings(self) -> dict[str, str]:
        """Where the stages keep their data."""
        return {"ITPO_LAKE": str(self.folder / "lake"), "ITPO_WORK": str(self.folder / "work")}


def main(arguments: list[str] | None = None) -> int:
    """0 when the policy learned, 1 with the reason when not, 2 when something broke, 130 after Ctrl-C."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    demo = _parsed(arguments)
    try:
        return run(demo)
    except KeyboardInterrupt:
        OUT.print("interrupted; the same command goes on from here")
        return 130
    except (LocalAirflowFailed, RunFailed) as failure:
        OUT.print(f"[red]the demo failed[/]: {failure}", markup=True)
        return 2


def run(demo: Demo) -> int:
    """Start Airflow, trigger, follow, stop; then look at what the lake says."""
    began_s = time.time()
    _make_room(demo)
    place = Place(demo.folder / "airflow", free_port(18080))
    with OUT.status("starting Airflow") as status, running(place, extra=demo.surroundings) as airflow:
        client = airflow.client()
        trigger(demo, airflow, client=client)
        triggered_s = time.time()
        OUT.print(f"Airflow is up after {triggered_s - began_s:.0f} s; its logs are in {place.logs}")
        run_ids = follow(airflow, client, say=OUT.print, show=status.update, timeout_s=demo.timeout_s)
        intervals = work_intervals(client, run_ids, since_s=began_s)
        report = figures(client, run_ids[-1], task_id="report")["experiment_page"]
    division = divide(intervals, began_s=began_s, triggered_s=triggered_s, ended_s=time.time())
    demo.unfinished.unlink()
    print_times(division, intervals)
    return conclude(demo, report)


def trigger(demo: Demo, airflow: LocalAirflow, *, client: AirflowClient) -> None:
    """Unpause and start iteration 0, unless an interrupted demo has done so already."""
    wait_for_dag(airflow, client)
    client.unpause(DAG)
    if not client.runs(DAG):
        client.trigger(DAG, run_id=f"{demo.experiment}-0000", conf=demo.conf)


def print_times(division: Division, intervals: list[Interval]) -> None:
    """How the wall clock divides, and which stages took it."""
    table = Table("stage", "seconds of work", title="where the time went")
    for stage, seconds in seconds_by_stage(intervals).items():
        table.add_row(stage, f"{seconds:.1f}")
    OUT.print(table)
    OUT.print(
        f"{division.total_s:.0f} s in all: {division.work_s:.0f} s with a stage at work; "
        f"Airflow and imports {100 * division.overhead_share:.0f} % (start-up {division.start_s:.0f} s of it)"
    )


def conclude(demo: Demo, report: str) -> int:
    """Print the gain and the report's path; the exit code says whether the policy learned."""
    from tasks.proof import proof_of, shortcomings

    proof = proof_of(str(demo.config), demo.overrides)
    OUT.print(
        f"{proof.version} is current: held-out success {proof.gain_points:+.1f} points over version 0, "
        f"paired 95 % interval [{proof.lower_points:+.1f}, {proof.upper_points:+.1f}] on {proof.pairs} pairs"
    )
    for row in proof.trained:
        share = f"{100 * row.moved:.0f} % of turns"
        OUT.print(f"iteration {row.iteration}: {row.algorithm} moved the advantage of {share}")
    lacking = shortcomings(proof, min_gain_points=MIN_GAIN_POINTS, min_lower_points=MIN_LOWER_POINTS)
    for reason in lacking:
        OUT.print(f"[red]not shown[/]: {reason}", markup=True)
    OUT.print(f"report: {report}")
    return 1 if lacking else 0


def _make_room(demo: Demo) -> None:
    if demo.unfinished.exists():
        OUT.print(f"resuming the interrupted demo; remove {demo.folder} to start over")
        return
    shutil.rmtree(demo.folder, ignore_errors=True)
    demo.folder.mkdir(parents=True)
    demo.unfinished.touch()


def _parsed(arguments: list[str] | None) -> Demo:
    parser = argparse.ArgumentParser(prog="python -m dags.demo", description=__doc__)
    parser.add_argument("--config", type=Path, default=ROOT / "configs" / "sales_small.toml")
    parser.add_argument("--runs", type=int, default=6, help="iteration 0 included")
    parser.add_argument("--folder", type=Path, default=ROOT / ".demo", help="emptied, unless interrupted")
    parser.add_argument("--timeout-s", type=float, default=3600.0)
    given = parser.parse_args(arguments)
    return Demo(given.config, given.runs, given.folder.resolve(), given.timeout_s)


if __name__ == "__main__":
    sys.exit(main())
