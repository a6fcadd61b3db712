"""One sweep of the credit lab over 10,000 stored conversations: every turn reward, whole and in halves."""

import os
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from benchmarks.bench_curate import curate
from benchmarks.synthetic_turns import Sizes, write_relations
from storage.rows import to_table
from tasks.config import Credit
from tasks.credit_lab import bias_rows, chosen_method, compared, rows_of
from tasks.credit_lab_data import lab_batch

CONVERSATIONS = 10_000
ESTIMATORS = ("grpo", "rloo", "reinforce_pp", "reinforce_pp_baseline", "ppo")
TARGET_S = 60.0


@dataclass(frozen=True, slots=True)
class Sweep:
    """Seconds of reading, comparing and enumerating the bias; methods scored and refused; rows written."""

    read_s: float
    compare_s: float
    bias_s: float
    methods: int
    refused: int
    rows: int


def sweep(folder: Path, *, conversations: int, estimator: str) -> Sweep:
    """From Parquet files to the table that would be committed."""
    paths = write_relations(folder, Sizes(conversations))
    relations = {
        "turns": paths["turns"],
        "turn_inputs": paths["turn_inputs"],
        "turn_scores": [with_terms(paths["turn_scores"][0], folder / "terms.parquet")],
        "turn_values": [values_of(paths["turn_scores"][0], folder / "values.parquet")],
        "curated": curate(paths),
    }
    began = time.perf_counter()
    batch = lab_batch(relations)
    read = time.perf_counter()
    chosen = replace(chosen_method(Credit()), advantage=estimator)
    found = compared(batch, chosen)
    compare = time.perf_counter()
    table = to_table("lab", [*rows_of(batch, found), *bias_rows(chosen)])
    return Sweep(
        read_s=read - began,
        compare_s=compare - read,
        bias_s=time.perf_counter() - compare,
        methods=len(found.figures),
        refused=len(found.refused),
        rows=table.num_rows,
    )


def with_terms(scores: Path, path: Path) -> Path:
    """The stored scores with a list of equal terms per turn, which token-level credit reads."""
    table = pq.read_table(scores)
    counts_N = table.column("response_tokens").to_numpy()
    terms = np.repeat(table.column("score").to_numpy() / counts_N, counts_N).astype(np.float32)
    ends = np.concatenate([[0], np.cumsum(counts_N)]).astype(np.int32)
    place = table.schema.get_field_index("token_scores")
    lists = pa.ListArray.from_arrays(ends, terms)
    pq.write_table(table.set_column(place, table.schema.field(place), lists), path)
    return path


def values_of(scores: Path, path: Path) -> Path:
    """A critic's value and a dueling Q's log-ratio for every scored turn, drawn at random."""
    keys, draw = pq.read_table(scores, columns=["conversation_id", "turn_index"]), np.random.default_rng(1)
    columns = {
        "conversation_id": keys.column("conversation_id"),
        "turn_index": keys.column("turn_index"),
        "value": draw.random(keys.num_rows),
        "log_ratio": draw.normal(size=keys.num_rows),
    }
    pq.write_table(pa.table(columns), path)
    return path


def section(sweeps: dict[str, Sweep], *, conversations: int) -> str:
    """The Markdown of the measurements."""
    rows = [
        f"| {name} | {one.methods} | {one.read_s:.2f} | {one.compare_s:.2f} | {one.bias_s:.2f} |"
        for name, one in sweeps.items()
    ]
    slowest_s = max(one.read_s + one.compare_s + one.bias_s for one in sweeps.values())
    verdict = "met" if slowest_s < TARGET_S else "MISSED"
    return "\n".join(
        [
            f"## The credit lab over {conversations:,} conversations",
            "",
            f"{Sizes(conversations).turns:,} turns from Parquet to the table that would be committed, the",
            "reward model's scores being stored; every method scores the batch whole and in halves.",
            f"{torch.get_num_threads()} thread(s), load {os.getloadavg()[0]:.1f} at the end.",
            f"Target: under {TARGET_S:.0f} s, {verdict}.",
            "",
            "| estimator | methods scored | read s | compare s | enumerate the bias s |",
            "|---|---|---|---|---|",
            *rows,
            "",
        ]
    )


def main() -> str:
    """Measure, and return the section of docs/benchmarks.md."""
    sweeps = {}
    for estimator in ESTIMATORS:
        with tempfile.TemporaryDirectory() as folder:
            sweeps[estimator] = sweep(Path(folder), conversations=CONVERSATIONS, estimator=estimator)
    return section(sweeps, conversations=CONVERSATIONS)


if __name__ == "__main__":
    print(main())
