"""Whether a commit is still what it was when it was sealed: every hash, row count and digest recomputed."""

from storage.commits import check_hash
from storage.digests import data_digest, file_sha256
from storage.errors import ClosedIteration, StorageError
from storage.manifests import (
    ARTIFACT,
    Commit,
    CommitKey,
    FileEntry,
    commit_object,
    decode_commit,
    decode_shard,
    parse_object,
)
from storage.objects import ObjectStore
from storage.tables import decode


def verify(store: ObjectStore, commit: Commit) -> list[str]:
    """Every problem found in the commit and what belongs to it, each naming its object.

    Of files: absence, hash, row count, recomputed data digest. Of manifests and side facts: their checksums.
    """
    problems = _manifest_problems(store, commit.key)
    for entry in (*commit.files, *commit.artifacts.values()):
        try:
            problems += entry_problems(entry, store.get(entry.key))
        except StorageError as problem:
            problems.append(str(problem))
    return problems


def entry_problems(entry: FileEntry, data: bytes) -> list[str]:
    """What the bytes of a file have that its manifest does not say; rows are read only from right bytes."""
    try:
        check_hash(entry, found=file_sha256(data), size_bytes=len(data))
        rows = None if entry.table == ARTIFACT else decode(entry.table, data, key=entry.key)
    except StorageError as problem:
        return [str(problem)]
    if rows is None:
        return []
    problems: list[str] = []
    if rows.num_rows != entry.rows:
        problems.append(f"object {entry.key!r} holds {rows.num_rows} rows, its commit says {entry.rows}")
    found = data_digest(rows)
    if found != entry.data_digest:
        problems.append(f"object {entry.key!r} has data digest {found}, its commit says {entry.data_digest}")
    return problems


def _manifest_problems(store: ObjectStore, key: CommitKey) -> list[str]:
    problems: list[str] = []
    for place in store.list(f"{key.prefix}/"):
        try:
            if place == commit_object(key):
                decode_commit(store.get(place), place=place)
            elif place.startswith(f"{key.prefix}/shard-"):
                decode_shard(store.get(place), place=place)
            elif place.startswith(f"{key.prefix}/_facts/"):
                parse_object(store.get(place), place=place)
        except ClosedIteration:
            continue  # a place that a decision shut is as it should be
        except StorageError as problem:
            problems.append(str(problem))
    return problems
