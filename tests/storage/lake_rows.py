"""Small valid tables of every dataset, from the few columns that a test is about."""

from collections.abc import Mapping, Sequence

import pyarrow as pa

from storage.schemas import SCHEMAS

Row = Mapping[str, object]


def dull_value(kind: pa.DataType) -> object:
    """The simplest value that a required column may hold."""
    if pa.types.is_list(kind):
        return []
    if pa.types.is_boolean(kind):
        return True
    return "" if pa.types.is_string(kind) else 0


def rows_of(name: str, rows: Sequence[Row]) -> pa.Table:
    """The given columns of every row; of those left out, required ones get a dull value, others null."""
    schema = SCHEMAS[name]
    dull = {field.name: None if field.nullable else dull_value(field.type) for field in schema}
    return pa.Table.from_pylist([{**dull, **row} for row in rows], schema=schema)


def conversations(*ids: str, **columns: object) -> pa.Table:
    """Valid conversations with the outcome 1."""
    usual = {"status": "valid", "outcome": 1.0, "split": "seen"}
    return rows_of("conversations", [{"conversation_id": name, **usual, **columns} for name in ids])


def turns(counts: Mapping[str, int], **columns: object) -> pa.Table:
    """So many turns of each conversation, with two tokens each."""
    tokens = {"response_ids": [7, 8], "logprobs": [-0.5, -0.25], "response_tokens": 2}
    rows = [
        {"conversation_id": name, "turn_index": turn, "n_turns": count, **tokens, **columns}
        for name, count in counts.items()
        for turn in range(count)
    ]
    return rows_of("turns", rows)


def metrics(**values: float) -> pa.Table:
    """One figure per name, of the stage `test`."""
    rows = [{"stage": "test", "step": 0, "name": name, "value": value} for name, value in values.items()]
    return rows_of("metrics", rows)
