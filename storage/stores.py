"""From an address to an open store, and from objects to local files."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from storage.errors import ObjectMissing, StoreUnavailable
from storage.local_store import LocalStore
from storage.objects import LakeStore, ObjectStore


def open_store(uri: str) -> LakeStore:
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
