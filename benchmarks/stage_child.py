"""One stage in a process of its own, and what it cost there: wall time, processor time and peak memory.

Run as `python -m benchmarks.stage_child STAGE CONFIG_JSON`; what it says is one line of JSON.
"""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from storage.paths import repository_root

STAGES = ("import", "curate")


@dataclass(frozen=True, slots=True)
class StageCost:
    """What a stage cost, all threads together, and what it said.

    `peak_mb` is the largest resident set of the process since it began (10^6 bytes): libraries included.
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
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    result = run(context)
    wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rows = {entry.table: entry.rows for entry in context.read(kind).files}
    return StageCost(stage, wall_s, cpu_s, peak_kib * 1024 / 1e6, result.digest, rows, dict(result.figures))


if __name__ == "__main__":
    print(json.dumps(asdict(measure(sys.argv[1], json.loads(sys.argv[2])))))
