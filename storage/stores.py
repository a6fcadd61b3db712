"""From an address to an open store, and from objects to local files."""

import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable
from urllib.parse import unquote, urlsplit

from storage.errors import ObjectMissing, StoreUnavailable
from storage.local_store import LocalStore
from storage.objects import LakeStore, ObjectStore
from storage.probe import GUARDS, CommitMode

# One slash is missing, or the scheme is in capitals: as a path it would be a folder with an odd name.
_ADDRESS_LIKE = re.compile(r"(?:s3|file):/?(?!/)|(?!s3:|file:)(?i:s3|file)://")


@runtime_checkable
class CopyingStore(Protocol):
    """A store elsewhere that keeps local copies of what does not change."""

    def local_path(self, key: str) -> Path:
        """Where the copy lies, made if it is not there; raises ObjectMissing."""
        ...


def open_store(uri: str, *, commit_mode: CommitMode = "conditional", cache: Path | None = None) -> LakeStore:
    """The store at `file:///…`, a plain path or `s3://bucket/prefix`; StoreUnavailable for another address.

    For a bucket: the endpoint, the region and the credentials come from the AWS variables or profile;
    `commit_mode` "single_writer" does without conditional writes; `cache` keeps local copies of what is read.
    """
    parts = urlsplit(uri)
    if _ADDRESS_LIKE.match(uri):
        raise StoreUnavailable(
            f"lake.root {uri!r} is neither a path nor an address: write s3://bucket/prefix or "
            "file:///absolute/folder, with two slashes and small letters before them"
        )
    if "://" not in uri:
        return LocalStore(Path(uri).expanduser().absolute())
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        return LocalStore(Path(unquote(parts.path)))
    if parts.scheme == "s3":
        return _open_bucket(uri, commit_mode=commit_mode, cache=cache)
    shown = f"{parts.scheme}://…" if "@" in parts.netloc else repr(uri)
    raise StoreUnavailable(
        f"lake.root {shown} is not supported: use file:///absolute/folder, a plain path, or s3://bucket/prefix"
    )


def _open_bucket(uri: str, *, commit_mode: CommitMode, cache: Path | None) -> LakeStore:
    # Imported here: the client of S3 takes a third of a second to load, which a local lake need not pay.
    from storage.s3 import S3Store
    from storage.s3_address import find_place

    return S3Store(find_place(uri), cache=cache, commit_mode=commit_mode, guard=GUARDS[commit_mode])


def materialise(store: ObjectStore, keys: Sequence[str], *, folder: Path | None = None) -> list[Path]:
    """Local files with the content of the objects, in the given order.

    Of the local store these are the objects themselves: never write to them. A bucket keeps copies in its
    cache. Of any other store they are copied into `folder` (by default a new temporary one, which the caller
    removes).
    """
    if isinstance(store, LocalStore):
        return [_existing(store, key) for key in keys]
    if folder is None and isinstance(store, CopyingStore):
        return [store.local_path(key) for key in keys]
    copies = LocalStore(folder or Path(tempfile.mkdtemp(prefix="itpo-objects-")))
    for key in keys:
        copies.create(key, store.get(key))
    return [copies.path(key) for key in keys]


def fetch_again(store: ObjectStore, key: str) -> Path | None:
    """A new copy in the place of a damaged one; None for a store that makes no copies."""
    if not isinstance(store, CopyingStore):
        return None
    store.local_path(key).unlink(missing_ok=True)
    return store.local_path(key)


def _existing(store: LocalStore, key: str) -> Path:
    path = store.path(key)
    if not path.is_file():
        raise ObjectMissing(f"there is no object {key!r} in the lake at {store.root}")
    return path
