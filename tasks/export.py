"""`itpo export`: conversations or prompts of a committed iteration as a file that other trainers read.

What is left out is counted under a reason, conversation by conversation and row by row. A failed conversation
is never exported, and an unknown outcome is null or left out, never 0.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from storage import commits
from tasks import export_shapes as shapes
from tasks.config import ConfigError
from tasks.context import Context
from tasks.export_shapes import Origin, Record, Row

if TYPE_CHECKING:
    from storage.commits import Commit
    from storage.exports import Written
    from storage.rows import Table
    from storage.warehouse import Relation

Unit = Literal["conversation", "turn"]
Shape = Callable[[Row, Origin], Record]
JSON_ENDINGS = (".jsonl", ".json", ".ndjson")
CHOSEN, TALKS, PROMPTS = "exports/chosen.sql", "exports/conversations.sql", "exports/prompts.sql"


@dataclass(frozen=True, slots=True)
class Request:
    """What a person asked for. `min_outcome` None takes every outcome, `unit` None what the format is for."""

    out: Path
    format: str
    kind: str = "rollouts"
    unit: str | None = None
    kept_only: bool = False
    min_outcome: float | None = None
    success: float = 0.5
    force: bool = False


@dataclass(frozen=True, slots=True)
class Format:
    """A file format: its units (the first by default), its shape, and what it needs of a row.

    `whole` rows are conversations, others prompts. `completions` says that the turns after the prompts are
    exported too, so that equal prompts stay.
    """

    units: tuple[Unit, ...]
    shape: Callable[[Request], Shape]
    whole: bool = False
    is_parquet: bool = False
    needs_outcome: bool = False
    completions: bool = False
    why_not: str = ""


@dataclass(frozen=True, slots=True)
class Counts:
    """Conversations read and left out by reason; rows of the others left out by reason, and written."""

    conversations: int
    conversations_left_out: Mapping[str, int]
    rows_left_out: Mapping[str, int]
    written: int


FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        "openai": Format(
            ("conversation",),
            lambda _: shapes.openai_record,
            whole=True,
            why_not="it holds whole conversations, of which every assistant message is a turn",
        ),
        "verl": Format(("conversation", "turn"), lambda _: shapes.verl_record, is_parquet=True),
        "openrlhf": Format(("conversation", "turn"), lambda _: shapes.openrlhf_record),
        "trl": Format(("conversation", "turn"), lambda _: shapes.trl_prompt_record),
        "trl-kto": Format(
            ("turn",),
            lambda request: shapes.trl_kto(request.success),
            needs_outcome=True,
            completions=True,
            why_not="a completion over several turns would train on the words of the user",
        ),
    }
)


def run(context: Context, request: Request) -> Counts:
    """Write the export and, beside it, where it came from. Raises ConfigError and ExportRefused."""
    from storage.exports import check_place, publish

    form, unit = checked(request)
    check_place(request.out, force=request.force)
    commit, curated = context.read(request.kind), _curated(context, request)
    files = _files(context, commit, curated)
    chosen = _chosen(context, request, files)
    origin = Origin(context.experiment, context.iteration, request.kind, commit.digest)
    facts = {**origin.columns(), "curated": curated.digest if curated else None, **_asked(request, unit)}
    left_out: Counter[str] = Counter()
    reasons = Counter(str(reason) for reason in chosen.column("left_out").to_pylist() if reason)

    def counts(written: int) -> Counts:
        return Counts(chosen.num_rows, dict(sorted(reasons.items())), dict(sorted(left_out.items())), written)

    written = publish(
        request.out,
        _records(
            _rows(context, form, unit, {**files, "chosen": chosen}), form.shape(request), origin, left_out
        ),
        write=_writer(form, chosen, facts),
        about=lambda written: {**facts, **_told(counts(written), commit)},
        force=request.force,
    )
    return counts(written)


def checked(request: Request) -> tuple[Format, Unit]:
    """The format and the unit; ConfigError for what is unknown or does not go together."""
    form = FORMATS.get(request.format)
    if form is None:
        raise ConfigError(f"--format {request.format!r}: use one of {', '.join(FORMATS)}")
    if request.kind not in ("rollouts", "evaluation"):
        raise ConfigError(f"--kind {request.kind!r}: use rollouts or evaluation")
    if request.kept_only and request.kind == "evaluation":
        raise ConfigError(
            "--kept-only with --kind evaluation: only rollouts are curated; leave one of them out"
        )
    units = {name: name for name in form.units}
    unit = form.units[0] if request.unit is None else units.get(request.unit)
    if unit is None:
        because = f": {form.why_not}" if request.unit in ("conversation", "turn") else ""
        raise ConfigError(
            f"--unit {request.unit!r} with --format {request.format}{because}; use {' or '.join(form.units)}"
        )
    _check_ending(request, form)
    return form, unit


def _check_ending(request: Request, form: Format) -> None:
    """Other programs choose their reader by the ending."""
    ending, wrong = (".parquet", JSON_ENDINGS) if form.is_parquet else (".jsonl", (".parquet",))
    if request.out.suffix.lower() in wrong:
        raise ConfigError(
            f"--out {request.out}: {request.format} is written as "
            f"{'Parquet' if form.is_parquet else 'JSONL'}; name it {request.out.with_suffix(ending)}"
        )


def _curated(context: Context, request: Request) -> "Commit | None":
    """The curation of the rollouts, which has to be there only if it chooses."""
    if request.kind != "rollouts":
        return None
    return context.read("curated") if request.kept_only else context.find("curated")


def _files(context: Context, commit: "Commit", curated: "Commit | None") -> dict[str, Sequence[Path]]:
    """The relations of the SQL, each file checked against its hash."""
    spoken = {
        name: commits.table_paths(context.store, commit, table=name) for name in ("conversations", "turns")
    }
    rows = [] if curated is None else commits.table_paths(context.store, curated, table="curated")
    return {**spoken, "curated": rows}


def _chosen(context: Context, request: Request, files: Mapping[str, Sequence[Path]]) -> "Table":
    from storage.warehouse import run_sql

    parameters = {
        "kept_only": request.kept_only,
        "needs_outcome": request.min_outcome is not None or FORMATS[request.format].needs_outcome,
        "min_outcome": -math.inf if request.min_outcome is None else request.min_outcome,
    }
    relations = {name: files[name] for name in ("conversations", "curated")}
    return run_sql(CHOSEN, relations=relations, parameters=parameters, settings=context.duck)


def _rows(context: Context, form: Format, unit: Unit, relations: Mapping[str, "Relation"]) -> Iterator[Row]:
    from storage.warehouse import stream_sql

    if form.whole:
        names = ("conversations", "turns", "chosen")
        given = {name: relations[name] for name in names}
        return stream_sql(TALKS, relations=given, parameters={}, settings=context.duck)
    given = {name: relations[name] for name in ("conversations", "chosen")}
    parameters = {"every_turn": unit == "turn", "completions": form.completions}
    rows = stream_sql(PROMPTS, relations=given, parameters=parameters, settings=context.duck)
    return (prompt for row in rows for prompt in shapes.prompt_rows(row))


def _records(rows: Iterator[Row], shape: Shape, origin: Origin, left_out: Counter[str]) -> Iterator[Record]:
    """What is written; what is not is counted on the way."""
    index = 0
    for row in rows:
        reason = row.get("left_out")
        if reason is not None:
            left_out[str(reason)] += 1
            continue
        yield shape({**row, "row_index": index}, origin)
        index += 1


def _writer(form: Format, chosen: "Table", facts: Record) -> "Written":
    from storage.exports import parquet_writer, verl_schema, write_jsonl

    if not form.is_parquet:
        return write_jsonl
    used = zip(chosen.column("uses_tools").to_pylist(), chosen.column("left_out").to_pylist(), strict=True)
    return parquet_writer(verl_schema(with_tools=any(tools and not reason for tools, reason in used)), facts)


def _asked(request: Request, unit: Unit) -> Record:
    """What was asked for, as far as it decides the rows."""
    return {
        "format": request.format,
        "unit": unit,
        "kept_only": request.kept_only,
        "min_outcome": request.min_outcome,
        "success": request.success if FORMATS[request.format].completions else None,
    }


def _told(counts: Counts, commit: "Commit") -> Record:
    """The counts for the file beside the export; ExportRefused where there is nothing to export."""
    from storage.exports import ExportRefused

    if not counts.written:
        raise ExportRefused(
            f"nothing of {commit.key.text} can be exported like this: {listed(counts)}; no file was written"
        )
    return {
        "conversations": {"read": counts.conversations, "left_out": counts.conversations_left_out},
        "rows": {"written": counts.written, "left_out": counts.rows_left_out},
    }


def listed(counts: Counts) -> str:
    """The counts as one line."""
    return (
        f"{counts.conversations} conversations read{_reasons(counts.conversations_left_out)}; "
        f"{counts.written} rows written{_reasons(counts.rows_left_out)}"
    )


def _reasons(left_out: Mapping[str, int]) -> str:
    named = ", ".join(f"{reason} {count}" for reason, count in left_out.items())
    return f", left out: {named}" if named else ""
