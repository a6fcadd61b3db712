"""Log files into the tables of one import, every row accounted: accepted + quarantined + duplicate = read.

Conversation by conversation: what is held is the digests of those that were read, and the rows of a batch.
"""

import contextlib
import gc
import os
import tempfile
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from itpo_core.envs.catalogue import Domain
from itpo_core.logs.duplicates import Body, Duplicates, Sourced
from itpo_core.logs.formats import LOG_FORMATS
from itpo_core.logs.parsed import Parsed, Rejected, RejectReason
from itpo_core.logs.parsed import Row as LogRow
from itpo_core.logs.personal_data_masks import Masks
from itpo_core.logs.users import DEFAULT_USER_COLUMN
from tasks.config import ConfigError
from tasks.import_counts import ImportCounts, Tally, listed
from tasks.log_batches import LogBatch, LogFile, batches_of
from tasks.log_detection import formats_of
from tasks.log_privacy import POLICIES, Privacy
from tasks.logged_rows import (
    Families,
    Lineages,
    Place,
    Spoken,
    conversation_id,
    conversation_rows,
    logged_id_rows,
    logged_turn_columns,
    quarantine_rows,
)
from tasks.records import Row, outcome_columns

if TYPE_CHECKING:
    from storage.json_rows import Item
    from storage.rows import Table
    from storage.spool import Spool

DEFAULT_OUTCOME_COLUMN = "outcome"
KEPT = POLICIES["keep"]
TABLES = ("conversations", "turns", "quarantine", "logged_ids")
BATCH = 256  # conversations, or rows in quarantine, that become Arrow at once


class NothingImported(ConfigError):
    """Not one conversation was accepted; nothing is committed."""


@dataclass(frozen=True, slots=True)
class ImportedLogs:
    """The tables of one import (`TABLES`), and its counts."""

    tables: Mapping[str, "Table"]
    counts: ImportCounts


@dataclass(frozen=True, slots=True)
class SpooledLogs:
    """The same before it is known whether it fits into memory."""

    tables: Mapping[str, "Spool"]
    counts: ImportCounts


def import_files(
    paths: Sequence[Path],
    *,
    log_format: str | Sequence[str],
    place: Place,
    outcome_column: str = DEFAULT_OUTCOME_COLUMN,
    user_column: str = DEFAULT_USER_COLUMN,
    domain: Domain | None = None,
    privacy: Privacy = KEPT,
) -> ImportedLogs:
    """The logs as tables in memory; see `spool_files`."""
    with tempfile.TemporaryDirectory(prefix="itpo-import-") as folder:
        logs = spool_files(
            paths,
            Path(folder),
            log_format=log_format,
            place=place,
            outcome_column=outcome_column,
            user_column=user_column,
            domain=domain,
            privacy=privacy,
        )
        return ImportedLogs({name: spool.table() for name, spool in logs.tables.items()}, logs.counts)


def spool_files(
    paths: Sequence[Path],
    folder: Path,
    *,
    log_format: str | Sequence[str],
    place: Place,
    outcome_column: str = DEFAULT_OUTCOME_COLUMN,
    user_column: str = DEFAULT_USER_COLUMN,
    domain: Domain | None = None,
    privacy: Privacy = KEPT,
) -> SpooledLogs:
    """Read, settle duplicates, annotate turns of the simulated `domain` with its oracle, and make rows.

    `log_format` is one for all files (`auto`: each its own), or one per file. Rows wait in `folder` where
    they are many. The default outcome column means the one the format usually has. Raises NothingImported
    when no conversation is accepted, and LogFileError for a file that cannot be opened at all.
    """
    files = _files(paths, log_format, outcome_column=outcome_column)
    columns = {file.source: file.outcome_column for file in files}
    intake = _Intake(folder, place, domain=domain, columns=columns, privacy=privacy)
    with _no_cycles():
        for batch in batches_of(files):
            kind, column = LOG_FORMATS[batch.format], batch.outcome_column
            for parsed in kind.parse(intake.rows(batch), outcome_column=column, user_column=user_column):
                intake.take(batch, parsed)
        logs = intake.finish()
    if not logs.counts.conversations:
        raise NothingImported(_nothing(files, logs.counts))
    return logs


def _files(paths: Sequence[Path], log_format: str | Sequence[str], *, outcome_column: str) -> list[LogFile]:
    if isinstance(log_format, str):
        log_format = [found.format for found in formats_of(log_format, paths)]
    asked = None if outcome_column == DEFAULT_OUTCOME_COLUMN else outcome_column
    return [
        LogFile(path, source, name, asked or LOG_FORMATS[name].outcome_column)
        for path, source, name in zip(paths, source_names(paths), log_format, strict=True)
    ]


def source_names(paths: Sequence[Path]) -> list[str]:
    """The files by their place below the folder that they share, so that moving them all changes nothing."""
    folder = os.path.commonpath([path.absolute().parent for path in paths])
    return [path.absolute().relative_to(folder).as_posix() for path in paths]


