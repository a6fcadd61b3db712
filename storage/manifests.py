"""What is written beside the data: keys, file entries, shard manifests and commits, as canonical JSON.

Kinds and their tables: rollouts {conversations, turns, quarantine}, curated {curated}, reward {turn_scores,
metrics}, q {turn_values, metrics}, credit {credits, metrics}, lab-… {lab}, runs-… {measurements}, policy
{metrics}, evaluation {conversations, turns}, report {} (an artifact only).
"""

import dataclasses
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from storage.digests import file_sha256
from storage.errors import BadKey, ClosedIteration, CorruptObject, FutureSchema

FORMAT = 1
FORMAT_WITH_ARTIFACTS = 2  # of shard manifests that name artifacts: an earlier program refuses these
ARTIFACT = "artifact"  # in place of a table's name, for files that are not tables
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


@dataclass(frozen=True, slots=True)
class CommitKey:
    """Which dataset of which iteration of which experiment."""

    experiment: str
    kind: str
    iteration: int

    def __post_init__(self) -> None:
        for part in (self.experiment, self.kind):
            if _NAME.fullmatch(part) is None:
                raise BadKey(f"{part!r} is no experiment or kind: use at most 63 of a-z, 0-9, '-' and '_'")
        if not 0 <= self.iteration <= 9999:
            raise BadKey(f"iteration {self.iteration} is outside 0..9999")

    @property
    def prefix(self) -> str:
        """Where all objects of the commit lie."""
        return f"{self.experiment}/{self.kind}/iteration={self.iteration:04d}"

    @property
    def text(self) -> str:
        """How a person writes it: sales/rollouts/0003."""
        return f"{self.experiment}/{self.kind}/{self.iteration:04d}"


def parse_key(text: str) -> CommitKey:
    """The key that `text` writes, as in sales/rollouts/0003; raises BadKey."""
    parts = text.split("/")
    if len(parts) != 3 or not parts[2].isascii() or not parts[2].isdigit():
        raise BadKey(f"{text!r} is no commit: write experiment/kind/iteration, as in sales/rollouts/0003")
    return CommitKey(parts[0], parts[1], int(parts[2]))


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One stored file: its place, the hash of its bytes, and for tables the digest of its rows."""

    table: str
    key: str
    sha256: str
    size_bytes: int
    rows: int
    data_digest: str


@dataclass(frozen=True, slots=True)
class ShardManifest:
    """Which files are one shard of an iteration; whoever creates it first has won the shard.

    `artifacts` belong to its tables: what one training gave is claimed together. Manifests from before they
    were named here have none.
    """

    key: CommitKey
    shard: int
    inputs: Mapping[str, str]
    attempt: str
    files: tuple[FileEntry, ...]
    artifacts: Mapping[str, FileEntry] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Supersedes:
    """The digest of the commit that stood here before rows were forgotten, and the tombstone that says so."""

    digest: str
    tombstone: str


@dataclass(frozen=True, slots=True)
class Commit:
    """One iteration of one dataset: visible, immutable, and chained to its parents by their digests.

    `supersedes` is empty except after `forget`; the newest comes last.
    """

    key: CommitKey
    parents: Mapping[str, str]
    inputs: Mapping[str, str]
    files: tuple[FileEntry, ...]
    artifacts: Mapping[str, FileEntry]
    digest: str
    supersedes: tuple[Supersedes, ...] = ()


def canonical_json(value: object) -> bytes:
    """The one JSON text of a value: sorted keys, no blanks, no NaN."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def commit_digest(
    key: CommitKey,
    *,
    parents: Mapping[str, str],
    inputs: Mapping[str, str],
    files: tuple[FileEntry, ...],
    artifacts: Mapping[str, FileEntry],
) -> str:
    """Digest of the data of a commit: no clock, attempt, path, Parquet bytes or code revision enters it."""
    content = {
        "key": key.text,
        "parents": dict(parents),
        "inputs": dict(inputs),
        "tables": [[entry.table, entry.rows, entry.data_digest] for entry in files],
        "artifacts": {name: entry.sha256 for name, entry in artifacts.items()},
    }
    return file_sha256(canonical_json(content))


def shard_key(key: CommitKey, shard: int) -> str:
    """The object that decides who won the shard."""
    return f"{key.prefix}/shard-{shard:04d}.json"


def commit_object(key: CommitKey) -> str:
    """The object that makes an iteration visible."""
    return f"{key.prefix}/commit.json"


def encode_shard(manifest: ShardManifest) -> bytes:
    """The bytes of a shard manifest."""
    body: dict[str, object] = {
        "key": manifest.key.text,
        "shard": manifest.shard,
        "inputs": dict(manifest.inputs),
        "attempt": manifest.attempt,
        "files": [dataclasses.asdict(entry) for entry in manifest.files],
    }
    if not manifest.artifacts:
        return encode_object(body)
    body["artifacts"] = {name: dataclasses.asdict(entry) for name, entry in manifest.artifacts.items()}
    return encode_object(body, number=FORMAT_WITH_ARTIFACTS)


