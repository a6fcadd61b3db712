"""Small objects that are read together and often: a listing tells which local copies are still true.

A copy is kept under the tag that the store gave to its bytes, and with a hash of its own: an object that was
put anew, or a lake that was made anew at the same address, has other tags, and a damaged copy is no copy.
"""

import re
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol, runtime_checkable

from storage.copies import copy_of
from storage.digests import file_sha256
from storage.errors import ObjectMissing
from storage.objects import ObjectStore, Tagged

READERS = 8
_HASH_CHARACTERS = 64
_ODD = re.compile(r"[^0-9A-Za-z-]")


@runtime_checkable
class ListedStore(Protocol):
    """A store elsewhere, to which every request is a long way."""

    def get_below(self, prefix: str) -> Mapping[str, bytes]:
        """Every object whose key starts with the prefix, by key; what was read before is not sent again."""
        ...


def get_below(store: ObjectStore, prefix: str) -> Mapping[str, bytes]:
    """The same of any store; nothing where reading one by one costs no more."""
    return store.get_below(prefix) if isinstance(store, ListedStore) else {}


def read_together(
    tags: Mapping[str, str], *, place_of: Callable[[str], Path], fetch: Callable[[str], Tagged]
) -> dict[str, bytes]:
    """The objects with these tags, by key; what has no true copy is fetched, several at a time."""
    found = {key: _kept(_place(place_of(key), tag)) for key, tag in tags.items()}
    missing = [key for key, data in found.items() if data is None]

    def fetched(key: str) -> bytes | None:
        try:
            answer = fetch(key)
        except ObjectMissing:
            return None  # it went since it was listed
        _keep(_place(place_of(key), answer.tag), answer.data)
        return answer.data

    with ThreadPoolExecutor(READERS) as readers:
        found.update(zip(missing, readers.map(fetched, missing), strict=True))
    return {key: data for key, data in found.items() if data is not None}


def _place(place: Path, tag: str) -> Path:
    return place.with_name(f"{_ODD.sub('', tag)}-{place.name}")


def _kept(place: Path) -> bytes | None:
    try:
        kept = place.read_bytes()
    except FileNotFoundError:
        return None
    data = kept[_HASH_CHARACTERS:]
    return data if file_sha256(data).encode() == kept[:_HASH_CHARACTERS] else None


def _keep(place: Path, data: bytes) -> None:
    place.unlink(missing_ok=True)  # a damaged one
    copy_of(place, fetch=lambda: file_sha256(data).encode() + data)
