"""Places that can be put back to how a lake lay before a step, and say byte for byte how it lies now."""

import functools
import hashlib
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pytest

from storage.probe import PROBES
from storage.stores import open_store
from tests.crash.forks import fork
from tests.storage.servers import client

State = dict[str, str]  # what lies where, as a hash
_UNFINISHED = re.compile(r"\.tmp-.*?[0-9a-f]{32}")


class Ground(Protocol):
    """Where one worker kills and runs again."""

    uri: str

    def lay(self, start: Path) -> None:
        """Make the lake what the folder holds, and nothing else."""
        ...

    def state(self) -> State:
        """Hash of every object by its key, unfinished ones too."""
        ...

    def read(self, key: str) -> bytes:
        """The bytes of an object."""
        ...


MakeGround = Callable[[int], Ground]  # of the worker with this number


@dataclass
class LocalGround:
    """A folder; objects never change in place, so that a copy of the lake is made of hard links."""

    folder: Path
    uri: str = field(init=False)

    def __post_init__(self) -> None:
        self.uri = str(self.folder)

    def lay(self, start: Path) -> None:
        """Link every file of the start."""
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(start, self.folder, copy_function=os.link)

    def state(self) -> State:
        """From the files themselves."""
        return folder_state(self.folder)

    def read(self, key: str) -> bytes:
        """The bytes of the file."""
        return (self.folder / key).read_bytes()


@dataclass
class BucketGround:
    """A prefix of a bucket; only what differs from the start is written or removed."""

    uri: str
    client: Any  # a boto3 client, whose methods are made at run time
    _laid: dict[str, str] = field(default_factory=dict)  # the hash of what was put, by key

    def lay(self, start: Path) -> None:
        """Remove what is not in the start, then put what is missing or was changed."""
        wanted = {key: value for key, value in folder_state(start).items() if not _is_hidden(key)}
        tags = self._tags()
        self._remove([key for key in tags if key not in wanted])
        for key, value in wanted.items():
            if self._laid.get(key) != f"{value} {tags.get(key)}":
                answer = self.client.put_object(**self._at(key), Body=(start / key).read_bytes())
                self._laid[key] = f"{value} {answer['ETag']}"

    def state(self) -> State:
        """From the listing: an object's tag is made of its bytes."""
        return self._tags()

    def read(self, key: str) -> bytes:
        """In one request."""
        return self.client.get_object(**self._at(key))["Body"].read()

    def _tags(self) -> dict[str, str]:
        bucket, start = self._at("")["Bucket"], len(self._at("")["Key"])
        pages = self.client.get_paginator("list_objects_v2").paginate(
            Bucket=bucket, Prefix=self._at("")["Key"]
        )
        found = [each for page in pages for each in page.get("Contents", [])]
        named = {each["Key"][start:]: each["ETag"] for each in found}
        # The note that the server honours conditions is the server's, not a start's.
        return {key: tag for key, tag in named.items() if not key.startswith(PROBES)}

    def _remove(self, keys: list[str]) -> None:
        bucket = self._at("")["Bucket"]
        for first in range(0, len(keys), 1000):
            doomed = [{"Key": self._at(key)["Key"]} for key in keys[first : first + 1000]]
            self.client.delete_objects(Bucket=bucket, Delete={"Objects": doomed, "Quiet": True})

    def _at(self, key: str) -> dict[str, str]:
        bucket, _, prefix = self.uri.removeprefix("s3://").partition("/")
        return {"Bucket": bucket, "Key": f"{prefix}/{key}"}


def ground_on(request: pytest.FixtureRequest, folder: Path) -> MakeGround:
    """The same of a fixture's parameter: `local`, or the name of a server."""
    if request.param == "local":
        return functools.partial(local_ground, folder)
    endpoint = request.getfixturevalue(f"{request.param}_endpoint")
    return functools.partial(bucket_ground, request.getfixturevalue(f"{request.param}_lake"), endpoint)


def local_ground(folder: Path, number: int) -> LocalGround:
    """A folder of the worker's own."""
    return LocalGround(folder / f"lake-{number}")


def bucket_ground(uri: str, endpoint: str, number: int) -> BucketGround:
    """A prefix of the worker's own, on a server that was found to honour conditional writes."""
    mine = f"{uri}-{number}"
    fork(lambda: _probe(mine)).answer()
    return BucketGround(mine, client(endpoint))


def _probe(uri: str) -> None:
    """Any first write lets the store race against the server, and leaves a note that it passed."""
    open_store(uri).create(f"{PROBES}laid.json", b"{}")


def folder_state(folder: Path) -> State:
    """Hash of every file below the folder; names that were drawn by chance are made alike."""
    found = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != ".lock"]
    return {_UNFINISHED.sub(".tmp-", path.relative_to(folder).as_posix()): _hash(path) for path in found}


def fingerprint(ground: Ground, *, before: State, scratch: Path) -> str:
    """One text for what a step has left since `before` that a re-run can find: objects and scratch files.

    Of leases only whether somebody holds them, of side facts and logs only that they are there: they hold
    process numbers and times.
    """
    now = ground.state()
    lake = {key: _told(ground, key, value) for key, value in now.items() if before.get(key) != value}
    lost = sorted(set(before) - set(now))
    work = folder_state(scratch / "work") if (scratch / "work").is_dir() else {}
    return hashlib.sha256(repr((sorted(lake.items()), lost, sorted(work.items()))).encode()).hexdigest()


def changed(before: State, now: State) -> list[str]:
    """Objects of before that are gone or different; leases may change."""
    return [key for key, value in before.items() if now.get(key) != value and not is_lease(key)]


def is_lease(key: str) -> bool:
    """Whether the object is one of the few that change."""
    return "/_leases/" in key


def _hash(path: Path) -> str:
    stat = path.stat()
    return _hash_of(path, stat.st_ino, stat.st_mtime_ns, stat.st_size)


@functools.lru_cache(maxsize=10_000)
def _hash_of(path: Path, inode: int, modified_ns: int, size: int) -> str:
    """A file that lies there again, as a link to the same one, is not read again."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _told(ground: Ground, key: str, value: str) -> str:
    if is_lease(key) and not _is_hidden(key):
        return "free" if b'"holder":null' in ground.read(key) else "held"
    return "there" if any(part in key for part in ("/_facts/", "/_logs/", "/_leases/")) else value


def _is_hidden(key: str) -> bool:
    return any(part.startswith(".") for part in key.split("/"))


def copied_scratch(start: Path, scratch: Path) -> None:
    """The scratch files as they were before the step; they are written in place, so they are copied."""
    shutil.rmtree(scratch, ignore_errors=True)
    if start.is_dir():
        shutil.copytree(start, scratch)
