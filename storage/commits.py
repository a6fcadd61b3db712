"""The commit protocol: publish shards, seal an iteration, read only through what was sealed.

Data lies under names made of its content, so writing it twice is harmless and a killed writer leaves only
bytes that nothing names. The shard manifest, created once, decides who won a shard; the commit, created once
and a pure function of the manifests, makes the iteration visible. Nothing is ever listed to decide anything.
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pyarrow as pa

from storage.differences import differences
from storage.digests import file_sha256
from storage.encoding import Rows, encode_rows
from storage.errors import (
    ClosedIteration,
    ConflictingCommit,
    CorruptObject,
    MissingCommit,
    MissingShard,
    ObjectMissing,
)
from storage.manifests import (
    Commit,
    CommitKey,
    FileEntry,
    ShardManifest,
    commit_digest,
    commit_object,
    decode_commit,
    decode_shard,
    encode_closed,
    encode_commit,
    encode_shard,
    shard_key,
)
from storage.objects import ObjectStore
from storage.stores import fetch_again, materialise
from storage.successors import present_parents
from storage.tables import check_version, current_columns, decode, schema_of

NO_ARTIFACTS: Mapping[str, FileEntry] = MappingProxyType({})
_STAGE_OF_KIND = MappingProxyType(
    {
        "rollouts": "collect",
        "curated": "curate",
        "reward": "fit-reward",
        "q": "fit-q",
        "credit": "credit",
        "policy": "train-policy",
        "evaluation": "evaluate",
        "report": "report",
    }
)
_FIRST_STAGE_OF_KIND = MappingProxyType({"rollouts": "import", "policy": "warm-start"})  # in iteration 0


def publish_shard(
    store: ObjectStore,
    key: CommitKey,
    *,
    shard: int,
    tables: Mapping[str, Rows],
    inputs: Mapping[str, str],
    attempt: str,
    artifacts: Mapping[str, FileEntry] = NO_ARTIFACTS,
) -> ShardManifest:
    """Write one shard and claim it; the manifest returned is the winner's, which may be an earlier attempt's.

    `artifacts`, which are stored already, are claimed with the rows. Raises InvalidTable for rows that break
    a rule, and ConflictingCommit when the shard was claimed from other inputs.
    """
    winner = read_shard(store, key, shard=shard)
    if winner is None:
        again: dict[str, bytes] = {}
        files = tuple(
            _put_rows(store, key, shard, name=name, rows=tables[name], again=again) for name in sorted(tables)
        )
        mine = ShardManifest(key, shard, dict(inputs), attempt, files, dict(artifacts))
        store.create(shard_key(key, shard), encode_shard(mine))
        # What an earlier attempt had left was nobody's until now and may have been collected meanwhile.
        for place, data in again.items():
            store.create(place, data)
        # Read back even after success: a client that retries may be told "exists" about its own object.
        winner = decode_shard(store.get(shard_key(key, shard)), place=shard_key(key, shard))
    _refuse_other(f"shard {shard} of {key.text}", "inputs", wanted=inputs, found=winner.inputs)
    return winner


def read_shard(store: ObjectStore, key: CommitKey, *, shard: int) -> ShardManifest | None:
    """The manifest of a shard, or None when nobody has published it."""
    place = shard_key(key, shard)
    try:
        return decode_shard(store.get(place), place=place)
    except ObjectMissing:
        return None


def check_shard(manifest: ShardManifest, *, inputs: Mapping[str, str]) -> None:
    """Raise ConflictingCommit, naming every difference, unless the shard has exactly these inputs."""
    _refuse_other(
        f"shard {manifest.shard} of {manifest.key.text}", "inputs", wanted=inputs, found=manifest.inputs
    )


def all_shards(store: ObjectStore, key: CommitKey, *, shards: int) -> list[ShardManifest]:
    """The manifests of shards 0 to `shards` - 1; MissingShard names those that nobody has published."""
    found = [read_shard(store, key, shard=shard) for shard in range(shards)]
    present = [manifest for manifest in found if manifest is not None]
    if len(present) < shards:
        absent = [shard for shard, manifest in enumerate(found) if manifest is None]
        raise MissingShard(
            f"{key.text} cannot be sealed: shards {absent} of {shards} are missing; run them again"
        )
    return present


def seal(
    store: ObjectStore,
    key: CommitKey,
    *,
    shards: int,
    parents: Mapping[str, str],
    inputs: Mapping[str, str],
    artifacts: Mapping[str, FileEntry] = NO_ARTIFACTS,
) -> Commit:
    """Make the iteration visible once all its shards are published; any number of tasks may try at once.

    Its artifacts are those that the shards claimed; `artifacts` only where none of them names any. Raises
    MissingShard naming the absent ones, and ConflictingCommit when the key holds other data.
    """
    manifests = all_shards(store, key, shards=shards)
    files = _in_order(manifests)
    artifacts = _claimed(manifests) or artifacts
    digest = commit_digest(key, parents=parents, inputs=inputs, files=files, artifacts=artifacts)
    mine = Commit(key, dict(parents), dict(inputs), files, dict(artifacts), digest)
    store.create(commit_object(key), encode_commit(mine))
    winner = _find_open(store, key)
    if winner is None:
        raise _missing(key)
    check_inputs(winner, parents=parents, inputs=inputs, store=store)
    if winner.digest != digest:
        _refuse_other(key.text, "artifacts", wanted=_hashes(artifacts), found=_hashes(winner.artifacts))
        raise ConflictingCommit(
            f"{key.text} is committed with data {winner.digest}, these shards have {digest}: the same "
            "inputs gave other rows; use another experiment name, or remove the source of randomness"
        )
    return winner


def commit(
    store: ObjectStore,
    key: CommitKey,
    *,
    tables: Mapping[str, Rows],
    parents: Mapping[str, str],
    inputs: Mapping[str, str],
    artifacts: Mapping[str, FileEntry] = NO_ARTIFACTS,
    attempt: str,
) -> Commit:
    """Publish and seal a dataset of one shard; returns an earlier commit of the same parents and inputs.

    Rows and artifacts of one caller are claimed together: of two trainings that gave different ones the
    commit holds both of the one or both of the other.
    """
    earlier = _find_open(store, key)
    if earlier is not None:
        check_inputs(earlier, parents=parents, inputs=inputs, store=store)
        return earlier
    winner = publish_shard(
        store,
        key,
        shard=0,
        tables=tables,
        inputs={**inputs, **_prefixed(parents)},
        attempt=attempt,
        # Without rows there is nothing to mix: the commit itself is the claim.
        artifacts=artifacts if tables else NO_ARTIFACTS,
    )
    if artifacts and not winner.artifacts:
        _refuse_other_rows(winner, tables)
    return seal(store, key, shards=1, parents=parents, inputs=inputs, artifacts=artifacts)


def close(store: ObjectStore, key: CommitKey, *, by: str) -> None:
    """Shut what is not committed for ever: a writer that wakes up after the decision `by` loses every race.

    Creating is the only way to write here, so a place that is taken cannot be written to. The shard's comes
    first: a commit that is there stays, as do the shards that it was sealed from.
    """
    try:
        if _find_open(store, key) is not None:
            return
    except ClosedIteration:
        return
    for place in (shard_key(key, 0), commit_object(key)):
        store.create(place, encode_closed(key, by=by))


def check_open(store: ObjectStore, key: CommitKey) -> None:
    """Raise ClosedIteration where a decision shut the place: before anybody works for it."""
    _find_open(store, key)


def find(store: ObjectStore, key: CommitKey) -> Commit | None:
    """The commit, or None while the iteration is not sealed, or where it was closed without one."""
    try:
        return _find_open(store, key)
    except ClosedIteration:
        return None


def _find_open(store: ObjectStore, key: CommitKey) -> Commit | None:
    """As `find`, but raises ClosedIteration."""
    place = commit_object(key)
    try:
        found = decode_commit(store.get(place), place=place)
    except ObjectMissing:
        return None
    if found.key != key:
        raise CorruptObject(f"object {place!r} holds the commit {found.key.text}: restore it from a copy")
    return found


def read(store: ObjectStore, key: CommitKey) -> Commit:
    """The commit; MissingCommit says which stage writes it."""
    found = find(store, key)
    if found is None:
        raise _missing(key)
    return found


def _missing(key: CommitKey) -> MissingCommit:
    kind = key.kind.partition("-")[0]
    stages = _STAGE_OF_KIND if key.iteration else {**_STAGE_OF_KIND, **_FIRST_STAGE_OF_KIND}
    stage = stages.get(kind, key.kind)
    return MissingCommit(
        f"there is no commit {key.text}: run `itpo {stage}` for experiment {key.experiment}, "
        f"iteration {key.iteration}"
    )


def check_inputs(
    commit: Commit,
    *,
    parents: Mapping[str, str],
    inputs: Mapping[str, str],
    store: ObjectStore | None = None,
) -> None:
    """Raise ConflictingCommit, naming every difference, unless the commit was made from exactly these.

    With the store, a parent from which rows were forgotten since counts as the one that stands in its place.
    """
    found = commit.parents
    if store is not None:
        found = present_parents(store, commit.key.experiment, wanted=parents, found=found)
    _refuse_other(
        commit.key.text,
        "inputs",
        wanted={**inputs, **_prefixed(parents)},
        found={**commit.inputs, **_prefixed(found)},
    )


def read_table(store: ObjectStore, commit: Commit, *, table: str) -> pa.Table:
    """All rows of one table of the commit, in stored order, every file checked against its hash.

    A table that the commit does not hold comes back empty. Raises CorruptObject and FutureSchema.
    """
    parts = [
        current_columns(table, _checked_rows(store, entry), key=entry.key)
        for entry in _entries(commit, table)
    ]
    return pa.concat_tables([schema_of(table).empty_table(), *parts])


def table_paths(store: ObjectStore, commit: Commit, *, table: str) -> list[Path]:
    """Local files of one table of the commit, in stored order, each checked against hash and version."""
    entries = _entries(commit, table)
    paths = materialise(store, [entry.key for entry in entries])
    for entry, path in zip(entries, paths, strict=True):
        _check_file(store, entry, path)
        check_version(table, path, key=entry.key)
    return paths


def _check_file(store: ObjectStore, entry: FileEntry, path: Path) -> None:
    """CorruptObject, unless it is only the local copy that is damaged: then it is fetched once more."""
    try:
        check_hash(entry, found=file_sha256(path), size_bytes=path.stat().st_size)
    except CorruptObject:
        again = fetch_again(store, entry.key)
        if again is None:
            raise
        check_hash(entry, found=file_sha256(again), size_bytes=again.stat().st_size)


def unchecked_paths(store: ObjectStore, commit: Commit, *, table: str) -> list[Path]:
    """Like table_paths without reading the files: for browsing many iterations."""
    return materialise(store, [entry.key for entry in _entries(commit, table)])


def checked_bytes(store: ObjectStore, entry: FileEntry) -> bytes:
    """The bytes of an entry; CorruptObject names the key, the expected and the found hash."""
    data = store.get(entry.key)
    check_hash(entry, found=file_sha256(data), size_bytes=len(data))
    return data


def check_hash(entry: FileEntry, *, found: str, size_bytes: int) -> None:
    """CorruptObject, naming the object, unless its bytes have the hash and the size that were promised."""
    if (found, size_bytes) != (entry.sha256, entry.size_bytes):
        raise CorruptObject(
            f"object {entry.key!r} is corrupt: expected sha256 {entry.sha256} ({entry.size_bytes} bytes), "
            f"found {found} ({size_bytes} bytes); restore it from a copy, or run its stage "
            "under another experiment name"
        )


def _put_rows(
    store: ObjectStore, key: CommitKey, shard: int, *, name: str, rows: Rows, again: dict[str, bytes]
) -> FileEntry:
    """Store one table; its bytes go into `again` when they were there before."""
    encoded = encode_rows(name, rows)
    place = f"{key.prefix}/shard={shard:04d}/{name}-{encoded.sha256[:32]}.parquet"
    if not store.create(place, encoded.data):
        again[place] = encoded.data
    return FileEntry(name, place, encoded.sha256, len(encoded.data), encoded.rows, encoded.data_digest)


def _refuse_other_rows(winner: ShardManifest, tables: Mapping[str, Rows]) -> None:
    """ConflictingCommit for artifacts that may not belong to rows that an earlier program claimed alone."""
    mine = {name: encode_rows(name, rows).data_digest for name, rows in tables.items()}
    if mine != {entry.table: entry.data_digest for entry in winner.files}:
        raise ConflictingCommit(
            f"{winner.key.text}: attempt {winner.attempt} claimed other rows, with an earlier version of "
            "this program, and never said which artifacts belong to them: they are not mixed with those of "
            "this attempt; use another experiment name"
        )


def _claimed(manifests: list[ShardManifest]) -> dict[str, FileEntry]:
    """All artifacts that the shards' winners claimed with their rows."""
    return {name: entry for manifest in manifests for name, entry in manifest.artifacts.items()}


def _in_order(manifests: list[ShardManifest]) -> tuple[FileEntry, ...]:
    """All files by table, and of a table by shard."""
    files = (entry for manifest in manifests for entry in manifest.files)
    return tuple(sorted(files, key=lambda entry: entry.table))


def _refuse_other(what: str, part: str, *, wanted: Mapping[str, str], found: Mapping[str, str]) -> None:
    differing = differences(found, wanted)
    if differing:
        raise ConflictingCommit(
            f"{what} was committed from other {part} ({differing}). Commits are never changed: "
            "use the settings that it was made with, or another experiment name (--experiment)"
        )


def _prefixed(parents: Mapping[str, str]) -> dict[str, str]:
    return {f"parent {role}": digest for role, digest in parents.items()}


def _hashes(artifacts: Mapping[str, FileEntry]) -> dict[str, str]:
    return {name: entry.sha256 for name, entry in artifacts.items()}


def _entries(commit: Commit, table: str) -> list[FileEntry]:
    return [entry for entry in commit.files if entry.table == table]


def _checked_rows(store: ObjectStore, entry: FileEntry) -> pa.Table:
    return decode(entry.table, checked_bytes(store, entry), key=entry.key)
