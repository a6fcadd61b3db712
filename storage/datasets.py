"""Every dataset of a lake with all that names its files: shard manifests and, if it is sealed, its commit."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from storage.errors import ClosedIteration, ObjectMissing
from storage.lake_places import Place, places
from storage.manifests import (
    Commit,
    CommitKey,
    FileEntry,
    ShardManifest,
    commit_object,
    decode_commit,
    decode_shard,
    shard_key,
)
from storage.objects import ObjectStore


@dataclass(frozen=True, slots=True)
class Dataset:
    """One iteration of one kind; without a commit it is not sealed, and nobody reads it yet."""

    key: CommitKey
    commit: Commit | None
    manifests: tuple[ShardManifest, ...]

    @property
    def inputs(self) -> Mapping[str, str]:
        """What it was made from; nothing where a decision shut the place before anything was made."""
        if self.commit is not None:
            return self.commit.inputs
        return self.manifests[0].inputs if self.manifests else {}

    @property
    def files(self) -> tuple[FileEntry, ...]:
        """Every table file that somebody names, once."""
        named = [*(self.commit.files if self.commit else ()), *(f for m in self.manifests for f in m.files)]
        return tuple({entry.key: entry for entry in named}.values())

    @property
    def artifacts(self) -> tuple[FileEntry, ...]:
        """Every artifact that somebody names, once."""
        named = [*([self.commit.artifacts] if self.commit else []), *(m.artifacts for m in self.manifests)]
        return tuple({entry.key: entry for each in named for entry in each.values()}.values())


def read_datasets(store: ObjectStore, found: Sequence[Place] | None = None) -> list[Dataset]:
    """All datasets of the lake, in the order of their keys; places that a decision shut hold nothing."""
    named: dict[CommitKey, list[Place]] = {}
    for place in places(store, None) if found is None else found:
        if place.commit is not None and place.sort in ("commits", "shard manifests"):
            named.setdefault(place.commit, []).append(place)
    return [read_dataset(store, key, shards=_shards(parts)) for key, parts in named.items()]


def read_dataset(store: ObjectStore, key: CommitKey, *, shards: Iterable[int]) -> Dataset:
    """One dataset as it is now."""
    manifests = [_shard(store, key, shard) for shard in shards]
    return Dataset(key, _commit(store, key), tuple(each for each in manifests if each is not None))


def named_keys(datasets: Iterable[Dataset]) -> set[str]:
    """Every data object that a commit or a manifest names."""
    return {entry.key for dataset in datasets for entry in (*dataset.files, *dataset.artifacts)}


def _shards(parts: Sequence[Place]) -> list[int]:
    return [int(part.name) for part in parts if part.sort == "shard manifests"]


def _commit(store: ObjectStore, key: CommitKey) -> Commit | None:
    place = commit_object(key)
    try:
        return decode_commit(store.get(place), place=place)
    except (ObjectMissing, ClosedIteration):
        return None


def _shard(store: ObjectStore, key: CommitKey, shard: int) -> ShardManifest | None:
    place = shard_key(key, shard)
    try:
        return decode_shard(store.get(place), place=place)
    except (ObjectMissing, ClosedIteration):
        return None
