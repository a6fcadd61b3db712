"""A lake in memory, and one in which something happens before or after any one change."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from storage.errors import ObjectMissing
from storage.objects import LakeStore, ObjectInfo, Tagged, check_key


@dataclass
class MemoryStore:
    """Objects in a dictionary, every method as the protocol says; `now_s` is the time of what is written."""

    objects: dict[str, bytes] = field(default_factory=dict)
    written_s: dict[str, float] = field(default_factory=dict)
    now_s: float = 0.0

    def get(self, key: str) -> bytes:
        """The bytes; raises ObjectMissing."""
        try:
            return self.objects[check_key(key)]
        except KeyError as missing:
            raise ObjectMissing(f"there is no object {key!r}") from missing

    def create(self, key: str, data: bytes) -> bool:
        """Store unless it exists."""
        if check_key(key) in self.objects:
            return False
        self._write(key, data)
        return True

    def list(self, prefix: str) -> list[str]:
        """Every key with the prefix, sorted."""
        return sorted(key for key in self.objects if key.startswith(prefix))

    def get_tagged(self, key: str) -> Tagged:
        """The bytes with their hash."""
        return Tagged(self.get(key), hashlib.sha256(self.get(key)).hexdigest())

    def replace(self, key: str, data: bytes, *, tag: str) -> bool:
        """Swap exactly the bytes with the tag."""
        if key not in self.objects or self.get_tagged(key).tag != tag:
            return False
        self._write(key, data)
        return True

    def entries(self, prefix: str) -> Sequence[ObjectInfo]:
        """Size and time of every object."""
        return [ObjectInfo(key, len(self.objects[key]), self.written_s[key]) for key in self.list(prefix)]

    def delete(self, key: str) -> None:
        """Remove it, if it is there."""
        self.objects.pop(key, None)

    def sweep_unfinished(self, *, older_than_s: float) -> Sequence[str]:
        """Nothing is ever half-written here."""
        return []

    def copy(self) -> "MemoryStore":
        """The same objects in a store of their own."""
        return MemoryStore(dict(self.objects), dict(self.written_s), self.now_s)

    def _write(self, key: str, data: bytes) -> None:
        self.objects[key] = data
        self.written_s[key] = self.now_s


@dataclass
class CountingStore(MemoryStore):
    """Says which objects were read."""

    reads: list[str] = field(default_factory=list)

    def get(self, key: str) -> bytes:
        """As any store, and counted."""
        self.reads.append(key)
        return super().get(key)


@dataclass
class InterruptedStore:
    """A store on which `happens` is called around its changes: with their number, before or after."""

    inner: LakeStore
    happens: Callable[[int, bool], None]  # the number of the change, and whether it is done
    changes: int = 0

    def get(self, key: str) -> bytes:
        """As the store inside."""
        return self.inner.get(key)

    def list(self, prefix: str) -> list[str]:
        """As the store inside."""
        return self.inner.list(prefix)

    def get_tagged(self, key: str) -> Tagged:
        """As the store inside."""
        return self.inner.get_tagged(key)

    def entries(self, prefix: str) -> Sequence[ObjectInfo]:
        """As the store inside."""
        return self.inner.entries(prefix)

    def sweep_unfinished(self, *, older_than_s: float) -> Sequence[str]:
        """As the store inside."""
        return self.inner.sweep_unfinished(older_than_s=older_than_s)

    def create(self, key: str, data: bytes) -> bool:
        """As the store inside, with what happens around it."""
        return self._around(lambda: self.inner.create(key, data))

    def replace(self, key: str, data: bytes, *, tag: str) -> bool:
        """As the store inside, with what happens around it."""
        return self._around(lambda: self.inner.replace(key, data, tag=tag))

    def delete(self, key: str) -> None:
        """As the store inside, with what happens around it."""
        self._around(lambda: self.inner.delete(key) is None)

    def _around(self, change: Callable[[], bool]) -> bool:
        number, self.changes = self.changes, self.changes + 1
        self.happens(number, False)
        answer = change()
        self.happens(number, True)
        return answer
