"""Figures of a stage as rows of the `metrics` dataset, and back; copies as JSONL and TensorBoard events."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from storage import commits
from storage.commits import Commit
from storage.objects import ObjectStore
from storage.rows import Table, to_table

SUMMARY_STEP = -1  # rows of named figures of the whole stage, beside those of its optimiser steps


def metrics_table(
    stage: str, *, summary: Mapping[str, float], steps: Sequence[Mapping[str, float]] = ()
) -> Table:
    """Long rows (stage, step, name, value), the summary under step -1."""
    numbered = [(SUMMARY_STEP, summary), *enumerate(steps)]
    return to_table(
        "metrics",
        [
            {"stage": stage, "step": step, "name": name, "value": float(figures[name])}
            for step, figures in numbered
            for name in sorted(figures)
        ],
    )


def figures_of(store: ObjectStore, commit: Commit) -> dict[str, float]:
    """The summary figures of a commit by `stage/name`."""
    rows = commits.read_table(store, commit, table="metrics").to_pylist()
    return {f"{row['stage']}/{row['name']}": row["value"] for row in rows if row["step"] == SUMMARY_STEP}


def write_jsonl(rows: Sequence[Mapping[str, object]], path: Path) -> None:
    """One JSON object per metric row."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, sort_keys=True) + "\n" for row in rows), encoding="utf-8")


def write_events(rows: Sequence[Mapping[str, object]], folder: Path) -> None:
    """TensorBoard scalars `stage/name`, one event per step."""
    from torch.utils.tensorboard.writer import SummaryWriter

    writer = SummaryWriter(str(folder))
    for row in rows:
        writer.add_scalar(f"{row['stage']}/{row['name']}", float(str(row["value"])), int(str(row["step"])))
    writer.close()
