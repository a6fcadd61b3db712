"""What of a lake belongs to whom: the conversations that are meant, their copies, and rejected log rows."""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.parquet as pq

from storage.commits import checked_bytes
from storage.datasets import Dataset
from storage.errors import ObjectMissing
from storage.manifests import CommitKey, FileEntry
from storage.needles import DISTINCTIVE, Needles, forms, user_in
from storage.objects import ObjectStore
from storage.row_masks import is_among
from storage.schemas import SCHEMAS
from storage.tombstones import Marks, Selector

_KNOWN = ("conversation_id", "user_id", "source_file", "source_row", "transcript_sha256", "latent_json",
          "persona_id", "seed", "messages_json", "scenario_id")  # fmt: skip
_QUARANTINE = ("source_file", "source_row", "reason", "raw")
_USER_PLACES = ("user", "user_id", "metadata.user", "metadata.user_id")
_PLAYED = frozenset({"opening", "told"})  # of the facts of a scenario that is a logged user's
QUARANTINE, RAW, ID = "quarantine", "raw", "conversation_id"
Row = Mapping[str, object]


@dataclass(slots=True)
class Meant:
    """What is to be forgotten: conversations by id, where they came from, what was said; rejected rows.

    `copies` are those ids that nobody named; `messages` are what only these conversations say.
    """

    selector: Selector
    ids: set[str] = field(default_factory=set)
    copies: set[str] = field(default_factory=set)
    sources: dict[CommitKey, set[tuple[str, int]]] = field(default_factory=dict)
    transcripts: set[tuple[str, ...]] = field(default_factory=set)
    messages: frozenset[str] = frozenset()
    raws: set[str] = field(default_factory=set)

    @property
    def needles(self) -> Needles:
        """What to look for outside of tables."""
        return Needles(frozenset(self.ids), self.selector.user, self.messages)

    def add(self, dataset: CommitKey, row: Row) -> None:
        """Take in one row of `conversations`."""
        self.ids.add(str(row["conversation_id"]))
        if row["source_file"] is not None:
            place = (str(row["source_file"]), int(str(row["source_row"])))
            self.sources.setdefault(dataset, set()).add(place)
        self.transcripts.add(tuple(message["content"] for message in json.loads(str(row["messages_json"]))))


def search(store: ObjectStore, datasets: Sequence[Dataset], *, selector: Selector) -> Meant:
    """Everything in tables that belongs to the selector, over all experiments.

    A conversation that was imported twice has two ids: one of a log with the same words, facts, persona and
    seed is a copy, unless it names another user. One in which a language model played its user begins with
    that user's words, and belongs. Rejected log rows belong when they repeat such a conversation, stand under
    its log id, name the user, or hold words that nobody else said.
    """
    meant = Meant(selector, ids=set(selector.conversations))
    named = list(_named_rows(store, datasets, selector))
    for dataset, row in named:
        meant.add(dataset, row)
    logged = [row for _, row in named if row["source_file"] is not None]
    for dataset, row in _repeated(store, datasets, logged):
        meant.copies |= {str(row["conversation_id"])} - meant.ids
        meant.add(dataset, row)
    meant.messages = _own_words(store, datasets, meant)
    meant.raws = _rejected(store, datasets, meant)
    return meant


def tables_of(
    store: ObjectStore, datasets: Sequence[Dataset], *, table: str, columns: Sequence[str]
) -> Iterator[tuple[Dataset, FileEntry, pa.Table]]:
    """Some columns of every file of a table; a column that a file does not have yet is null."""
    for dataset in datasets:
        for entry in dataset.files:
            if entry.table == table and (found := read_columns(store, entry, columns=columns)) is not None:
                yield dataset, entry, found


def read_columns(store: ObjectStore, entry: FileEntry, *, columns: Sequence[str]) -> pa.Table | None:
    """These columns of a file; None for one that is gone because a later one took its place.

    A commit may still name such a file for the moment in which it is being replaced.
    """
    try:
        return columns_of(checked_bytes(store, entry), columns=columns)
    except ObjectMissing:
        return None


def columns_of(data: bytes, *, columns: Sequence[str]) -> pa.Table:
    """These columns of the Parquet bytes; one that is not there yet is null."""
    file = pq.ParquetFile(pa.BufferReader(data))
    present = [name for name in columns if name in file.schema_arrow.names]
    table = file.read(columns=present)
    for name in columns:
        if name not in present:
            table = table.append_column(name, pa.nulls(table.num_rows, pa.string()))
    return table


def marked_column(table: str) -> str | None:
    """The column that tells whose a row is; None for tables of figures."""
    if table == QUARANTINE:
        return RAW
    return ID if table in SCHEMAS and ID in SCHEMAS[table].names else None


def holds_marked(data: bytes, *, table: str, marks: Marks) -> bool:
    """Whether the Parquet bytes of a table hold marked rows; half a file holds nothing that can be read."""
    column = marked_column(table)
    try:
        return column is not None and bool(marks.mask(columns_of(data, columns=[column])[column]).any())
    except (pa.ArrowException, OSError):
        return False


def _named_rows(
    store: ObjectStore, datasets: Sequence[Dataset], selector: Selector
) -> Iterator[tuple[CommitKey, Row]]:
    users = () if selector.user is None else (selector.user,)
    for dataset, _, table in tables_of(store, datasets, table="conversations", columns=_KNOWN):
        named = is_among(table["conversation_id"], set(selector.conversations))
        found = table.filter(pa.array(named | is_among(table["user_id"], users)))
        yield from ((dataset.key, row) for row in found.to_pylist())


