"""Run every `benchmarks/bench_*.py` and write what they measured to docs/benchmarks.md.

A benchmark is a module with `main() -> str`: it measures and returns a section of Markdown that begins with a
heading; what it prints meanwhile is progress. Each runs in a process of its own, so that none measures with
what another left in memory; ratios within one section come from one process.
Run as `python -m benchmarks.run [name…]`.
"""

import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from rich.console import Console

from storage.paths import repository_root

PACKAGES = ("torch", "transformers", "duckdb", "pyarrow", "polars", "apache-airflow")
RUN_ONE = """
import contextlib, runpy, sys
with contextlib.redirect_stdout(sys.stderr):
    section = runpy.run_path(sys.argv[1])["main"]()
sys.stdout.write(section)
"""


class BenchmarkError(RuntimeError):
    """A benchmark broke; nothing is written, so that no old figure passes for a new one."""


@dataclass(frozen=True, slots=True)
class Section:
    """What one benchmark reported, and how long it ran."""

    name: str
    text: str
    wall_s: float


def find(folder: Path, names: list[str]) -> list[Path]:
    """The benchmarks of these names, or all; a name that fits none is an error."""
    found = {path.stem.removeprefix("bench_"): path for path in sorted(folder.glob("bench_*.py"))}
    if unknown := [name for name in names if name not in found]:
        raise BenchmarkError(f"no benchmark is called {', '.join(unknown)}; there are {', '.join(found)}")
    return [path for name, path in found.items() if not names or name in names]


def run_one(path: Path) -> Section:
    """Run one benchmark in its own process and take its section."""
    begun_s = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", RUN_ONE, str(path)],
        cwd=repository_root(),
        env=os.environ | {"PYTHONPATH": str(repository_root())},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    name = path.stem.removeprefix("bench_")
    if done.returncode != 0:
        raise BenchmarkError(f"benchmark {name} ended with status {done.returncode}; its error is above")
    if not done.stdout.lstrip().startswith("#"):
        raise BenchmarkError(f"benchmark {name} returned no section: {done.stdout[:80]!r}")
    return Section(name, done.stdout.strip(), time.perf_counter() - begun_s)


def machine_facts() -> dict[str, str]:
    """What the figures depend on: processor, memory, versions, threads."""
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in PACKAGES)
    return {
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "memory": f"{memory_bytes / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "packages": versions,
        "threads": f"OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', 'unset')}",
        "load before": f"{os.getloadavg()[0]:.1f}",
    }


def _processor() -> str:
    lines = (
        Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        if Path("/proc/cpuinfo").exists()
        else []
    )
    names = [line.split(":", maxsplit=1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def page(sections: list[Section], facts: Mapping[str, str]) -> str:
    """The whole of docs/benchmarks.md."""
    about = "\n".join(f"- {name}: {fact}" for name, fact in facts.items())
    parts = [f"{s.text}\n\n*`make bench-{s.name}`, {s.wall_s:.0f} s*" for s in sections]
    head = (
        f"# Benchmarks\n\nWritten by `make bench`; ratios within one section come from one run.\n\n{about}\n"
    )
    return "\n\n".join([head.rstrip(), *parts]) + "\n"


def main(names: list[str]) -> int:
    """Run the benchmarks; write the page when all were run, print the sections when only some were."""
    facts = machine_facts()
    console = Console()
    sections = []
    for path in find(Path(__file__).parent, names):
        console.print(f"running {path.stem}")
        sections.append(run_one(path))
    if names:
        console.print("\n\n".join(section.text for section in sections), markup=False)
        return 0
    target = repository_root() / "docs" / "benchmarks.md"
    target.write_text(page(sections, facts), encoding="utf-8")
    console.print(f"wrote {target}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
