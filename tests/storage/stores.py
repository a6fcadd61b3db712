"""Stores that break on purpose, at a stated moment."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from storage.local_store import LocalStore


class Killed(BaseException):
    """The process is gone: nothing may catch this."""


@dataclass
class DyingStore:
    """A local store whose process dies just before or just after its n-th creation (counted from 0)."""

    inner: LocalStore
    dies_at: int
    after: bool
    created: int = field(default=0)

    def get(self, key: str) -> bytes:
        """As the store inside."""
        return self.inner.get(key)

    def list(self, prefix: str) -> list[str]:
        """As the store inside."""
        return self.inner.list(prefix)

    def create(self, key: str, data: bytes) -> bool:
        """As the store inside, unless this is the last moment."""
        due = self.created == self.dies_at
        self.created += 1
        if due and not self.after:
            raise Killed
        answer = self.inner.create(key, data)
        if due:
            raise Killed
        return answer


def failing_write(number: int) -> Callable[[Path, bytes], None]:
    """A write that gets half of the bytes onto the disk and then fails with this errno."""

    def write(path: Path, data: bytes) -> None:
        path.write_bytes(data[: len(data) // 2])
        raise OSError(number, "the disk says no")

    return write


def failing_link(number: int) -> Callable[[Path, Path], None]:
    """A link that always fails with this errno."""

    def link(existing: Path, new: Path) -> None:
        raise OSError(number, "no link")

    return link


def every_file(root: Path) -> set[str]:
    """All files below the folder, hidden ones too."""
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
