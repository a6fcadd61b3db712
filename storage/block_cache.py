"""Parts of objects, read in few requests and kept while they fit: a scan asks for parts of a file often."""

import threading
from collections import OrderedDict
from collections.abc import Callable

from storage.errors import CorruptObject

_MIB = 1 << 20
SMALL_BYTES = 8 * _MIB
LARGEST_BLOCK_BYTES = 64 * _MIB
REQUESTS_OF_A_SCAN = 3

Fetch = Callable[[str, int, int], bytes]  # the key, the first byte, the byte behind the last one


def block_size(size_bytes: int) -> int:
    """How much of an object of this size to ask for at once: a small one whole, a larger one in thirds.

    An object of more than three times the largest block takes more requests: memory comes before requests.
    """
    third = -(-size_bytes // REQUESTS_OF_A_SCAN)
    return min(max(third, SMALL_BYTES), LARGEST_BLOCK_BYTES)


class BlockCache:
    """Blocks of objects by key; each is asked for once, whichever threads want it, while it fits.

    What is kept counts beside DuckDB's own memory limit: at most `capacity_bytes`, and one block a thread.
    """

    def __init__(
        self,
        fetch: Fetch,
        *,
        block_of: Callable[[int], int] = block_size,
        capacity_bytes: int = 256 * _MIB,
    ) -> None:
        self._fetch = fetch
        self._block_of = block_of
        self._capacity_bytes = capacity_bytes
        self._blocks: OrderedDict[tuple[str, int], bytes] = OrderedDict()
        self._kept_bytes = 0
        self._lock = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}

    def read(self, key: str, *, size_bytes: int, start: int, stop: int) -> bytes:
        """The bytes from `start` up to `stop`, cut at the object's end; CorruptObject if that comes early."""
        stop = min(stop, size_bytes)
        if start >= stop:
            return b""
        step = self._block_of(size_bytes)
        first = start // step
        blocks = [self._block(key, index, size_bytes) for index in range(first, -(-stop // step))]
        return b"".join(blocks)[start - first * step : stop - first * step]

    def _block(self, key: str, index: int, size_bytes: int) -> bytes:
        with self._lock_of(key):
            found = self._find(key, index)
            if found is None:
                found = self._fetched(key, index, size_bytes)
                self._keep(key, index, found)
            return found

    def _fetched(self, key: str, index: int, size_bytes: int) -> bytes:
        step = self._block_of(size_bytes)
        start, stop = index * step, min((index + 1) * step, size_bytes)
        data = self._fetch(key, start, stop)
        if len(data) != stop - start:
            raise CorruptObject(
                f"object {key!r} has not the {size_bytes} bytes of its commit: of {start} to {stop} came "
                f"{len(data)}; restore it from a copy (`itpo verify --deep` names all that is damaged)"
            )
        return data

    def _lock_of(self, key: str) -> threading.Lock:
        with self._lock:
            return self._locks.setdefault(key, threading.Lock())

    def _find(self, key: str, index: int) -> bytes | None:
        with self._lock:
            found = self._blocks.get((key, index))
            if found is not None:
                self._blocks.move_to_end((key, index))
            return found

    def _keep(self, key: str, index: int, data: bytes) -> None:
        with self._lock:
            self._blocks[key, index] = data
            self._kept_bytes += len(data)
            while self._kept_bytes > self._capacity_bytes:
                _, oldest = self._blocks.popitem(last=False)
                self._kept_bytes -= len(oldest)
