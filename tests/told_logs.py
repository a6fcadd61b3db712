"""Logs of a few conversations, and files of what became of them."""

import json
from collections.abc import Sequence
from pathlib import Path

from storage import commits
from tasks import import_logs
from tasks.config import Config, Lake, Logs, Outcomes
from tasks.context import Context
from tests.log_shapes import Json, assistant, openai_row, user

NO_LABELS = {"id": "c1"}, {"id": "c2"}, {"id": "c3"}


def write(path: Path, rows: Sequence[Json]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def context_of(
    folder: Path, told: Sequence[Json] | str, *, logs: Json | None = None, **how: object
) -> Context:
    """The experiment `talks`, with a file of outcomes of these rows to be joined."""
    path = told if isinstance(told, str) else write(folder / "crm.jsonl", told)
    config = {
        "experiment": "talks",
        "lake": Lake(root=str(folder / "lake")),
        "logs": Logs.model_validate({"paths": (str(folder / "talks.jsonl"),), **(logs or {})}),
        "outcomes": Outcomes.model_validate({"paths": (path,), **how}),
    }
    return Context(Config.model_validate(config), 0)


def imported(folder: Path, *rows: Json, logs: Json | None = None) -> None:
    """The conversations of a log, without outcomes unless they name one."""
    talks = [
        openai_row(user(f"I am {n}"), assistant("hello"), **row) for n, row in enumerate(rows or NO_LABELS)
    ]
    write(folder / "talks.jsonl", talks)
    import_logs.run(context_of(folder, "unused", logs=logs))


def rows_of(context: Context, table: str) -> list[Json]:
    return commits.read_table(context.store, context.read("rollouts"), table=table).to_pylist()
