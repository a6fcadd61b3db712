"""One dataset without the marked rows: new files, then its manifests, then its commit, then the old files go.

Until a manifest or commit is swapped, readers see the old rows; after it, the new ones. Whatever this process
did before it was killed is found done by the next one: new files have names made of their content, a swap
succeeds once, and old files that nothing names any more are swept up in the end.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from storage.commits import checked_bytes
from storage.datasets import Dataset
from storage.digests import data_digest, file_sha256
from storage.errors import ClosedIteration, ObjectMissing
from storage.forget_search import read_columns
from storage.manifests import (
    Commit,
    FileEntry,
    ShardManifest,
    Supersedes,
    commit_digest,
    commit_object,
    decode_commit,
    decode_shard,
    encode_commit,
    encode_shard,
    shard_key,
)
from storage.objects import LakeStore, ObjectStore, Tagged
from storage.schemas import SCHEMAS
from storage.tables import decode, encode
from storage.tombstones import Marks

QUARANTINE, RAW, ID = "quarantine", "raw", "conversation_id"
Artifacts = Callable[[Commit], Mapping[str, FileEntry]]  # those of a commit after the forgetting


@dataclass(frozen=True, slots=True)
class Removal:
    """What to remove, under which tombstone, and today's digest of every commit that had another before."""

    marks: Marks
    tombstone: str
    digests: Mapping[str, str]


def marked_column(table: str) -> str | None:
    """The column that tells whose a row is; None for tables of figures."""
    if table == QUARANTINE:
        return RAW
    return ID if table in SCHEMAS and ID in SCHEMAS[table].names else None


def marked_rows(store: ObjectStore, entry: FileEntry, *, marks: Marks) -> np.ndarray:
    """Of each row of the file, whether it is to go; empty for a file that is gone or has nobody's rows."""
    column = marked_column(entry.table)
    table = None if column is None else read_columns(store, entry, columns=[column])
    return np.empty(0, dtype=bool) if table is None or column is None else marks.mask(table[column])


def rewrite(
    store: LakeStore, dataset: Dataset, *, removal: Removal, artifacts: Artifacts | None = None
) -> bool:
    """Take the marked rows out of everything that names them; False when there was nothing to do.

    `artifacts`, if given, says what stands in the place of the commit's artifacts.
    """
    renewed = _Renewed(store, dataset, removal)
    changed = [renewed.swap_shard(manifest) for manifest in dataset.manifests]
    changed.append(renewed.swap_commit(artifacts))
    renewed.delete_replaced()
    return any(changed)


