"""Whole objects under string keys, created once and never changed.

Everything above this file needs three operations only, so that a bucket can take the place of a folder.
"""

import contextlib
import errno
import fcntl
import os
import tempfile
import uuid
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

from storage.errors import BadKey, ObjectMissing, ReadOnlyLake, StorageFull, StoreUnavailable

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_READ_ONLY = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
_NO_HARD_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV})


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


def write_durably(path: Path, data: bytes) -> None:
    """Write a new file and wait until it is on the disk."""
    with open(path, "xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def hard_link(existing: Path, new: Path) -> None:
    """Give the file a second name; raises FileExistsError when the name is taken."""
    os.link(existing, new)


@dataclass(frozen=True, slots=True)
class LocalStore:
    """Objects as files below `root`.

    `write` and `link` are the two system effects that can fail half-way; tests replace them.
    """

    root: Path
    write: Callable[[Path, bytes], None] = write_durably
    link: Callable[[Path, Path], None] = hard_link

    def path(self, key: str) -> Path:
        """Where the object lies, whether it exists or not."""
        return self.root / check_key(key)

    def get(self, key: str) -> bytes:
        """The bytes of an object; raises ObjectMissing."""
        path = self.path(key)
        try:
            return path.read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as missing:
            raise ObjectMissing(f"there is no object {key!r} in the lake at {self.root}") from missing

    def create(self, key: str, data: bytes) -> bool:
        """Store the object unless one exists; StorageFull and ReadOnlyLake leave nothing behind."""
        path = self.path(key)
        if path.exists():
            return False
        with _explained(path):
            _make_folders(path.parent)
            return self._publish(path, data)

    def list(self, prefix: str) -> list[str]:
        """Every key that starts with the prefix, sorted; unfinished files and locks are not listed."""
        folder = prefix.rpartition("/")[0]
        start = self.path(folder) if folder else self.root
        return sorted(key for key in _walk(start, self.root) if key.startswith(prefix))

    def _publish(self, path: Path, data: bytes) -> bool:
        # The unfinished file lies beside its final name: a link cannot cross file systems.
        unfinished = path.parent / f".tmp-{uuid.uuid4().hex}"
        try:
            self.write(unfinished, data)
            return self._name(unfinished, path)
        finally:
            unfinished.unlink(missing_ok=True)
            _sync_folder(path.parent)

    def _name(self, unfinished: Path, path: Path) -> bool:
        try:
            self.link(unfinished, path)
        except OSError as problem:
            # A network file system may do the link, lose the answer, and report a failure.
            if unfinished.stat().st_nlink == 2:
                return True
            if isinstance(problem, FileExistsError):
                return False
            if problem.errno not in _NO_HARD_LINKS:
                raise
            return _rename_under_lock(unfinished, path)
        return True


def _rename_under_lock(unfinished: Path, path: Path) -> bool:
    """Create-only naming where hard links are missing (FAT, some containers and network mounts).

    A rename replaces silently, so writers take turns. They hold the kernel's advisory lock, not a lock file
    made with O_EXCL: a killed process would leave that behind and block the key for ever. Nor is the final
    name opened with O_EXCL: a reader would see the bytes while they are written.
    """
    with open(path.parent / ".lock", "ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if path.exists():
            return False
        unfinished.rename(path)
        return True


@contextlib.contextmanager
def _explained(path: Path) -> Generator[None, None, None]:
    """Turn the system's refusals into messages with a remedy."""
    try:
        yield
    except OSError as problem:
        if problem.errno in _FULL:
            raise StorageFull(
                f"no space left to write {path}: free some space or move the lake, then run the same "
                "command again; nothing of this object was kept"
            ) from problem
        if problem.errno in _READ_ONLY:
            raise ReadOnlyLake(
                f"the lake cannot be written: {problem.strerror} at {path}; give this user write permission "
                "or set lake.root to a folder that it owns"
            ) from problem
        raise


def _make_folders(folder: Path) -> None:
    """Make the folder and its parents, durably: a file is only as durable as the names that lead to it."""
    if folder.is_dir():
        return
    _make_folders(folder.parent)
    folder.mkdir(exist_ok=True)
    _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _walk(start: Path, root: Path) -> Iterator[str]:
    for folder, folders, files in os.walk(start):
        folders[:] = [name for name in folders if not name.startswith(".")]
        place = Path(folder).relative_to(root)
        yield from ((place / name).as_posix() for name in files if not name.startswith("."))


def open_store(uri: str) -> ObjectStore:
    """The store at `file:///…` or a plain path; StoreUnavailable for every other address."""
    parts = urlsplit(uri)
    if "://" not in uri:
        return LocalStore(Path(uri).expanduser().absolute())
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        return LocalStore(Path(unquote(parts.path)))
    raise StoreUnavailable(
        f"lake.root {uri!r} is not supported: use file:///absolute/folder or a plain path; "
        "this build has no adapter for object storage over the network"
    )


def materialise(store: ObjectStore, keys: Sequence[str], *, folder: Path | None = None) -> list[Path]:
    """Local files with the content of the objects, in the given order.

    Of the local store these are the objects themselves: never write to them. Other stores are copied into
    `folder` (by default a new temporary one, which the caller removes).
    """
    if isinstance(store, LocalStore):
        return [_existing(store, key) for key in keys]
    copies = LocalStore(folder or Path(tempfile.mkdtemp(prefix="itpo-objects-")))
    for key in keys:
        copies.create(key, store.get(key))
    return [copies.path(key) for key in keys]


def _existing(store: LocalStore, key: str) -> Path:
    path = store.path(key)
    if not path.is_file():
        raise ObjectMissing(f"there is no object {key!r} in the lake at {store.root}")
    return path
