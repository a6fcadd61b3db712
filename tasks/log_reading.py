"""Records of log files into chunks: all of an import that does not depend on what was read before.

Nothing here remembers more than one chunk, so that several processes can read several batches at once.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from itpo_core.logs.duplicates import Said, Sourced
from itpo_core.logs.formats import LOG_FORMATS
from itpo_core.logs.parsed import Parsed, ParsedConversation, Rejected, RejectReason
from itpo_core.logs.parsed import Row as LogRow
from tasks.log_batches import LogBatch
from tasks.log_privacy import Privacy
from tasks.logged_rows import (
    Lineages,
    Place,
    Simulator,
    Spoken,
    conversation_rows,
    family_of,
    logged_turn_columns,
    spoken_of,
)
from tasks.raw_rows import Raw, RawRows, refused_rows
from tasks.records import Row

if TYPE_CHECKING:
    from storage.json_rows import Item
    from storage.rows import Table

CHUNK = 256  # conversations and refusals that are handed on at once, and become Arrow at once
CHUNK_CHARACTERS = 4_000_000  # or as many as say this much
WITHHELD = "id_withheld"  # the note of a conversation whose id in the log is not to be kept


@dataclass(frozen=True, slots=True)
class Reading:
    """What all batches of an import are read by. `user_column` and `outcome_columns` (by file) say where."""

    place: Place
    privacy: Privacy
    simulator: Simulator | None
    user_column: str
    outcome_columns: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Read:
    """A conversation that was read, as far as it matters to those after it.

    `personal` counts places of personal data by kind, `logged_id` is the log's id where that may be kept.
    With a `stranger`, why it is none of the simulated domain, it has no rows in the tables.
    """

    said: Said
    family: str
    turns: int
    notes: tuple[str, ...]
    logged_id: str | None
    personal: Mapping[str, int]
    raw: Raw
    stranger: Rejected | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Rows that are no conversation whatever else was read, and what they are in quarantine."""

    rejected: Rejected
    rows: list[Row]
    personal: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some of a batch in the order of the log. In `tables`, `conversations` and `turns`, stand the rows of
    those that were read, in no group yet."""

    found: Sequence[Read | Refusal]
    tables: Mapping[str, "Table"]


HandOn = Callable[[Chunk], None]
KeepRaw = Callable[[RawRows], Raw]


def read_batch(batch: LogBatch, reading: Reading, *, hand_on: HandOn, keep_raw: KeepRaw) -> None:
    """Read and settle all records, and hand them on chunk by chunk. Raises LogFileError."""
    reader = _Reader(batch, reading, hand_on=hand_on, keep_raw=keep_raw)
    parse = LOG_FORMATS[batch.format].parse
    for parsed in parse(reader.rows(), outcome_column=batch.outcome_column, user_column=reading.user_column):
        reader.take(parsed)
    reader.finish()


class _Reader:
    """One batch on its way: rows that nothing has named yet, and the chunk that is begun."""

    def __init__(self, batch: LogBatch, reading: Reading, *, hand_on: HandOn, keep_raw: KeepRaw) -> None:
        self._batch = batch
        self._reading = reading
        self._hand_on = hand_on
        self._keep_raw = keep_raw
        self._lineages = Lineages(
            reading.place, simulator=reading.simulator, outcome_columns=reading.outcome_columns
        )
        self._unnamed: dict[int, Item] = {}
        self._begun = _Begun()

    def rows(self) -> Iterator[tuple[int, LogRow]]:
        """The records that a parser can be given; the others are refused here."""
        from storage.json_rows import BadRow

        for number, item in self._batch.records():
            self._unnamed[number] = item
            if isinstance(item, BadRow):
                self.take(Rejected((number,), RejectReason.UNREADABLE, item.reason))
            else:
                yield number, item

    def take(self, parsed: Parsed) -> None:
        """What a parser made of some records: a conversation, or why it is none."""
        settled = self._reading.privacy.settled(parsed)
        rows = tuple((*self._batch.source_of(each), self._unnamed.pop(each)) for each in parsed.rows)
        raw = RawRows(rows, settled.masks)
        if isinstance(settled.parsed, Rejected):
            self._refuse(settled.parsed, raw, personal=settled.counts)
        else:
            self._read(settled.parsed, raw, personal=settled.counts)
        if self._begun.is_full:
            self.finish()

    def finish(self) -> None:
        """Hand on what there is."""
        if self._begun.found:
            self._hand_on(self._begun.chunk(self._lineages))
            self._begun = _Begun()

    def _refuse(self, rejected: Rejected, raw: RawRows, *, personal: Mapping[str, int]) -> None:
        rejected = self._reading.privacy.detail(rejected)
        rows = refused_rows(rejected, raw, privacy=self._reading.privacy)
        self._begun.found.append(Refusal(rejected, rows, personal))
        self._begun.characters += sum(len(str(row["raw"])) for row in rows)

    def _read(self, parsed: ParsedConversation, raw: RawRows, *, personal: Mapping[str, int]) -> None:
        places = tuple(place for _, place, _ in raw.rows)
        placed = parsed if places == parsed.rows else replace(parsed, rows=places)
        sourced = Sourced(raw.rows[0][0], placed, self._batch.id_scope)
        spoken = spoken_of(sourced, self._reading.place, simulator=self._reading.simulator)
        is_told = parsed.logged_id is None or self._reading.privacy.may_keep(parsed.logged_id)
        notes = [note.value for note in parsed.notes]
        read = Read(
            said=sourced.said,
            family=family_of(sourced),
            turns=len(parsed.suggestions),
            notes=tuple(notes if is_told else [*notes, WITHHELD]),
            logged_id=parsed.logged_id if is_told else None,
            personal=personal,
            raw=self._keep_raw(raw),
            stranger=spoken if isinstance(spoken, Rejected) else None,
        )
        self._begun.found.append(read)
        if isinstance(spoken, Spoken):
            self._begun.spoken.append(spoken)
            self._begun.characters += sum(len(message.content) for message in parsed.messages)


@dataclass(slots=True)
class _Begun:
    """A chunk that is begun."""

    found: list[Read | Refusal] = field(default_factory=list)
    spoken: list[Spoken] = field(default_factory=list)
    characters: int = 0

    @property
    def is_full(self) -> bool:
        """Whether it is to be handed on; a few huge conversations fill it too."""
        return len(self.found) >= CHUNK or self.characters >= CHUNK_CHARACTERS

    def chunk(self, lineages: Lineages) -> Chunk:
        """What was begun, its rows as tables."""
        from storage.rows import of_columns, to_table

        tables = {
            "conversations": to_table("conversations", conversation_rows(self.spoken, lineages)),
            "turns": of_columns("turns", logged_turn_columns(self.spoken, lineages)),
        }
        return Chunk(self.found, tables)
