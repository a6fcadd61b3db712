"""Files for other programs: rows as JSONL or Parquet in one step, beside them where they came from.

Nothing is held in memory but a batch of rows. A reader sees the whole file or none; a file that is there is
not replaced unless that is asked for.
"""

import contextlib
import json
import os
import uuid
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from storage.errors import StorageError

BATCH_ROWS = 1_000
ORIGIN_KEY = b"itpo"  # of the Parquet file's metadata: where its rows came from, as JSON
Record = Mapping[str, object]
Written = Callable[[Path, Iterator[Record]], int]

_CALL = pa.struct(
    [
        ("id", pa.string()),
        ("type", pa.string()),
        ("function", pa.struct([("name", pa.string()), ("arguments", pa.string())])),
    ]
)
_MESSAGE = [pa.field("role", pa.string()), pa.field("content", pa.string())]
_TOOL_MESSAGE = [*_MESSAGE, pa.field("tool_calls", pa.list_(_CALL)), pa.field("tool_call_id", pa.string())]


class ExportRefused(StorageError, ValueError):
    """An export that cannot be written where, or as, it was asked for."""


def verl_schema(*, with_tools: bool) -> pa.Schema:
    """Columns of a prompt dataset for verl; the fields of tool calls only where some prompt has them."""
    message = pa.struct(_TOOL_MESSAGE if with_tools else _MESSAGE)
    facts = pa.struct([("style", pa.string()), ("ground_truth", pa.string())])
    text = ("split", "conversation_id", "group_id", "scenario_id", "persona_id", "policy_version")
    origin = ("experiment", "kind", "commit")
    extra = pa.struct(
        [
            pa.field("index", pa.int64()),
            *(pa.field(name, pa.string()) for name in (*text, *origin)),
            pa.field("iteration", pa.int64()),
            pa.field("turn_index", pa.int64()),
            pa.field("outcomes", pa.int64()),
            pa.field("mean_outcome", pa.float64()),
        ]
    )
    return pa.schema(
        [
            pa.field("data_source", pa.string()),
            pa.field("prompt", pa.list_(message)),
            pa.field("ability", pa.string()),
            pa.field("reward_model", facts),
            pa.field("extra_info", extra),
        ]
    )


def write_jsonl(path: Path, records: Iterator[Record]) -> int:
    """One JSON object a line, in UTF-8; how many."""
    count = 0
    with open(path, "xb") as file:
        for record in records:
            text = json.dumps(record, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
            file.write(text.encode() + b"\n")
            count += 1
        _sync(file.fileno(), file.flush)
    return count


def parquet_writer(schema: pa.Schema, origin: Record) -> Written:
    """Writes records under the schema, with their origin in the metadata of the file."""
    about = {ORIGIN_KEY: json.dumps(origin, sort_keys=True, ensure_ascii=False).encode()}
    full = schema.with_metadata(about)

    def write(path: Path, records: Iterator[Record]) -> int:
        count = 0
        with open(path, "xb") as file:
            with pq.ParquetWriter(file, full, compression="zstd") as writer:
                for batch in _batches(records):
                    writer.write_table(pa.Table.from_pylist(batch, schema=full))
                    count += len(batch)
            _sync(file.fileno(), file.flush)
        return count

    return write


def about_path(path: Path) -> Path:
    """The file that says where an export came from and what was left out."""
    return path.with_name(f"{path.name}.about.json")


def check_place(path: Path, *, force: bool) -> None:
    """Raise ExportRefused unless an export may be written here."""
    if not path.parent.is_dir():
        raise ExportRefused(f"{path}: there is no folder {path.parent}; make it first")
    if path.is_dir():
        raise ExportRefused(f"{path} is a folder: name a file")
    taken = [str(each) for each in (path, about_path(path)) if each.exists()]
    if taken and not force:
        raise ExportRefused(
            f"{' and '.join(taken)} is there already: name another file, or replace it with --force"
        )


def publish(
    path: Path,
    records: Iterator[Record],
    *,
    write: Written,
    about: Callable[[int], Record],
    force: bool,
) -> int:
    """Write both files next to where they belong, then give them their names, the export last; its rows.

    `about` is asked when everything is written. Whatever breaks leaves no file behind. Raises ExportRefused.
    """
    check_place(path, force=force)
    with _unfinished(path) as data, _unfinished(about_path(path)) as facts:
        try:
            count = write(data, records)
            text = json.dumps(about(count), indent=1, sort_keys=True, ensure_ascii=False)
            facts.write_text(text + "\n", encoding="utf-8")
            _name(facts, about_path(path), force=force)
            _name(data, path, force=force)
        except OSError as problem:
            raise ExportRefused(f"{path} cannot be written: {problem.strerror or problem}") from problem
    return count


@contextlib.contextmanager
def _unfinished(path: Path) -> Generator[Path, None, None]:
    hidden = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        yield hidden
    finally:
        hidden.unlink(missing_ok=True)


def _name(unfinished: Path, path: Path, *, force: bool) -> None:
    if force or not _linked(unfinished, path):
        os.replace(unfinished, path)


def _linked(unfinished: Path, path: Path) -> bool:
    """Give the file its name unless another has it; False where the file system has no hard links."""
    try:
        os.link(unfinished, path)  # unlike a rename it never takes the place of a file
    except OSError as problem:
        if path.exists():
            raise ExportRefused(
                f"{path} was written meanwhile by somebody else: it is left alone"
            ) from problem
        return False
    return True


def _sync(descriptor: int, flush: Callable[[], None]) -> None:
    flush()
    os.fsync(descriptor)


def _batches(records: Iterator[Record]) -> Iterator[list[Record]]:
    batch: list[Record] = []
    for record in records:
        batch.append(record)
        if len(batch) == BATCH_ROWS:
            yield batch
            batch = []
    if batch:
        yield batch