class _Intake:
    """One import on its way: what was seen, what is counted, and the rows that are no longer at hand."""

    def __init__(
        self,
        folder: Path,
        place: Place,
        *,
        domain: Domain | None,
        columns: Mapping[str, str],
        privacy: Privacy,
    ) -> None:
        from storage.spool import Spool

        self._place = place
        self._privacy = privacy
        self._duplicates = Duplicates()
        self._families = Families(place, domain=domain)
        self._lineages = Lineages(place, domain=domain, outcome_columns=columns)
        self._tables = {name: Spool(name, folder) for name in TABLES}
        self._tally = Tally()
        self._strangers: set[Body] = set()
        self._unnamed: dict[int, Item] = {}  # rows of the file at hand that nothing parsed has named yet
        self._spoken: list[Spoken] = []
        self._refused: list[Row] = []

    def rows(self, batch: LogBatch) -> Iterator[tuple[int, LogRow]]:
        """The records of some files that a parser can be given; the others are refused here."""
        from storage.json_rows import BadRow

        for number, item in batch.records():
            self._unnamed[number] = item
            if isinstance(item, BadRow):
                self._reject(batch, Rejected((number,), RejectReason.UNREADABLE, item.reason))
            else:
                yield number, item

    def take(self, batch: LogBatch, parsed: Parsed) -> None:
        """What a parser made of some records: a conversation, or why it is none."""
        if isinstance(parsed, Rejected):
            self._reject(batch, parsed)
            return
        settled = self._privacy.settled(parsed)
        parsed = settled.parsed
        if isinstance(parsed, Rejected):
            self._tally.personal.update(settled.counts)
            self._reject(batch, parsed, masks=settled.masks)
            return
        source, place = batch.source_of(parsed.rows[0])
        placed = parsed if place == parsed.rows[0] else replace(parsed, rows=batch.places(parsed.rows))
        refusal = self._accept(Sourced(source, placed, batch.id_scope))
        if refusal is None:
            self._tally.personal.update(settled.counts)
        else:
            self._reject(batch, replace(refusal, rows=parsed.rows), masks=settled.masks)
        self._forget(parsed.rows)

    def finish(self) -> SpooledLogs:
        """Everything, with the outcomes that only later rows told."""
        self._add_spoken()
        self._add_refused()
        late = [each for each in self._duplicates.late_outcomes() if each.body not in self._strangers]
        for each in late:
            self._tally.correct(each.first, each.settled)
        changes = {conversation_id(self._place, each.body): outcome_columns(each.settled) for each in late}
        self._tables["conversations"].correct(changes)
        return SpooledLogs(self._tables, self._tally.counts())

    def _accept(self, sourced: Sourced) -> Rejected | None:
        refusal = self._duplicates.take(sourced)
        if refusal is not None:
            return refusal
        spoken = self._families.spoken(sourced)
        if isinstance(spoken, Rejected):
            self._strangers.add(sourced.body)
            return spoken
        self._tally.accept(sourced.conversation)
        self._spoken.append(self._known(spoken))
        if len(self._spoken) == BATCH:
            self._add_spoken()
        return None

    def _known(self, spoken: Spoken) -> Spoken:
        """Without the id that it had in the log where that holds what is not to be kept."""
        if spoken.logged_id is None or self._privacy.may_keep(spoken.logged_id):
            return spoken
        self._tally.notes["id_withheld"] += 1
        return replace(spoken, logged_id=None)

    def _reject(self, batch: LogBatch, rejected: Rejected, *, masks: Masks | None = None) -> None:
        rejected = self._privacy.detail(rejected)
        self._tally.reject(rejected)
        for number in rejected.rows:
            source, place = batch.source_of(number)
            raw = {place: self._privacy.raw(self._unnamed[number], masks=masks)}
            self._refused += quarantine_rows(source, replace(rejected, rows=(place,)), raw=raw)
        if len(self._refused) >= BATCH:
            self._add_refused()
        self._forget(rejected.rows)

    def _forget(self, rows: Sequence[int]) -> None:
        for number in rows:
            self._unnamed.pop(number, None)

    def _add_spoken(self) -> None:
        self._tables["conversations"].add(conversation_rows(self._spoken, self._lineages))
        self._tables["turns"].add_columns(logged_turn_columns(self._spoken, self._lineages))
        self._tables["logged_ids"].add(logged_id_rows(self._spoken))
        self._spoken = []

    def _add_refused(self) -> None:
        self._tables["quarantine"].add(self._refused)
        self._refused = []


@contextlib.contextmanager
def _no_cycles() -> Generator[None, None, None]:
    """Without the collector of cycles: records hold none, and it would walk all of them again and again."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _nothing(files: Sequence[LogFile], counts: ImportCounts) -> str:
    formats = ", ".join(dict.fromkeys(file.format for file in files))
    paths = ", ".join(str(file.path) for file in files)
    return (
        f"no conversation accepted from {paths} as {formats}: {counts.read} rows "
        f"({listed(counts.reasons) or 'none'}); nothing is committed; docs/real-logs.md shows what is read"
    )
