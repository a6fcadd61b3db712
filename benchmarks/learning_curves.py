"""Does the loop learn, and does turn credit help? Whole experiments over fresh seeds, credits side by side.

Run by hand, as it takes minutes of two cores: `python -m benchmarks.learning_curves --seeds 11 12 13`. Every
experiment is an ordinary `itpo run` in a lake of its own; the figures are read back from its registry and its
evaluations, and written to docs/learning-curves.md with a plot.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from storage import registry
from storage.paths import repository_root
from storage.stores import open_store
from tasks.config import load

DOCS = repository_root() / "docs"
CONFIG = "configs/sales_small.toml"


@dataclass(frozen=True, slots=True)
class Curve:
    """One experiment: success (fraction) of every candidate on unseen scenarios, and the final gain."""

    algorithm: str
    seed: int
    success: tuple[float, ...]
    gain: float
    gain_lower: float
    gain_upper: float
    decisions: tuple[str, ...]


def main() -> None:
    """Run what is missing, read all, write the page."""
    options = _arguments()
    jobs = [(algorithm, seed) for seed in options.seeds for algorithm in options.algorithms]
    with ThreadPoolExecutor(options.workers) as pool:
        list(pool.map(lambda job: run(*job, lakes=options.lakes, iterations=options.iterations), jobs))
    curves = [
        read(algorithm, seed, lakes=options.lakes, iterations=options.iterations) for algorithm, seed in jobs
    ]
    (DOCS / "learning-curves.svg").write_text(plot(curves), encoding="utf-8")
    (DOCS / "learning-curves.md").write_text(page(curves, options), encoding="utf-8")


def run(algorithm: str, seed: int, *, lakes: Path, iterations: int) -> None:
    """One experiment through the ordinary command; finished stages are skipped."""
    lake = lakes / f"{algorithm}-{seed}"
    command = [sys.executable, "-m", "tasks", "run", "--config", CONFIG, "--experiment", "curve"]
    command += [
        "--lake",
        str(lake),
        "--seed",
        str(seed),
        "--algorithm",
        algorithm,
        "--iterations",
        str(iterations),
    ]
    scratch = {"ITPO_WORK": str(lake / ".work"), "ITPO_REPORTS": str(lake / ".reports")}
    with (lakes / f"{algorithm}-{seed}.log").open("w", encoding="utf-8") as log:
        subprocess.run(command, cwd=repository_root(), env={**os.environ, **scratch}, stdout=log, check=True)


def read(algorithm: str, seed: int, *, lakes: Path, iterations: int) -> Curve:
    """The candidates' success and the gain of the version that is current at the end, from the registry."""
    store = open_store(str(lakes / f"{algorithm}-{seed}"))
    events = {event.event_id: event for event in registry.events(store, "curve")}
    decided = [events[f"decide/{iteration:04d}"] for iteration in range(iterations + 1)]
    start = float(str(decided[0].evidence["start_success"]))
    success = [start, *(float(str(event.evidence["candidate_success"])) for event in decided[1:])]
    promoted = [event for event in decided[1:] if event.action == "promote"][-1].evidence
    gain, lower, upper = (
        float(str(promoted[f"gain_over_initial{part}"])) for part in ("", "_lower", "_upper")
    )
    return Curve(
        algorithm, seed, tuple(success), gain, lower, upper, tuple(event.action for event in decided)
    )


def page(curves: Sequence[Curve], options: argparse.Namespace) -> str:
    """The page: one line per experiment, the means, and which credit came out worse."""
    means = {
        algorithm: fmean(curve.gain for curve in curves if curve.algorithm == algorithm)
        for algorithm in options.algorithms
    }
    pairs = load(repository_root() / CONFIG).evaluate.unseen_scenarios
    ranked = sorted(means, key=lambda name: means[name], reverse=True)
    lines = [
        "# Learning curves",
        "",
        f"Success on unseen scenarios ({pairs:,} fresh ones an iteration), in percent by iteration. The gain",
        "is paired: the version that is current at the end against version 0 on the same scenarios and",
        f"seeds. Made by `python -m benchmarks.learning_curves --seeds {' '.join(map(str, options.seeds))}`",
        f"({options.iterations} iterations of {CONFIG}).",
        "",
        "![learning curves](learning-curves.svg)",
        "",
        "| credit | seed | success by iteration (%) | gain (points) | 95 % interval | decisions |",
        "|---|---|---|---|---|---|",
        *(_line(curve) for curve in curves),
        "",
        *(
            f"- mean gain of `{name}`: {100 * means[name]:+.1f} points over {len(options.seeds)} seeds"
            for name in ranked
        ),
        f"- the worse here: `{ranked[-1]}`, by {100 * (means[ranked[0]] - means[ranked[-1]]):.1f} points",
        "",
    ]
    return "\n".join(lines)


def plot(curves: Sequence[Curve]) -> str:
    """All curves as SVG, one colour per credit."""
    from matplotlib import pyplot

    from tasks.plots import COLORS, svg

    figure, axes = pyplot.subplots(figsize=(6.4, 3.6))
    names = list(dict.fromkeys(curve.algorithm for curve in curves))
    for curve in curves:
        first = curve.seed == min(other.seed for other in curves)
        axes.plot(
            [100 * value for value in curve.success],
            color=COLORS[names.index(curve.algorithm)],
            label=curve.algorithm if first else None,
            marker="o",
            markersize=3,
        )
    axes.set_xlabel("iteration")
    axes.set_ylabel("success on unseen scenarios (%)")
    axes.set_ylim(0, 100)
    axes.legend(frameon=False, loc="lower right")
    return svg(figure)


def _line(curve: Curve) -> str:
    success = " ".join(f"{100 * value:.0f}" for value in curve.success)
    interval = f"[{100 * curve.gain_lower:+.1f}, {100 * curve.gain_upper:+.1f}]"
    cells = (
        curve.algorithm,
        curve.seed,
        success,
        f"{100 * curve.gain:+.1f}",
        interval,
        " ".join(curve.decisions),
    )
    return "| " + " | ".join(map(str, cells)) + " |"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[11, 12, 13])
    parser.add_argument("--algorithms", nargs="+", default=["norm_itpo_share", "outcome"])
    parser.add_argument("--iterations", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--lakes", type=Path, default=repository_root() / ".work" / "curves")
    options = parser.parse_args()
    options.lakes.mkdir(parents=True, exist_ok=True)
    return options


if __name__ == "__main__":
    main()
