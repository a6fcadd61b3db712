"""Whole objects under string keys: what the lake asks of a folder or a bucket.

Data, manifests and commits need the first protocol only: they are created once and never change. The two
others are for the few objects that do change (leases, commits that `forget` supersedes) and for cleaning up.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from storage.errors import BadKey


@dataclass(frozen=True, slots=True)
class Tagged:
    """The bytes of an object, and the tag that says which bytes they were."""

    data: bytes
    tag: str


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What a store knows of an object without reading it; the time is the store's own, in Unix seconds."""

    key: str
    size_bytes: int
    modified_s: float


class ObjectStore(Protocol):
    """Immutable objects by key; conditional creation is the only way to write."""

    def get(self, key: str) -> bytes:
        """The bytes of an object; raises ObjectMissing."""
        ...

    def create(self, key: str, data: bytes) -> bool:
        """Store the object unless one exists, atomically and durably: True when this call created it."""
        ...

    def list(self, prefix: str) -> list[str]:
        """Every key that starts with the prefix, sorted."""
        ...


class ReplaceableStore(Protocol):
    """Compare and swap, for the few objects that change."""

    def get_tagged(self, key: str) -> Tagged:
        """The bytes of an object with their tag; raises ObjectMissing."""
        ...

    def replace(self, key: str, data: bytes, *, tag: str) -> bool:
        """Put `data` in the place of exactly the bytes that had this tag: True when this call did it.

        Equal bytes have equal tags, so whoever swaps puts something in them that was never there before.
        """
        ...


class SweepableStore(Protocol):
    """Looking for what is old, and removing it."""

    def entries(self, prefix: str) -> Sequence[ObjectInfo]:
        """Every object whose key starts with the prefix, by key."""
        ...

    def delete(self, key: str) -> None:
        """Remove the object for good; one that is not there is no error."""
        ...

    def sweep_unfinished(self, *, older_than_s: float) -> Sequence[str]:
        """Remove what writers that died left half-written, if it is older; says what it was."""
        ...


class LakeStore(ObjectStore, ReplaceableStore, SweepableStore, Protocol):
    """All three: what a lake is opened as."""


def check_key(key: str) -> str:
    """The key itself, or BadKey: relative, no empty, hidden or parent parts, no back-slashes or NULs.

    Hidden names are refused because the local store keeps its own unfinished files under them.
    """
    parts = key.split("/")
    if any(part == "" or part.startswith(".") for part in parts) or "\\" in key or "\0" in key:
        raise BadKey(
            f"object key {key!r} is refused: use parts like 'a/b/c', none empty or starting with '.'"
        )
    return key
