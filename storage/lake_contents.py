"""Everything small in a lake, read once and decoded: commits, manifests, events, what is beside them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from storage.digests import file_sha256
from storage.errors import ClosedIteration, CorruptObject, StorageError
from storage.lake_places import Place
from storage.manifests import Commit, CommitKey, ShardManifest, decode_commit, decode_shard, parse_object
from storage.registry import Decision, decode_event

Facts = Mapping[str, Any]  # Any: JSON values


@dataclass(frozen=True, slots=True)
class Link:
    """A registry event as it lies in the lake, and the digest that it says the one before it has."""

    key: str
    event: Decision
    previous: str


@dataclass(slots=True)
class Contents:
    """What was read so far, and the objects that are damaged, each with what is wrong with it."""

    commits: dict[CommitKey, Commit] = field(default_factory=dict)
    shards: dict[CommitKey, dict[int, ShardManifest]] = field(default_factory=dict)
    facts: dict[CommitKey, list[Facts]] = field(default_factory=dict)
    events: dict[str, list[Link]] = field(default_factory=dict)
    tombstones: set[str] = field(default_factory=set)
    closed: set[str] = field(default_factory=set)
    keys: set[str] = field(default_factory=set)
    damaged: dict[str, str] = field(default_factory=dict)

    def add(self, place: Place, data: bytes) -> None:
        """Decode one object; what cannot be is damaged, and says why."""
        self.keys.add(place.key)
        try:
            READERS.get(place.sort, _other)(self, place, data)
        except ClosedIteration:
            self.closed.add(place.key)
        except StorageError as problem:
            self.damaged[place.key] = str(problem)


def _commit(contents: Contents, place: Place, data: bytes) -> None:
    found = decode_commit(data, place=place.key)
    if found.key != place.commit:
        raise CorruptObject(f"object {place.key!r} holds the commit {found.key.text}: restore it from a copy")
    contents.commits[found.key] = found


def _shard(contents: Contents, place: Place, data: bytes) -> None:
    found = decode_shard(data, place=place.key)
    if (found.key, found.shard) != (place.commit, int(place.name)):
        raise CorruptObject(
            f"object {place.key!r} holds shard {found.shard} of {found.key.text}: restore it from a copy"
        )
    contents.shards.setdefault(found.key, {})[found.shard] = found


def _facts(contents: Contents, place: Place, data: bytes) -> None:
    body = parse_object(data, place=place.key)
    attempt = str(body.get("attempt"))
    belongs = place.commit is not None and body.get("key") == place.commit.text
    if place.commit is None or not belongs or file_sha256(attempt.encode())[:32] != place.name:
        raise CorruptObject(
            f"object {place.key!r} holds the side facts of {body.get('key')}, attempt {attempt}: "
            "restore it from a copy"
        )
    contents.facts.setdefault(place.commit, []).append({**body.get("facts", {}), "attempt": attempt})


def _event(contents: Contents, place: Place, data: bytes) -> None:
    previous = str(parse_object(data, place=place.key).get("previous"))
    event = decode_event(data, place=place.key, seq=int(place.name), previous=previous)
    experiment = place.key.partition("/")[0]
    contents.events.setdefault(experiment, []).append(Link(place.key, event, previous))


def _claim(contents: Contents, place: Place, data: bytes) -> None:
    run_id = str(parse_object(data, place=place.key).get("run_id"))
    if file_sha256(run_id.encode()) != place.name:
        raise CorruptObject(f"object {place.key!r} holds the claim of run {run_id!r}: restore it from a copy")


def _named(contents: Contents, place: Place, data: bytes) -> None:
    """An object that may say its own name; then it has to be the one that it lies under."""
    body = parse_object(data, place=place.key)
    if place.sort == "tombstones":
        contents.tombstones.add(place.name)
    said = body.get("name", body.get("id", place.name))
    if said != place.name:
        raise CorruptObject(f"object {place.key!r} says that it is {said!r}: restore it from a copy")


def _other(contents: Contents, place: Place, data: bytes) -> None:
    """Nothing is known of it but, if it is one of our JSON objects, its checksum."""
    if place.key.endswith(".json"):
        parse_object(data, place=place.key)


READERS: Mapping[str, Callable[[Contents, Place, bytes], None]] = {
    "commits": _commit,
    "shard manifests": _shard,
    "side facts": _facts,
    "registry events": _event,
    "run claims": _claim,
    "logs": _named,
    "tombstones": _named,
}
