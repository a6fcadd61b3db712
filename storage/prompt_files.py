"""Prompts of a training on a local disk, as trainers read them: Parquet with `input` and `label`."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

SCHEMA = pa.schema([pa.field("input", pa.string(), False), pa.field("label", pa.string(), False)])


def write_prompts(path: Path, rows: Sequence[Mapping[str, str]]) -> None:
    """Write the rows in order; the file appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    pq.write_table(pa.Table.from_pylist(list(rows), SCHEMA), partial)
    os.replace(partial, path)
