"""Folders of model files to and from the lake: content-addressed, verified, and never pickled."""

import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from storage.digests import file_sha256
from storage.errors import CorruptObject, RefusedFile
from storage.local_store import LocalStore
from storage.manifests import ARTIFACT, CommitKey, FileEntry
from storage.objects import ObjectStore, check_key
from storage.sources import create_from
from storage.stores import materialise

# Everything here is data when it is read. Pickled weights run code when they are loaded, so they stay out.
ALLOWED_SUFFIXES = frozenset(
    {
        ".safetensors",
        ".json",
        ".jsonl",
        ".txt",
        ".jinja",
        ".model",
        ".toml",
        ".md",
        ".html",
        ".csv",
        ".svg",
        ".png",
    }
)


def put_folder(store: ObjectStore, prefix_key: CommitKey, *, folder: Path) -> dict[str, FileEntry]:
    """Store every file of the folder, by its path in it; hidden files and folders are left out.

    Raises RefusedFile for a kind of file that the lake does not take, before anything is stored.
    """
    names = sorted(_names(folder))
    for name in names:
        check_artifact_name(name)
    return {name: _put_file(store, prefix_key, name=name, path=folder / name) for name in names}


def put_bytes(store: ObjectStore, key: CommitKey, *, name: str, data: bytes) -> FileEntry:
    """Store one artifact of a commit under a place made of its content; raises RefusedFile."""
    check_artifact_name(name)
    entry = _entry(key, name, sha256=file_sha256(data), size_bytes=len(data))
    store.create(entry.key, data)
    return entry


def _put_file(store: ObjectStore, key: CommitKey, *, name: str, path: Path) -> FileEntry:
    entry = _entry(key, name, sha256=file_sha256(path), size_bytes=path.stat().st_size)
    create_from(store, entry.key, path=path)
    return entry


def _entry(key: CommitKey, name: str, *, sha256: str, size_bytes: int) -> FileEntry:
    """Its place is made of its content, so that other bytes never come into it."""
    place = f"{key.prefix}/artifacts/{sha256[:32]}/{PurePosixPath(name).name}"
    return FileEntry(ARTIFACT, place, sha256, size_bytes, 0, sha256)


def check_artifact_name(name: str) -> None:
    """RefusedFile unless the name is a safe relative path with an allowed ending."""
    check_key(name)
    suffix = PurePosixPath(name).suffix.lower()
    if suffix not in ALLOWED_SUFFIXES:
        raise RefusedFile(
            f"file {name!r} is refused: endings kept in the lake are {', '.join(sorted(ALLOWED_SUFFIXES))}; "
            "save weights as safetensors (pickled files such as .bin, .pt, .pkl run code when loaded)"
        )


def get_folder(store: ObjectStore, artifacts: Mapping[str, FileEntry], *, destination: Path) -> Path:
    """The artifacts as a local folder, each verified by its hash; a complete folder is used again.

    Files are copies, so that whatever is done to the folder cannot reach the lake. The folder appears in one
    step; of several processes one wins and the others use its folder. Raises CorruptObject.
    """
    if not destination.is_dir():
        unfinished = destination.parent / f".tmp-{destination.name}-{uuid.uuid4().hex}"
        try:
            _fetch(store, artifacts, unfinished)
            _claim(unfinished, destination)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    _check_folder(artifacts, destination)
    return destination


def _names(folder: Path) -> list[str]:
    if not folder.is_dir():
        raise RefusedFile(f"there is no folder {folder} to put into the lake")
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return [path.as_posix() for path in paths if not any(part.startswith(".") for part in path.parts)]


def _fetch(store: ObjectStore, artifacts: Mapping[str, FileEntry], folder: Path) -> None:
    folder.mkdir(parents=True)
    for name, entry in artifacts.items():
        path = folder / check_key(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(store, LocalStore):
            shutil.copyfile(materialise(store, [entry.key])[0], path)
        else:
            path.write_bytes(store.get(entry.key))
        _check_file(entry, path, remedy="restore the object from a copy")


def _claim(unfinished: Path, destination: Path) -> None:
    try:
        os.rename(unfinished, destination)
    except OSError:
        if not destination.is_dir():
            raise


def _check_folder(artifacts: Mapping[str, FileEntry], folder: Path) -> None:
    for name, entry in artifacts.items():
        _check_file(entry, folder / name, remedy=f"remove the folder {folder} and run again")


def _check_file(entry: FileEntry, path: Path, *, remedy: str) -> None:
    found = file_sha256(path) if path.is_file() else "no file"
    if found != entry.sha256:
        raise CorruptObject(
            f"{path} (object {entry.key!r}) is corrupt: expected sha256 {entry.sha256}, "
            f"found {found}; {remedy}"
        )