class _Renewed:
    """The files of one dataset and what takes their place."""

    def __init__(self, store: LakeStore, dataset: Dataset, removal: Removal) -> None:
        self._store = store
        self._dataset = dataset
        self._removal = removal
        self._entries = {entry.key: self._without(entry) for entry in dataset.files}
        self._replaced: dict[str, set[str]] = {}  # per object that was swapped: what only its old form names
        self._is_dirty = any(key != entry.key for key, entry in self._entries.items())

    def swap_shard(self, manifest: ShardManifest) -> bool:
        """Put the manifest's new form in its place; one that nobody sealed also follows renamed parents."""
        if not self._is_dirty and self._dataset.commit is not None:
            return False
        files = tuple(self._entry(entry) for entry in manifest.files)
        later = replace(manifest, files=files, inputs=self._renamed(manifest.inputs))
        if later == manifest:
            return False
        place = shard_key(manifest.key, manifest.shard)
        found = self._store.get_tagged(place)
        if decode_shard(found.data, place=place) == manifest:
            self._swap(place, found, encode_shard(later), old=manifest.files, new=files)
        return True

    def swap_commit(self, artifacts: Artifacts | None) -> bool:
        """The same of the commit, which may have been sealed since the dataset was read."""
        place = commit_object(self._dataset.key)
        found = _look(self._store, place)
        if found is None:
            return False
        commit = decode_commit(found.data, place=place)
        files = tuple(self._entry(entry) for entry in commit.files)
        made = dict(commit.artifacts) if artifacts is None else dict(artifacts(commit))
        if (files, made) == (commit.files, dict(commit.artifacts)):
            return False
        old = (*commit.files, *commit.artifacts.values())
        data = encode_commit(self._superseding(commit, files, made))
        self._swap(place, found, data, old=old, new=(*files, *made.values()))
        return True

    def delete_replaced(self) -> None:
        """Remove the files that only old forms named; of a swap that was lost nothing is removed."""
        kept = {entry.key for entry in self._entries.values()}
        for key in sorted({key for keys in self._replaced.values() for key in keys} - kept):
            self._store.delete(key)

    def _superseding(
        self, commit: Commit, files: tuple[FileEntry, ...], artifacts: Mapping[str, FileEntry]
    ) -> Commit:
        parents = self._renamed(commit.parents)
        digest = commit_digest(
            commit.key, parents=parents, inputs=commit.inputs, files=files, artifacts=artifacts
        )
        earlier = (*commit.supersedes, Supersedes(commit.digest, self._removal.tombstone))
        return Commit(commit.key, parents, commit.inputs, files, artifacts, digest, earlier)

    def _swap(
        self,
        place: str,
        found: Tagged,
        data: bytes,
        *,
        old: tuple[FileEntry, ...],
        new: tuple[FileEntry, ...],
    ) -> None:
        if self._store.replace(place, data, tag=found.tag):
            self._replaced[place] = {entry.key for entry in old} - {entry.key for entry in new}

    def _entry(self, entry: FileEntry) -> FileEntry:
        if entry.key not in self._entries:
            self._entries[entry.key] = self._without(entry)
        return self._entries[entry.key]

    def _without(self, entry: FileEntry) -> FileEntry:
        """The file without the marked rows, stored; the file itself where none of its rows is marked."""
        try:
            marked = marked_rows(self._store, entry, marks=self._removal.marks)
            if not marked.any():
                return self._following(entry)
            table = decode(entry.table, checked_bytes(self._store, entry), key=entry.key)
        except ObjectMissing:
            return self._following(entry)
        return _put(self._store, entry, table.filter(pa.array(~marked)))

    def _following(self, entry: FileEntry) -> FileEntry:
        """What the shard's manifest has in the place of a file that a commit still names and that is gone.

        A commit that was sealed while its manifests were being swapped can name such a file.
        """
        named = {file.key for manifest in self._dataset.manifests for file in manifest.files}
        if entry.key in named or not self._dataset.manifests or self._store.list(entry.key):
            return entry
        folder = entry.key.rpartition("/")[0]
        files = (file for manifest in self._dataset.manifests for file in manifest.files)
        beside = [f for f in files if f.table == entry.table and f.key.startswith(f"{folder}/")]
        return beside[0] if len(beside) == 1 else entry

    def _renamed(self, values: Mapping[str, str]) -> dict[str, str]:
        return {name: self._removal.digests.get(value, value) for name, value in values.items()}


def _put(store: ObjectStore, entry: FileEntry, table: pa.Table) -> FileEntry:
    # The stored columns stay as they were written: a file of an earlier schema version stays one.
    table = table.combine_chunks()
    data = encode(table)
    sha256 = file_sha256(data)
    key = f"{entry.key.rpartition('/')[0]}/{entry.table}-{sha256[:32]}.parquet"
    store.create(key, data)
    return FileEntry(entry.table, key, sha256, len(data), table.num_rows, data_digest(table))


def _look(store: LakeStore, place: str) -> Tagged | None:
    """The commit object, unless nothing is there or a decision shut the place."""
    try:
        found = store.get_tagged(place)
        decode_commit(found.data, place=place)
    except (ObjectMissing, ClosedIteration):
        return None
    return found
