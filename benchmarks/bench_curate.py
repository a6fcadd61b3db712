"""Curating and crediting a million turns: our SQL against polars and against reading alone."""

import os
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import curate_polars
from benchmarks.curate_polars import Settings
from benchmarks.synthetic_turns import Sizes, write_relations
from storage.digests import data_digest
from storage.duck import DuckSettings
from storage.schemas import CREDIT_METHODS
from storage.warehouse import run_sql

CONVERSATIONS = 200_000
REPEATS = 3
THREADS = (1, 2, 4)
SETTINGS = Settings(
    policy_version="bench/0001",
    token_cost=0.002,
    split_salt="bench:0",
    heldout_permille=100,
    min_group=2,
    temperature=0.4,
    share=0.5,
    std_floor=1e-4,
)
# What the SQL reads of each file; reading these and no others is the floor.
COLUMNS = {
    "conversations": [
        "experiment", "iteration", "shard", "conversation_id", "group_id", "policy_version", "status",
        "outcome", "n_turns", "stop_reason", "assistant_tokens", "transcript_sha256",
    ],
    "turns": ["conversation_id", "turn_index", "policy_version", "response_tokens", "logprobs", "turn_kind"],
    "turn_scores": ["conversation_id", "turn_index", "score", "response_tokens"],
    "turn_inputs": ["conversation_id", "turn_index", "dirichlet_draw", "oracle_advantage"],
}  # fmt: skip
Paths = Mapping[str, list[Path]]


def curate(paths: Paths, *, threads: int | None) -> pa.Table:
    """sql/curated.sql over the files."""
    relations = {name: paths[name] for name in ("conversations", "turns")}
    parameters = {
        "policy_version": SETTINGS.policy_version,
        "token_cost": SETTINGS.token_cost,
        "split_salt": SETTINGS.split_salt,
        "heldout_permille": SETTINGS.heldout_permille,
        "min_group": SETTINGS.min_group,
        "require_groups": True,
        "drop_duplicates": True,
    }
    return run_sql(
        "curated.sql", relations=relations, parameters=parameters, settings=DuckSettings(threads=threads)
    )


def credit(paths: Paths, curated: pa.Table, *, threads: int | None) -> pa.Table:
    """The three files of the credit stage over the files and the curated rows."""
    spoken = {name: paths[name] for name in ("turns", "turn_scores", "turn_inputs")}
    shares = {"use_scores": True, "temperature": SETTINGS.temperature, "share": SETTINGS.share}
    relations = {**spoken, "curated": curated}
    turn_credits = run_sql(
        "turn_credits.sql", relations=relations, parameters=shares, settings=DuckSettings(threads=threads)
    )
    siblings = {"curated": curated, "turn_credits": turn_credits}
    floor = {"std_floor": SETTINGS.std_floor}
    advantages = run_sql(
        "advantages_grpo.sql", relations=siblings, parameters=floor, settings=DuckSettings(threads=threads)
    )
    sides = {"turn_credits": turn_credits, "advantages": advantages}
    return run_sql(
        "credits.sql",
        relations=sides,
        parameters={"algorithm": "norm_itpo_share"},
        settings=DuckSettings(threads=threads),
    )


def read_alone(paths: Paths) -> int:
    """Read the needed columns into memory; the rows read."""
    return sum(pq.read_table(paths[name][0], columns=columns).num_rows for name, columns in COLUMNS.items())


@dataclass(frozen=True, slots=True)
class Cost:
    """Best of three runs: wall time, and processor time, which a busy machine changes less."""

    wall_s: float
    cpu_s: float


def best(work: Callable[[], object]) -> Cost:
    """Run the work three times."""
    walls_s, cpus_s = [], []
    for _ in range(REPEATS):
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        work()
        walls_s.append(time.perf_counter() - wall_s)
        cpus_s.append(time.process_time() - cpu_s)
    return Cost(min(walls_s), min(cpus_s))


def digest(paths: Paths, *, threads: int) -> str:
    """One digest over everything that would be committed."""
    curated = curate(paths, threads=threads)
    return data_digest(curated)[:16] + data_digest(credit(paths, curated, threads=threads))[:16]


def largest_difference(ours: pa.Table, paths: Paths) -> float:
    """Between the SQL and polars, over every turn and every column of credit."""
    theirs = curate_polars.credits(paths, SETTINGS)
    if ours.num_rows != theirs.height:
        raise ValueError(f"the SQL kept {ours.num_rows} turns, polars {theirs.height}: not the same work")
    names = [f"{kind}_{method}" for kind in ("credit", "advantage") for method in CREDIT_METHODS]
    return max(
        float(np.abs(ours.column(name).to_numpy() - theirs.get_column(name).to_numpy()).max())
        for name in names
    )


def section(costs: Mapping[str, Cost], *, facts: str, agreement: str) -> str:
    """The Markdown of the measurements; the first cost is ours, to which the others are ratios."""
    ours = next(iter(costs.values()))
    rows = [
        f"| {name} | {cost.wall_s:.2f} | {cost.cpu_s:.2f} | {cost.wall_s / ours.wall_s:.2f} "
        f"| {cost.cpu_s / ours.cpu_s:.2f} |"
        for name, cost in costs.items()
    ]
    head = f"## Curating and crediting {Sizes(CONVERSATIONS).turns:,} turns"
    columns = "| work | wall s | CPU s | wall, ours = 1 | CPU, ours = 1 |\n|---|---|---|---|---|"
    return "\n\n".join([head, facts, "\n".join([columns, *rows]), agreement]) + "\n"


def main() -> str:
    """Measure, and return the section of docs/benchmarks.md."""
    with tempfile.TemporaryDirectory() as folder:
        paths = write_relations(Path(folder), Sizes(CONVERSATIONS))
        size_mb = sum(files[0].stat().st_size for files in paths.values()) / 1e6
        digests = {threads: digest(paths, threads=threads) for threads in THREADS}
        difference = largest_difference(credit(paths, curate(paths, threads=None), threads=None), paths)
        costs = {
            "our SQL: curate and credit": best(
                lambda: credit(paths, curate(paths, threads=None), threads=None)
            ),
            "of which curate": best(lambda: curate(paths, threads=None)),
            "polars, the same work": best(lambda: curate_polars.credits(paths, SETTINGS)),
            "reading the same columns alone (pyarrow)": best(lambda: read_alone(paths)),
        }
    same = "the same" if len(set(digests.values())) == 1 else "DIFFERENT"
    return section(
        costs,
        facts=(
            f"{CONVERSATIONS:,} conversations of five turns in groups of eight, {size_mb:.0f} MB of\n"
            f"Parquet; from the files to the table that would be committed, seven credits side by side;\n"
            f"best of {REPEATS} on {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the end."
        ),
        agreement=(
            f"Largest difference between SQL and polars in any column of any turn: {difference:.1e}.\n"
            f"The digests of what would be committed are {same} for "
            f"{', '.join(map(str, THREADS))} threads (`{digests[1]}`)."
        ),
    )


if __name__ == "__main__":
    print(main())
