"""What is to be stored, readable part by part: bytes at hand, or a file that need not fit into memory."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from storage.objects import ObjectStore

LARGE_BYTES = 8 << 20  # from here on a file is not read whole


class Source(Protocol):
    """Bytes that stay the same while they are being stored."""

    @property
    def size_bytes(self) -> int:
        """How many there are."""
        ...

    def part(self, start: int, stop: int) -> bytes:
        """Those from `start` up to `stop`, or the end."""
        ...


@runtime_checkable
class FileStore(Protocol):
    """A store that takes a file without reading it whole."""

    def create_from(self, key: str, path: Path) -> bool:
        """As `create`, of the file's bytes."""
        ...


@dataclass(frozen=True, slots=True)
class InMemory:
    """Bytes at hand."""

    data: bytes

    @property
    def size_bytes(self) -> int:
        """Of the bytes."""
        return len(self.data)

    def part(self, start: int, stop: int) -> bytes:
        """A slice."""
        return self.data[start:stop]


@dataclass(frozen=True, slots=True)
class OnDisk:
    """A file that nobody changes."""

    path: Path

    @property
    def size_bytes(self) -> int:
        """Of the file."""
        return self.path.stat().st_size

    def part(self, start: int, stop: int) -> bytes:
        """Read from the disk, each time."""
        with open(self.path, "rb", buffering=0) as file:
            return os.pread(file.fileno(), stop - start, start)


def create_from(store: ObjectStore, key: str, *, path: Path) -> bool:
    """Store the file's bytes unless the object exists; only a small file is read whole."""
    if isinstance(store, FileStore) and path.stat().st_size > LARGE_BYTES:
        return store.create_from(key, path)
    return store.create(key, path.read_bytes())
