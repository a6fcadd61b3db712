"""What stays of something forgotten: while it is being removed a pending record, then a tombstone.

Neither holds an id or a word of it. The pending record names rows by salted hashes, so that a run that was
killed can be finished by whoever gives the same ids again; it is deleted in the end. The tombstone says when,
why and how much was removed, which digests changed, and which weights had learned from it.
"""

import datetime
import hashlib
import secrets
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
import pyarrow as pa

from storage.errors import CorruptObject, StorageError
from storage.manifests import canonical_json, encode_object, parse_object
from storage.objects import ObjectStore

FOLDER = "_tombstones/"
_PENDING = f"{FOLDER}pending-"
Counts = Mapping[str, Mapping[str, int]]  # rows by kind of commit and table


class NothingToForget(StorageError):
    """The lake holds no trace of what is to be forgotten."""


class BusyLake(StorageError):
    """A stage is at work on rows that are to be forgotten."""


@dataclass(frozen=True, slots=True)
class Selector:
    """Who or what is to be forgotten: conversations by id, and every conversation of a user."""

    conversations: tuple[str, ...] = ()
    user: str | None = None

    @property
    def ids(self) -> tuple[str, ...]:
        """Every id that was given."""
        return self.conversations if self.user is None else (*self.conversations, self.user)

    @property
    def text(self) -> str:
        """The one text of the selector, whatever the order in which ids were given."""
        return canonical_json({"conversations": sorted(self.conversations), "user": self.user}).decode()


@dataclass(frozen=True, slots=True)
class Marks:
    """Values that can be recognised and not read: their salted hashes."""

    salt: str
    hashes: frozenset[str]

    def of(self, value: str) -> str:
        """The salted hash of a value."""
        return hashlib.sha256(f"{self.salt}\0{value}".encode()).hexdigest()[:32]

    def hold(self, value: str) -> bool:
        """Whether the value is a marked one."""
        return self.of(value) in self.hashes

    def mask(self, column: pa.ChunkedArray) -> np.ndarray:
        """Of each row, whether its value is marked; nulls are not."""
        encoded = column.combine_chunks().dictionary_encode()
        marked = np.array(
            [value is not None and self.hold(value) for value in encoded.dictionary.to_pylist()]
        )
        places = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        return np.append(marked, False)[places].astype(bool)


@dataclass(frozen=True, slots=True)
class Affected:
    """Weights that learned from forgotten rows: `direct`, or by `descent` from weights that did."""

    commit: str
    digest: str
    kind: str
    how: str
    version: str | None  # of policies: the name in the registry


@dataclass(frozen=True, slots=True)
class Pending:
    """A forgetting that was begun: what to remove, without saying what it is.

    `forgetting` is the name that the tombstone will have; `pages` are commits with a page that showed a
    trace, `objects` all that is no table and has to be gone.
    """

    forgetting: str
    selector: str
    salt: str
    marks: tuple[str, ...]
    reason: str
    conversations: int
    removed: Counts
    pages: tuple[str, ...]
    objects: tuple[str, ...]
    affected: tuple[Affected, ...]

    @property
    def marked(self) -> Marks:
        """The rows to remove."""
        return Marks(self.salt, frozenset(self.marks))

    @property
    def place(self) -> str:
        """The object of this record."""
        return f"{_PENDING}{self.forgetting}.json"


@dataclass(frozen=True, slots=True)
class Renewed:
    """A commit in whose place a new one stands: the digests that this forgetting took, and the new one."""

    commit: str
    old: tuple[str, ...]
    new: str


@dataclass(frozen=True, slots=True)
class Tombstone:
    """What is kept for good of one forgetting."""

    name: str
    when: str
    reason: str
    conversations: int
    removed: Counts
    objects: int
    renewed: tuple[Renewed, ...]
    affected: tuple[Affected, ...] = field(default=())


def new_marks(values: Sequence[str]) -> Marks:
    """Marks of the values under a salt of their own."""
    salt = secrets.token_hex(16)
    empty = Marks(salt, frozenset())
    return Marks(salt, frozenset(map(empty.of, values)))


def new_name() -> str:
    """The name of one forgetting."""
    return uuid.uuid4().hex


def begin(store: ObjectStore, pending: Pending) -> Pending:
    """Write the record down before anything is removed."""
    store.create(pending.place, encode_object(asdict(pending)))
    return pending


def find_pending(store: ObjectStore, selector: Selector) -> Pending | None:
    """A forgetting of the same that was begun and not finished, if there is one."""
    for place in store.list(_PENDING):
        pending = _decode_pending(store.get(place), place=place)
        if Marks(pending.salt, frozenset()).of(selector.text) == pending.selector:
            return pending
    return None


def unfinished(store: ObjectStore) -> list[str]:
    """The records of every forgetting that was begun and not finished."""
    return store.list(_PENDING)


def bury(store: ObjectStore, tombstone: Tombstone) -> Tombstone:
    """Write the tombstone; one that is there already stays and is returned."""
    place = tombstone_place(tombstone.name)
    store.create(place, encode_object(asdict(tombstone)))
    return decode_tombstone(store.get(place), place=place)


def tombstone_place(name: str) -> str:
    """The object of a tombstone."""
    return f"{FOLDER}{name}.json"


def tombstones(store: ObjectStore) -> list[Tombstone]:
    """Every forgetting that was finished, oldest first."""
    places = [place for place in store.list(FOLDER) if not place.startswith(_PENDING)]
    found = [decode_tombstone(store.get(place), place=place) for place in places]
    return sorted(found, key=lambda each: (each.when, each.name))


def decode_tombstone(data: bytes, *, place: str) -> Tombstone:
    """The tombstone in the object `place`; raises CorruptObject."""
    body = parse_object(data, place=place)
    try:
        return Tombstone(
            name=body["name"],
            when=body["when"],
            reason=body["reason"],
            conversations=body["conversations"],
            removed=body["removed"],
            objects=body["objects"],
            renewed=tuple(Renewed(e["commit"], tuple(e["old"]), e["new"]) for e in body["renewed"]),
            affected=tuple(Affected(**each) for each in body["affected"]),
        )
    except (KeyError, TypeError) as problem:
        raise CorruptObject(f"object {place!r} is no tombstone: {problem!r}") from problem


def this_second() -> str:
    """The time as a tombstone says it, in UTC."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _decode_pending(data: bytes, *, place: str) -> Pending:
    body = parse_object(data, place=place)
    try:
        return Pending(
            forgetting=body["forgetting"],
            selector=body["selector"],
            salt=body["salt"],
            marks=tuple(body["marks"]),
            reason=body["reason"],
            conversations=body["conversations"],
            removed=body["removed"],
            pages=tuple(body["pages"]),
            objects=tuple(body["objects"]),
            affected=tuple(Affected(**each) for each in body["affected"]),
        )
    except (KeyError, TypeError) as problem:
        raise CorruptObject(f"object {place!r} is no record of a forgetting: {problem!r}") from problem
