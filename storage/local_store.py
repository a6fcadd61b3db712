"""The lake as a folder: one file per object, named in one step, durable before it has its name."""

import contextlib
import errno
import fcntl
import hashlib
import os
import time
import uuid
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from storage.errors import ObjectMissing, ReadOnlyLake, StorageFull, StoreTimeout
from storage.objects import ObjectInfo, Tagged, check_key

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_READ_ONLY = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
_NO_HARD_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV})
_UNFINISHED = ".tmp-"


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

    `write` and `link` are the two system effects that can fail half-way; tests replace them. `lock_wait_s` is
    how long a swap waits for another one in the same folder.
    """

    root: Path
    write: Callable[[Path, bytes], None] = write_durably
    link: Callable[[Path, Path], None] = hard_link
    lock_wait_s: float = 10.0

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

    def get_tagged(self, key: str) -> Tagged:
        """The bytes with their hash as the tag; raises ObjectMissing."""
        data = self.get(key)
        return Tagged(data, _tag(data))

    def replace(self, key: str, data: bytes, *, tag: str) -> bool:
        """Swap the file while it is locked; readers see the old bytes or the new ones, never a part."""
        path = self.path(key)
        if not path.is_file():
            return False
        gone = contextlib.suppress(FileNotFoundError)  # another one removed it meanwhile
        with _explained(path), gone, _alone_at(path, self.lock_wait_s):
            return _tag(path.read_bytes()) == tag and self._swap(path, data)
        return False

    def _swap(self, path: Path, data: bytes) -> bool:
        unfinished = path.parent / f"{_UNFINISHED}{uuid.uuid4().hex}"
        try:
            self.write(unfinished, data)
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)
        _sync_folder(path.parent)
        return True

    def entries(self, prefix: str) -> Sequence[ObjectInfo]:
        """Size and time of every object, by key; one that vanishes meanwhile is left out."""
        stats = ((key, _stat(self.path(key))) for key in self.list(prefix))
        return [ObjectInfo(key, stat.st_size, stat.st_mtime) for key, stat in stats if stat is not None]

    def delete(self, key: str) -> None:
        """Remove the file; its folders stay, as another writer may be about to use them."""
        path = self.path(key)
        with _explained(path):
            path.unlink(missing_ok=True)
            if path.parent.is_dir():
                _sync_folder(path.parent)

    def sweep_unfinished(self, *, older_than_s: float) -> Sequence[str]:
        """Remove temporary files that have not been written to for so long."""
        oldest = time.time() - older_than_s
        found = ((path, _stat(path)) for path in self.root.rglob(f"{_UNFINISHED}*"))
        stale = [path for path, stat in found if stat is not None and stat.st_mtime < oldest]
        for path in stale:
            path.unlink(missing_ok=True)
        return [path.relative_to(self.root).as_posix() for path in stale]

    def _publish(self, path: Path, data: bytes) -> bool:
        # The unfinished file lies beside its final name: a link cannot cross file systems.
        unfinished = path.parent / f"{_UNFINISHED}{uuid.uuid4().hex}"
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
            return _rename_under_lock(unfinished, path, wait_s=self.lock_wait_s)
        return True


def _rename_under_lock(unfinished: Path, path: Path, *, wait_s: float) -> bool:
    """Create-only naming where hard links are missing (FAT, some containers and network mounts).

    A rename replaces silently, so writers take turns. They hold the kernel's advisory lock, not a lock file
    made with O_EXCL: a killed process would leave that behind and block the key for ever. Nor is the final
    name opened with O_EXCL: a reader would see the bytes while they are written.
    """
    with _locked(path.parent, wait_s):
        if path.exists():
            return False
        unfinished.rename(path)
        return True


def _stat(path: Path) -> os.stat_result | None:
    """What the system knows of the file; None when it is gone meanwhile."""
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def _tag(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@contextlib.contextmanager
def _locked(folder: Path, wait_s: float) -> Generator[None, None, None]:
    with open(folder / ".lock", "ab") as lock:
        _lock(lock.fileno(), folder / ".lock", wait_s=wait_s)
        yield


@contextlib.contextmanager
def _alone_at(path: Path, wait_s: float) -> Generator[None, None, None]:
    """Hold the lock of the file that has this name; one that was swapped meanwhile is not it any more.

    The file itself is locked, so that whoever is stopped in the middle is in the way of this object only.
    """
    with contextlib.ExitStack() as opened:
        while True:
            file = opened.enter_context(open(path, "rb+"))
            _lock(file.fileno(), path, wait_s=wait_s)
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                break
            opened.pop_all().close()
        yield


def _lock(descriptor: int, path: Path, *, wait_s: float) -> None:
    """Wait for the lock, but not for ever: whoever was stopped in the middle keeps it until it goes on."""
    deadline_s = time.monotonic() + wait_s
    while time.monotonic() < deadline_s:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        time.sleep(0.01)
    raise StoreTimeout(
        f"{path} was locked by another process for {wait_s:g} s, which is stopped or hangs: let it go on, or "
        "end it (`fuser` on this file names it), then run the same command again"
    )


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
