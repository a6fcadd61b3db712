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
from storage.datasets import Dataset, named_keys, read_dataset
from storage.digests import data_digest, file_sha256
from storage.errors import ClosedIteration, ObjectMissing
from storage.forget_search import columns_of, marked_column, read_columns
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
from storage.tables import decode, encode
from storage.tombstones import Marks

Artifacts = Callable[[Commit], Mapping[str, FileEntry]]  # those of a commit after the forgetting


@dataclass(frozen=True, slots=True)
class Removal:
    """What to remove, under which tombstone, and today's digest of every commit that had another before.

    `clean` are files that were found without such rows: they never change, and are not read again.
    """

    marks: Marks
    tombstone: str
    digests: Mapping[str, str]
    clean: set[str]


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
    made: set[str] = set()
    try:
        renewed = _Renewed(store, dataset, removal, made)
        changed = [renewed.swap_shard(manifest) for manifest in dataset.manifests]
        changed.append(renewed.swap_commit(artifacts))
    except _LostSwap:
        _take_back(store, dataset, made)
        return True  # another process changed it: it is read again
    renewed.delete_replaced()
    return any(changed)


def _take_back(store: LakeStore, dataset: Dataset, made: set[str]) -> None:
    """Delete the files that were made in vain: they may hold rows that the other process removed.

    Nobody is about to name them: whoever made the same from the same files loses the same swap.
    """
    shards = [manifest.shard for manifest in dataset.manifests]
    for key in sorted(made - named_keys([read_dataset(store, dataset.key, shards=shards)])):
        store.delete(key)


class _LostSwap(Exception):
    """What was to be swapped is not what was read any more."""


class _Renewed:
    """The files of one dataset and what takes their place."""

    def __init__(self, store: LakeStore, dataset: Dataset, removal: Removal, made: set[str]) -> None:
        self._store = store
        self._made = made
        self._dataset = dataset
        self._removal = removal
        self._entries = {entry.key: self._without(entry) for entry in dataset.files}
        self._replaced: set[str] = set()  # what only the old forms of manifests and commit name
        self._is_dirty = any(key != entry.key for key, entry in self._entries.items())

    def swap_shard(self, manifest: ShardManifest) -> bool:
        """Put the manifest's new form in its place; one that nobody sealed also follows renamed parents."""
        if not self._is_dirty and self._dataset.commit is not None:
            return False
        files = tuple(self._entries[entry.key] for entry in manifest.files)
        later = replace(manifest, files=files, inputs=self._renamed(manifest.inputs))
        if later == manifest:
            return False
        place = shard_key(manifest.key, manifest.shard)
        found = self._store.get_tagged(place)
        if decode_shard(found.data, place=place) != manifest:
            raise _LostSwap
        self._put_again(manifest.files)
        self._swap(place, found, encode_shard(later), old=manifest.files, new=files)
        return True

    def swap_commit(self, artifacts: Artifacts | None) -> bool:
        """The same of the commit, which may have been sealed since the dataset was read."""
        place = commit_object(self._dataset.key)
        found = _look(self._store, place)
        if found is None:
            return False
        commit = decode_commit(found.data, place=place)
        if any(entry.key not in self._entries for entry in commit.files):
            raise _LostSwap
        files = tuple(self._entries[entry.key] for entry in commit.files)
        made = dict(commit.artifacts) if artifacts is None else dict(artifacts(commit))
        if (files, made) == (commit.files, dict(commit.artifacts)):
            return False
        old = (*commit.files, *commit.artifacts.values())
        data = encode_commit(self._superseding(commit, files, made))
        self._put_again(commit.files)
        self._swap(place, found, data, old=old, new=(*files, *made.values()))
        return True

    def delete_replaced(self) -> None:
        """Remove the files that only the old forms named."""
        kept = {entry.key for entry in self._entries.values()}
        for key in sorted(self._replaced - kept):
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
        if not self._store.replace(place, data, tag=found.tag):
            raise _LostSwap
        self._replaced |= {entry.key for entry in old} - {entry.key for entry in new}

    def _without(self, entry: FileEntry) -> FileEntry:
        """The file without the marked rows, stored; the file itself where none of its rows is marked."""
        column = marked_column(entry.table)
        if column is None or entry.key in self._removal.clean:
            return entry
        try:
            data = checked_bytes(self._store, entry)
        except ObjectMissing:
            return self._following(entry)
        marked = self._removal.marks.mask(columns_of(data, columns=[column])[column])
        if not marked.any():
            self._removal.clean.add(entry.key)
            return entry
        return self._put(entry, decode(entry.table, data, key=entry.key).filter(pa.array(~marked)))

    def _put(self, entry: FileEntry, table: pa.Table) -> FileEntry:
        # The stored columns stay as they were written: a file of an earlier schema version stays one.
        table = table.combine_chunks()
        data = encode(table)
        sha256 = file_sha256(data)
        key = f"{entry.key.rpartition('/')[0]}/{entry.table}-{sha256[:32]}.parquet"
        if self._store.create(key, data):
            self._made.add(key)
        return FileEntry(entry.table, key, sha256, len(data), table.num_rows, data_digest(table))

    def _put_again(self, old: tuple[FileEntry, ...]) -> None:
        """Store new files that are gone before they are named.

        One that was found there may be a killed run's, and garbage to whoever does not know of this one.
        """
        for entry in old:
            new = self._entries[entry.key]
            if new.key != entry.key and not self._store.list(new.key) and self._without(entry) != new:
                raise _LostSwap

    def _following(self, entry: FileEntry) -> FileEntry:
        """What the shard's manifest has in the place of a file that is gone.

        A commit that was sealed while its manifests were being swapped can name such a file. One that its own
        manifest still names is lost: that is for `verify` to say.
        """
        for manifest in self._dataset.manifests:
            place = shard_key(manifest.key, manifest.shard)
            if decode_shard(self._store.get(place), place=place) != manifest:
                raise _LostSwap
            beside = {file.table: file for file in manifest.files}
            if f"/shard={manifest.shard:04d}/" in entry.key and entry.table in beside:
                return beside[entry.table]
        return entry

    def _renamed(self, values: Mapping[str, str]) -> dict[str, str]:
        return {name: self._removal.digests.get(value, value) for name, value in values.items()}


def _look(store: LakeStore, place: str) -> Tagged | None:
    """The commit object, unless nothing is there or a decision shut the place."""
    try:
        found = store.get_tagged(place)
        decode_commit(found.data, place=place)
    except (ObjectMissing, ClosedIteration):
        return None
    return found
