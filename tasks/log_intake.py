"""Log files into the tables of one import, every row accounted: accepted + quarantined + duplicate = read."""

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from itpo_core.envs.catalogue import Domain
from itpo_core.logs.duplicates import Sourced, settle
from itpo_core.logs.formats import LOG_FORMATS
from itpo_core.logs.parsed import Rejected, RejectReason
from itpo_core.logs.users import DEFAULT_USER_COLUMN
from itpo_core.types import Unscored
from tasks.config import ConfigError
from tasks.logged_rows import (
    Place,
    Spoken,
    conversation_rows,
    lineages_of,
    logged_turn_rows,
    quarantine_rows,
    spoken_conversations,
)

if TYPE_CHECKING:
    from storage.json_rows import Item
    from storage.rows import Table

DEFAULT_OUTCOME_COLUMN = "outcome"


class NothingImported(ConfigError):
    """Not one conversation was accepted; nothing is committed."""


@dataclass(frozen=True, slots=True)
class ImportCounts:
    """Log rows by what became of them, and why; a damaged stretch of a file counts as one row.

    `read` is the sum of the other three row counts. `reasons`, `unscored` and `notes` count the rows that are
    not accepted, the conversations without an outcome, and peculiarities that were kept.
    """

    read: int
    accepted: int
    quarantined: int
    duplicate: int
    conversations: int
    turns: int
    reasons: Mapping[str, int]
    unscored: Mapping[str, int]
    notes: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class ImportedLogs:
    """The tables `conversations`, `turns` and `quarantine` of one import, and its counts."""

    tables: Mapping[str, "Table"]
    counts: ImportCounts


@dataclass(slots=True)
class _Read:
    """What the files held: conversations and rejections with their file, and every row as it was read."""

    found: list[Sourced] = field(default_factory=list)
    rejected: list[tuple[str, Rejected]] = field(default_factory=list)
    rows: dict[tuple[str, int], "Item"] = field(default_factory=dict)


def import_files(
    paths: Sequence[Path],
    *,
    log_format: str,
    place: Place,
    outcome_column: str = DEFAULT_OUTCOME_COLUMN,
    user_column: str = DEFAULT_USER_COLUMN,
    domain: Domain | None = None,
) -> ImportedLogs:
    """Read, settle duplicates, annotate turns of the simulated `domain` with its oracle, and make tables.

    The default outcome column means the one that the format usually has. Raises NothingImported when no
    conversation is accepted, and LogFileError for a file that cannot be opened at all.
    """
    from storage.rows import to_table

    kind = LOG_FORMATS[log_format]
    column = kind.outcome_column if outcome_column == DEFAULT_OUTCOME_COLUMN else outcome_column
    read = _read(paths, log_format=log_format, outcome_column=column, user_column=user_column)
    settled = settle(read.found, ids_span_files=kind.ids_span_files)
    spoken, refused = spoken_conversations(settled.kept, place, domain=domain)
    rejected = [*read.rejected, *settled.rejected, *refused]
    counts = _counts(spoken, rejected)
    if not spoken:
        raise NothingImported(_nothing(paths, log_format, counts))
    lineages = lineages_of(spoken, place, domain=domain, outcome_column=column)
    rows = {
        "conversations": conversation_rows(spoken, lineages),
        "turns": logged_turn_rows(spoken, lineages),
        "quarantine": quarantine_rows(rejected, _raw_texts(read, rejected)),
    }
    return ImportedLogs({name: to_table(name, rows[name]) for name in rows}, counts)


def source_names(paths: Sequence[Path]) -> list[str]:
    """The files by their place below the folder that they share, so that moving them all changes nothing."""
    folder = os.path.commonpath([path.absolute().parent for path in paths])
    return [path.absolute().relative_to(folder).as_posix() for path in paths]


def listed(counted: Mapping[str, int]) -> str:
    """Counts by name as one text, in order of the names."""
    return ", ".join(f"{name} {count}" for name, count in sorted(counted.items()))


def _read(paths: Sequence[Path], *, log_format: str, outcome_column: str, user_column: str) -> _Read:
    read = _Read()
    for path, source in zip(paths, source_names(paths), strict=True):
        good = _readable(read, path, source)
        parse = LOG_FORMATS[log_format].parse
        for parsed in parse(good, outcome_column=outcome_column, user_column=user_column):
            if isinstance(parsed, Rejected):
                read.rejected.append((source, parsed))
            else:
                read.found.append(Sourced(source, parsed))
    return read


def _readable(read: _Read, path: Path, source: str) -> list[tuple[int, Mapping[str, object]]]:
    """The rows that a parser can be given; the others are noted in `read`, and the text of both."""
    from storage.json_rows import BadRow
    from storage.log_files import read_rows

    good: list[tuple[int, Mapping[str, object]]] = []
    for number, item in read_rows(path):
        read.rows[source, number] = item
        if isinstance(item, BadRow):
            read.rejected.append((source, Rejected((number,), RejectReason.UNREADABLE, item.reason)))
        else:
            good.append((number, item))
    return good


def _raw_texts(read: _Read, rejected: Sequence[tuple[str, Rejected]]) -> dict[tuple[str, int], str]:
    """The text of every rejected row, limited in length."""
    from storage.json_rows import BadRow, bad_row

    keys = [(source, number) for source, rejection in rejected for number in rejection.rows]
    items = {key: read.rows[key] for key in keys}
    return {
        key: item.raw if isinstance(item, BadRow) else bad_row("", json.dumps(item, default=str)).raw
        for key, item in items.items()
    }


def _counts(spoken: Sequence[Spoken], rejected: Sequence[tuple[str, Rejected]]) -> ImportCounts:
    logged = [each.sourced.conversation for each in spoken]
    accepted = sum(len(parsed.rows) for parsed in logged)
    kinds = Counter(rejection.reason.disposition for _, rejection in rejected for _ in rejection.rows)
    return ImportCounts(
        read=accepted + sum(kinds.values()),
        accepted=accepted,
        quarantined=kinds["quarantined"],
        duplicate=kinds["duplicate"],
        conversations=len(logged),
        turns=sum(len(parsed.suggestions) for parsed in logged),
        reasons=Counter(rejection.reason.value for _, rejection in rejected for _ in rejection.rows),
        unscored=_tally(parsed.outcome.reason for parsed in logged if isinstance(parsed.outcome, Unscored)),
        notes=_tally(note.value for parsed in logged for note in parsed.notes),
    )


def _tally(reasons: Iterable[str]) -> Counter[str]:
    """Counted by what stands before the colon; the offending values come after it."""
    return Counter(reason.partition(":")[0] for reason in reasons)


def _nothing(paths: Sequence[Path], log_format: str, counts: ImportCounts) -> str:
    return (
        f"no conversation accepted from {', '.join(map(str, paths))} as {log_format}: {counts.read} rows "
        f"({listed(counts.reasons) or 'none'}); nothing is committed; docs/real-logs.md shows what is read"
    )