def _repeated(
    store: ObjectStore, datasets: Sequence[Dataset], logged: Sequence[Row]
) -> Iterator[tuple[CommitKey, Row]]:
    """Copies of these conversations of a log, and those in which a model played their users."""
    if not logged:
        return
    texts = {str(row["transcript_sha256"]) for row in logged}
    tasks = {str(row["scenario_id"]) for row in logged}
    for dataset, _, table in tables_of(store, datasets, table="conversations", columns=_KNOWN):
        alike = is_among(table["transcript_sha256"], texts) | is_among(table["scenario_id"], tasks)
        for row in table.filter(pa.array(alike)).to_pylist():
            if any(_is_copy(row, of=other) or _is_played(row, of=other) for other in logged):
                yield dataset.key, row


def _is_copy(row: Row, *, of: Row) -> bool:
    same = ("transcript_sha256", "latent_json", "persona_id", "seed")
    users = {row["user_id"], of["user_id"]} - {None}
    return row["source_file"] is not None and len(users) < 2 and all(row[name] == of[name] for name in same)


def _is_played(row: Row, *, of: Row) -> bool:
    """Whether the row's facts are what a logged user said: how he began, and the beginnings of what came."""
    facts = _value(str(row["latent_json"])) if row["source_file"] is None else None
    if row["scenario_id"] != of["scenario_id"] or not isinstance(facts, dict) or not facts.keys() >= _PLAYED:
        return False
    messages = json.loads(str(of["messages_json"]))
    said = [message["content"] for message in messages if message["role"] == "user"]
    return facts["opening"] in said and all(
        any(text.startswith(told) for text in said) for told in facts["told"]
    )


def _own_words(store: ObjectStore, datasets: Sequence[Dataset], meant: Meant) -> frozenset[str]:
    """The messages long enough to be somebody's, less those that a conversation which stays holds."""
    said = {text for transcript in meant.transcripts for text in transcript}
    long = frozenset(text for text in said if len(text.strip()) >= DISTINCTIVE)
    return _said_by_nobody_else(store, datasets, meant, texts=long)


def _said_by_nobody_else(
    store: ObjectStore, datasets: Sequence[Dataset], meant: Meant, *, texts: frozenset[str]
) -> frozenset[str]:
    own = set(texts)
    for _, texts in words_of_others(store, datasets, ids=meant.ids) if own else ():
        said = "\n".join(texts.to_pylist())  # one search through all is ten times as fast as one by one
        own -= {text for text in own if any(form in said for form in forms(text))}
    return frozenset(own)


def words_of_others(
    store: ObjectStore, datasets: Sequence[Dataset], *, ids: Collection[str]
) -> Iterator[tuple[FileEntry, pa.ChunkedArray]]:
    """What is said in every conversation that stays, as JSON, file by file."""
    columns = ("conversation_id", "messages_json")
    for _, entry, table in tables_of(store, datasets, table="conversations", columns=columns):
        stays = ~is_among(table["conversation_id"], ids)
        yield entry, table.filter(pa.array(stays))["messages_json"]


def _rejected(store: ObjectStore, datasets: Sequence[Dataset], meant: Meant) -> set[str]:
    """The text of every quarantined row that belongs; of damaged ones also those with a part of a message."""
    found: set[str] = set()
    parts: dict[str, frozenset[str]] = {}
    for dataset, _, table in tables_of(store, datasets, table="quarantine", columns=_QUARANTINE):
        sources, columns = meant.sources.get(dataset.key, set()), _user_places(dataset)
        for row in table.to_pylist():
            raw = str(row["raw"])
            if _points_at(str(row["reason"]), sources) or _belongs(raw, meant, columns=columns):
                found.add(raw)
            elif _value(raw) is None:
                parts[raw] = _parts_in(raw, meant)
    shared = frozenset(part for held in parts.values() for part in held)
    own = _said_by_nobody_else(store, datasets, meant, texts=shared)
    return found | {raw for raw, held in parts.items() if held & own}


def _parts_in(raw: str, meant: Meant) -> frozenset[str]:
    """Which stretches of messages stand in the text: a row that was cut off holds no message whole."""
    said = (text for transcript in meant.transcripts for text in transcript)
    starts = ((text, start) for text in said for start in range(0, len(text) - DISTINCTIVE + 1, DISTINCTIVE))
    parts = {text[start : start + DISTINCTIVE] for text, start in starts}
    return frozenset(part for part in parts if any(form in raw for form in forms(part)))


def _value(raw: str) -> object:
    """The row, or None where it cannot be read."""
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        return None


def _points_at(reason: str, sources: set[tuple[str, int]]) -> bool:
    """Whether the reason says that the row repeats one of these rows, or has the log id of one."""
    places = [f"row {row} of {file}" for file, row in sources]
    return any(reason.endswith((f"repeats {p}", f"taken by {p}, which says something else")) for p in places)


def _user_places(dataset: Dataset) -> tuple[str, ...]:
    inputs = dataset.inputs
    return (*_USER_PLACES, inputs["user_column"]) if "user_column" in inputs else _USER_PLACES


def _belongs(raw: str, meant: Meant, *, columns: Sequence[str]) -> bool:
    """Whether a log row names the user, says exactly what a forgotten conversation says, or its own words."""
    user, names = meant.selector.user, [column.rpartition(".")[2] for column in columns]
    if any(form in raw for said in meant.messages for form in forms(said)):
        return True
    if user is not None and user_in(raw, user, names=names):
        return True
    said = tuple(_contents(_value(raw)))
    return bool(said) and said in meant.transcripts


def _contents(value: object) -> Iterator[str]:
    """What is said in a log row, in order, wherever its messages lie."""
    if isinstance(value, dict):
        for name, part in value.items():
            if name == "content" and isinstance(part, str):
                yield part
            else:
                yield from _contents(part)
    elif isinstance(value, list):
        for part in value:
            yield from _contents(part)
