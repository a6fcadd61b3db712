"""Importing and curating 100,000 logged conversations: time, memory, and every row accounted for."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.stage_child import StageCost, run_stage
from benchmarks.synthetic_logs import LogSizes
from storage.paths import repository_root

SIZES = LogSizes(100_000)
LIMIT_S, LIMIT_MB = 60.0, 2_000.0
# Written by a process of its own: a child's peak memory begins with what its parent holds.
WRITE = """
import sys
from pathlib import Path
from benchmarks.synthetic_logs import LogSizes, write_logs
write_logs(Path(sys.argv[1]), LogSizes(int(sys.argv[2]), tells_numbers=sys.argv[3] == "numbers"))
"""


def main() -> str:
    """Measure, and return the section of docs/benchmarks.md."""
    with tempfile.TemporaryDirectory(prefix="itpo-bench-") as name:
        folder = Path(name)
        paths = _logs(folder / "logs", "words")
        size_mb = sum(path.stat().st_size for path in paths) / 1e6
        costs = [
            run_stage(stage, _config(folder, paths), work=folder / "work") for stage in ("import", "curate")
        ]
        costs += [
            _masked(folder, paths, "words"),
            _masked(folder, _logs(folder / "told", "numbers"), "numbers"),
        ]
    for cost in (costs[0], *costs[2:]):
        check_conserved(cost, SIZES)
    return section(costs, size_mb=size_mb)


def _masked(folder: Path, paths: Sequence[Path], told: str) -> StageCost:
    """The import of the same or of other logs with a search for personal data, into a lake of its own."""
    config = _config(folder / f"masked-{told}", paths, personal_data="mask")
    cost = run_stage("import", config, work=folder / "work")
    return replace(cost, stage=f"import, masked ({told})")


def check_conserved(cost: StageCost, sizes: LogSizes) -> None:
    """Raise ValueError unless every line that was written is in the counts and in the lake."""
    wanted = {
        "read": sizes.lines,
        "accepted": sizes.conversations,
        "quarantined": sizes.damaged,
        "duplicate": sizes.repeated,
        "rows of conversations": sizes.conversations,
        "rows of turns": sizes.turns,
        "rows of quarantine": sizes.damaged + sizes.repeated,
    }
    found = {**cost.figures, **{f"rows of {table}": rows for table, rows in cost.rows.items()}}
    wrong = {name: (found.get(name), count) for name, count in wanted.items() if found.get(name) != count}
    if wrong:
        raise ValueError(f"rows are lost or made up (found, written): {wrong}")


def section(costs: Sequence[StageCost], *, size_mb: float) -> str:
    """The Markdown of the measurements."""
    counts = costs[0].figures
    about = (
        f"{SIZES.turns:,} assistant turns in {SIZES.files} files of JSONL, {size_mb:.0f} MB: a system "
        "prompt, user texts of 150\nand answers of 420 characters (medians), tools in one of twenty; cut "
        "lines, repeated lines and ids that\nsay two things among them. Where they tell numbers, a third "
        "of the messages has a date, a price or an\norder, and 24 % of the conversations an address, a "
        "telephone number, a card, an account or a national\nnumber. Each stage in a process of its own, "
        f"with those that it starts, from the files to the commit; load {os.getloadavg()[0]:.1f} at the end."
    )
    kept = (
        f"Of {counts['read']:,} lines {counts['accepted']:,} were accepted, {counts['quarantined']:,} "
        f"quarantined and {counts['duplicate']:,} duplicates: as many as\nwere written, in the counts and in "
        "the rows of the committed tables."
    )
    head = f"## Importing and curating {SIZES.conversations:,} conversations"
    return "\n\n".join([head, about, table(costs), kept]) + "\n"


def table(costs: Sequence[StageCost]) -> str:
    """What each stage cost, and whether it kept both limits."""
    rows = [
        f"| {cost.stage} | {cost.wall_s:.1f} | {cost.cpu_s:.1f} | {SIZES.conversations / cost.cpu_s:,.0f} "
        f"| {cost.peak_mb:,.0f} | {'yes' if within(cost) else 'NO'} |"
        for cost in costs
    ]
    limits = f"under {LIMIT_S:.0f} s and {LIMIT_MB:,.0f} MB"
    head = f"| stage | wall s | CPU s | conversations per CPU-second | peak MB | {limits} |"
    return "\n".join([head, "|---|---|---|---|---|---|", *rows])


def within(cost: StageCost) -> bool:
    """Whether the stage kept both limits."""
    return cost.wall_s < LIMIT_S and cost.peak_mb < LIMIT_MB


def _logs(folder: Path, told: str) -> list[Path]:
    folder.mkdir()
    subprocess.run(
        [sys.executable, "-c", WRITE, str(folder), str(SIZES.conversations), told],
        cwd=repository_root(),
        check=True,
    )
    return sorted(folder.iterdir())


def _config(folder: Path, paths: Sequence[Path], *, personal_data: str = "keep") -> dict[str, object]:
    logs = {"paths": [str(path) for path in paths], "personal_data": personal_data}
    return {"experiment": "bench", "lake": {"root": str(folder / "lake")}, "logs": logs}


if __name__ == "__main__":
    print(main())
