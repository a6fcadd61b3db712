"""The files of commits as a file system for DuckDB and pyarrow: these and no others, read only.

Sizes come from the commits, so that no file is looked up before it is read, and nothing is ever listed.
"""

import io
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from fsspec import AbstractFileSystem

from storage.block_cache import BlockCache

SCHEME = "lake"
_ALWAYS = datetime(2000, 1, 1, tzinfo=UTC)  # files of commits never change


class CommittedFiles(AbstractFileSystem):
    """`sizes` has every file that there is, by key. The signatures are those that fsspec calls."""

    protocol = SCHEME
    cachable = False

    def __init__(self, sizes: Mapping[str, int], blocks: BlockCache) -> None:
        super().__init__()
        self._sizes = sizes
        self._blocks = blocks

    def info(self, path: str, **kwargs: Any) -> dict[str, Any]:
        """Name, size and type; raises FileNotFoundError for what no commit names."""
        key = self._known(path)
        return {"name": key, "size": self._sizes[key], "type": "file", "mtime": _ALWAYS}

    def glob(self, path: str, maxdepth: int | None = None, **kwargs: Any) -> list[str]:
        """The path itself where it is a committed file: nothing in it is a pattern."""
        key = self._strip_protocol(path)
        return [key] if key in self._sizes else []

    def ls(self, path: str, detail: bool = True, **kwargs: Any) -> list[Any]:
        """The one file with this path: there are no folders to look into."""
        found = self.info(path)
        return [found] if detail else [found["name"]]

    def _open(
        self,
        path: str,
        mode: str = "rb",
        block_size: int | None = None,
        autocommit: bool = True,
        cache_options: Any = None,
        **kwargs: Any,
    ) -> io.RawIOBase:
        if mode != "rb":
            raise PermissionError(f"{path}: committed files are read only, mode {mode!r} is refused")
        key = self._known(path)
        return _OpenFile(key, size_bytes=self._sizes[key], blocks=self._blocks)

    def modified(self, path: str) -> datetime:
        """The same time for every file: what is committed does not change."""
        self._known(path)
        return _ALWAYS

    created = modified

    def _known(self, path: str) -> str:
        key = self._strip_protocol(path)
        if key not in self._sizes:
            raise FileNotFoundError(f"no commit of these views names a file {key!r}")
        return key


class _OpenFile(io.RawIOBase):
    """One open file: blocks that all open files share, and a place in it for every thread.

    DuckDB 2 lets its threads share an open file, and moves and reads it in two calls: with one place for all
    of them, one thread would read where another has just moved to.
    """

    def __init__(self, key: str, *, size_bytes: int, blocks: BlockCache) -> None:
        super().__init__()
        self._key = key
        self._size_bytes = size_bytes
        self._blocks = blocks
        self._places: dict[int, int] = {}

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._places.get(threading.get_ident(), 0)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self.tell(), io.SEEK_END: self._size_bytes}[whence]
        return self._move(max(0, origin + offset))

    def readinto(self, buffer: Any) -> int:  # Any: whatever can be written into, as in io.RawIOBase
        place = self.tell()
        data = self._blocks.read(
            self._key, size_bytes=self._size_bytes, start=place, stop=place + len(buffer)
        )
        buffer[: len(data)] = data
        self._move(place + len(data))
        return len(data)

    def _move(self, place: int) -> int:
        self._places[threading.get_ident()] = place
        return place
