"""Log files into the tables of one import, every row accounted: accepted + quarantined + duplicate = read.

Conversation by conversation: what is held is the digests of those that were read, and the rows of a batch.
"""

import contextlib
import gc
import os
import tempfile
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from itpo_core.envs.catalogue import Domain
from itpo_core.logs.duplicates import Body, Duplicates
from itpo_core.logs.formats import LOG_FORMATS
from itpo_core.logs.parsed import Rejected
from itpo_core.logs.users import DEFAULT_USER_COLUMN
from tasks.config import ConfigError
from tasks.import_counts import ImportCounts, Tally, listed
from tasks.log_batches import LogFile, batches_of
from tasks.log_detection import formats_of
from tasks.log_privacy import POLICIES, Privacy
from tasks.log_readers import read_all
from tasks.log_reading import Chunk, Read, Reading, Refusal
from tasks.logged_rows import Families, Place, conversation_id, simulator_of
from tasks.raw_rows import refused_rows
from tasks.records import Row, outcome_columns

if TYPE_CHECKING:
    from storage.rows import Table
    from storage.spool import Spool

DEFAULT_OUTCOME_COLUMN = "outcome"
KEPT = POLICIES["keep"]
TABLES = ("conversations", "turns", "quarantine", "logged_ids")


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
    workers: int | None = 0,
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
            workers=workers,
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
    workers: int | None = 0,
) -> SpooledLogs:
    """Read, settle duplicates, annotate turns of the simulated `domain` with its oracle, and make rows.

    `log_format` is one for all files (`auto`: each its own), or one per file. Rows wait in `folder` where
    they are many. The default outcome column means the one the format usually has. `workers` processes read
    ahead, none for 0, None as many as are worth it; what comes out is the same. Raises NothingImported when
    no conversation is accepted, LogFileError for a file that cannot be opened at all, and ReaderDied.
    """
    files = _files(paths, log_format, outcome_column=outcome_column)
    columns = {file.source: file.outcome_column for file in files}
    reading = Reading(place, privacy, simulator_of(domain), user_column, columns)
    intake = _Intake(folder, reading)
    with _no_cycles():
        read_all(batches_of(files), reading, workers=workers, hand_on=intake.take)
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

    def __init__(self, folder: Path, reading: Reading) -> None:
        from storage.spool import Spool

        self._place = reading.place
        self._privacy = reading.privacy
        self._duplicates = Duplicates()
        self._families = Families(reading.place)
        self._tables = {name: Spool(name, folder) for name in TABLES}
        self._tally = Tally()
        self._strangers: set[Body] = set()
        self._refused: list[Row] = []

    def take(self, chunk: Chunk) -> None:
        """The next chunk, in the order of the log."""
        judged: list[tuple[Read, bool]] = []
        for each in chunk.found:
            if isinstance(each, Refusal):
                self._tally.personal.update(each.personal)
                self._refuse(each.rejected, each.rows)
            else:
                judged.append((each, self._accepts(each)))
        self._add(chunk, [(read, is_kept) for read, is_kept in judged if read.stranger is None])
        self._tables["quarantine"].add(self._refused)
        self._refused = []

    def finish(self) -> SpooledLogs:
        """Everything, with the outcomes that only later rows told."""
        late = [each for each in self._duplicates.late_outcomes() if each.body not in self._strangers]
        for each in late:
            self._tally.correct(each.first, each.settled)
        changes = {conversation_id(self._place, each.body): outcome_columns(each.settled) for each in late}
        self._tables["conversations"].correct(changes)
        return SpooledLogs(self._tables, self._tally.counts())

    def _accepts(self, read: Read) -> bool:
        refusal = self._duplicates.take(read.said)
        if refusal is None and read.stranger is not None:
            self._strangers.add(read.said.body)
            refusal = read.stranger
        if refusal is not None:
            rejected = self._privacy.detail(refusal)
            self._refuse(rejected, refused_rows(rejected, read.raw, privacy=self._privacy))
            return False
        self._tally.accept(read.said.outcome, rows=len(read.said.rows), turns=read.turns, notes=read.notes)
        self._tally.personal.update(read.personal)
        return True

    def _refuse(self, rejected: Rejected, rows: Sequence[Row]) -> None:
        self._tally.reject(rejected)
        self._refused += rows

    def _add(self, chunk: Chunk, judged: Sequence[tuple[Read, bool]]) -> None:
        """Rows of the conversations that are kept, each in its group."""
        from storage.rows import kept_rows, with_columns

        kept = [read for read, is_kept in judged if is_kept]
        groups = [self._families.next_in(read.family) for read in kept]
        placed = {
            "group_id": [group for group, _ in groups],
            "sample_index": [sample for _, sample in groups],
        }
        rows = kept_rows(chunk.tables["conversations"], [is_kept for _, is_kept in judged])
        self._tables["conversations"].add_table(with_columns("conversations", rows, columns=placed))
        of_turns = [is_kept for read, is_kept in judged for _ in range(read.turns)]
        self._tables["turns"].add_table(kept_rows(chunk.tables["turns"], of_turns))
        self._tables["logged_ids"].add(self._logged_ids(kept))

    def _logged_ids(self, kept: Sequence[Read]) -> list[Row]:
        """By which what is told later finds its conversation."""
        return [
            {"conversation_id": conversation_id(self._place, read.said.body), "logged_id": read.logged_id}
            for read in kept
            if read.logged_id is not None
        ]


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
