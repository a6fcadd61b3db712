"""One stage in a process of its own, and what it cost there: wall time, processor time and peak memory.

Run as `python -m benchmarks.stage_child STAGE CONFIG_JSON`; what it says is one line of JSON.
"""

import json
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from storage.paths import repository_root

STAGES = ("import", "curate")
LOOK_S = 0.2  # between looks at how large the processes are that the stage has started


@dataclass(frozen=True, slots=True)
class StageCost:
    """What a stage cost, all threads and processes together, and what it said.

    `peak_mb` is the largest resident set of the process since it began (10^6 bytes), libraries included, and
    those of the processes that it started, added up whenever they were: never less than there was at a time.
    """

    stage: str
    wall_s: float
    cpu_s: float
    peak_mb: float
    digest: str
    rows: dict[str, int]
    figures: dict[str, float | int | str]


def run_stage(stage: str, config: Mapping[str, object], *, work: Path) -> StageCost:
    """Run the stage of iteration 0 as a child; its scratch files go below `work`."""
    answer = subprocess.run(
        [sys.executable, "-m", "benchmarks.stage_child", stage, json.dumps(config)],
        cwd=repository_root(),
        env=os.environ | {"ITPO_WORK": str(work)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return StageCost(**json.loads(answer.stdout.splitlines()[-1]))


def measure(stage: str, config: Mapping[str, object]) -> StageCost:
    """Run the stage here, where nothing ran before it. Imports count for memory, not for time."""
    from tasks import curate, import_logs
    from tasks.config import Config
    from tasks.context import Context

    run, kind = {"import": (import_logs.run, "rollouts"), "curate": (curate.run, "curated")}[stage]
    context = Context(Config.model_validate(config), 0)
    wall_s, cpu_s = time.perf_counter(), _cpu_s()
    with _children() as peaks_kib:
        result = run(context)
    wall_s, cpu_s = time.perf_counter() - wall_s, _cpu_s() - cpu_s
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss + sum(peaks_kib.values())
    rows = {entry.table: entry.rows for entry in context.read(kind).files}
    return StageCost(stage, wall_s, cpu_s, peak_kib * 1024 / 1e6, result.digest, rows, dict(result.figures))


def _cpu_s() -> float:
    """Of this process and of those that it started and that have ended."""
    return sum(os.times()[:4])


@contextmanager
def _children() -> Generator[dict[str, int]]:
    """The largest resident set (KiB) of every process that this one has started, by its number."""
    peaks_kib: dict[str, int] = {}
    done = threading.Event()

    def look() -> None:
        while not done.wait(LOOK_S):
            for child in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
                peaks_kib[child] = max(peaks_kib.get(child, 0), _peak_kib(child))

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield peaks_kib
    finally:
        done.set()
        looking.join()


def _peak_kib(process: str) -> int:
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0  # it has ended
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), 0)


if __name__ == "__main__":
    print(json.dumps(asdict(measure(sys.argv[1], json.loads(sys.argv[2])))))