def decode_shard(data: bytes, *, place: str) -> ShardManifest:
    """The manifest in the object `place`; raises CorruptObject or FutureSchema."""
    body = parse_object(data, place=place, newest=FORMAT_WITH_ARTIFACTS)
    refuse_closed(body, place=place)
    try:
        return ShardManifest(
            key=parse_key(body["key"]),
            shard=body["shard"],
            inputs=body["inputs"],
            attempt=body["attempt"],
            files=tuple(FileEntry(**entry) for entry in body["files"]),
            artifacts={name: FileEntry(**entry) for name, entry in body.get("artifacts", {}).items()},
        )
    except (KeyError, TypeError, AttributeError, BadKey) as problem:
        raise CorruptObject(f"object {place!r} is no shard manifest: {problem!r}") from problem


def encode_commit(commit: Commit) -> bytes:
    """The bytes of a commit, a pure function of its content."""
    body: dict[str, object] = {
        "key": commit.key.text,
        "parents": dict(commit.parents),
        "inputs": dict(commit.inputs),
        "files": [dataclasses.asdict(entry) for entry in commit.files],
        "artifacts": {name: dataclasses.asdict(entry) for name, entry in commit.artifacts.items()},
        "digest": commit.digest,
    }
    if commit.supersedes:
        body["supersedes"] = [dataclasses.asdict(each) for each in commit.supersedes]
    return encode_object(body)


def decode_commit(data: bytes, *, place: str) -> Commit:
    """The commit in the object `place`, its digest recomputed; raises CorruptObject or FutureSchema."""
    body = parse_object(data, place=place)
    refuse_closed(body, place=place)
    try:
        commit = Commit(
            key=parse_key(body["key"]),
            parents=body["parents"],
            inputs=body["inputs"],
            files=tuple(FileEntry(**entry) for entry in body["files"]),
            artifacts={name: FileEntry(**entry) for name, entry in body["artifacts"].items()},
            digest=body["digest"],
            supersedes=tuple(Supersedes(**each) for each in body.get("supersedes", [])),
        )
        found = commit_digest(
            commit.key,
            parents=commit.parents,
            inputs=commit.inputs,
            files=commit.files,
            artifacts=commit.artifacts,
        )
    except (KeyError, TypeError, AttributeError, ValueError) as problem:
        raise CorruptObject(f"object {place!r} is no commit: {problem!r}") from problem
    if found != commit.digest:
        raise CorruptObject(
            f"object {place!r} says digest {commit.digest}, its content has {found}: restore it"
        )
    return commit


def encode_closed(key: CommitKey, *, by: str) -> bytes:
    """What stands in the place of a commit, or of its first shard, that the decision `by` shut out."""
    return encode_object({"key": key.text, "closed_by": by})


def refuse_closed(body: Mapping[str, object], *, place: str) -> None:
    """ClosedIteration when the object only says that nothing may come here any more."""
    if "closed_by" in body:
        raise ClosedIteration(
            f"{body['key']} was closed by the decision {body['closed_by']} ({place!r}): what a decided "
            "iteration does not hold is never added to it; use another experiment name"
        )


def encode_object(body: Mapping[str, object], *, number: int = FORMAT) -> bytes:
    """The stored form of a JSON object: with its format number and a checksum of everything else in it."""
    content = {"format": number, **body}
    return canonical_json({**content, "checksum": file_sha256(canonical_json(content))})


# The JSON of a manifest has values of several types; the decoders above turn it into typed fields at once.
def parse_object(data: bytes, *, place: str, newest: int = FORMAT) -> dict[str, Any]:
    """The JSON object stored at `place`; raises CorruptObject, or FutureSchema for a newer format."""
    try:
        body = json.loads(data)
    except ValueError as problem:
        raise CorruptObject(f"object {place!r} is not JSON ({problem}): restore it from a copy") from problem
    if not isinstance(body, dict) or not isinstance(body.get("format"), int):
        raise CorruptObject(f"object {place!r} has no format number: it was not written by this program")
    if body["format"] > newest:
        raise FutureSchema(
            f"object {place!r} has format {body['format']}, newer than {newest}: upgrade the program"
        )
    content = {name: value for name, value in body.items() if name not in ("format", "checksum")}
    if not _encodes_to(content, data, number=body["format"]):
        raise CorruptObject(f"object {place!r} does not have its checksum: restore it from a copy")
    return content


def _encodes_to(content: Mapping[str, object], data: bytes, *, number: int) -> bool:
    """Encoding it again covers every byte, also those that mean the same to a JSON reader."""
    try:
        return encode_object(content, number=number) == data
    except ValueError:
        return False  # a changed digit can make a number infinite, which no object of ours holds
