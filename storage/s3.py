"""The lake in a bucket, through s3fs: whole objects under conditional writes.

s3fs and botocore repeat nothing by themselves here: see storage/s3_writes.py for why.
"""

import functools
import os
import time
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import s3fs

from storage.copies import copy_of, copy_place
from storage.errors import BadKey, ObjectMissing, StoreUnavailable
from storage.objects import ObjectInfo, Tagged, check_key
from storage.probe import PROBES, CommitMode, Guard, no_guard
from storage.s3_address import Place
from storage.s3_errors import NothingThere, OutsideOfObject, Request
from storage.s3_requests import Fields, Requests
from storage.s3_writes import Write, new_stamp
from storage.sources import LARGE_BYTES, InMemory, OnDisk, Source
from storage.tagged_copies import read_together

# Others of these are other connections; credentials of a profile are looked after by botocore.
_WHO_ASKS = ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")


@dataclass(frozen=True, slots=True)
class S3Store:
    """Objects below `place.prefix` of a bucket.

    `deadline_s` bounds the repetition of one request, `part_bytes` is the largest object written in one
    request (others go in parts of this size), `cache` is where local copies lie (None: they go with the
    process), `guard` is asked before every write whether this store may be written to.
    """

    place: Place
    deadline_s: float = 60.0
    part_bytes: int = LARGE_BYTES
    cache: Path | None = None
    commit_mode: CommitMode = "conditional"
    guard: Guard = no_guard

    @property
    def address(self) -> str:
        """`s3://bucket/prefix`, without the endpoint: for messages."""
        return self.address_of("").rstrip("/")

    def address_of(self, key: str) -> str:
        """`s3://bucket/prefix/key`, for messages and for other readers of S3."""
        return self._requests().address(key)

    def file_system(self) -> s3fs.S3FileSystem:
        """The s3fs of this process: one made before a fork is of no use after it."""
        timeout_s = max(1.0, min(20.0, self.deadline_s / 3))
        asking = tuple(os.environ.get(name) for name in _WHO_ASKS)
        return _connect(
            self.place.endpoint, self.place.region, timeout_s=timeout_s, key=(os.getpid(), asking)
        )

    def get(self, key: str) -> bytes:
        """The bytes of an object, in one request; raises ObjectMissing."""
        return self._fetch(key, {})[0]

    def get_tagged(self, key: str) -> Tagged:
        """The bytes with the ETag, in one request; raises ObjectMissing."""
        data, answer = self._fetch(key, {})
        return Tagged(data, answer["ETag"])

    def get_range(self, key: str, *, start: int, stop: int) -> bytes:
        """The bytes from `start` up to `stop` or the end, in one request; raises ObjectMissing."""
        try:
            return self._fetch(key, {"Range": f"bytes={start}-{stop - 1}"})[0]
        except OutsideOfObject:
            return b""

    def create(self, key: str, data: bytes) -> bool:
        """Store the object unless one exists: one request when all is well."""
        return self._write("create", key, InMemory(data), condition={"IfNoneMatch": "*"})

    def create_from(self, key: str, path: Path) -> bool:
        """The same of a file, of which a few parts are in memory at a time."""
        return self._write("create", key, OnDisk(path), condition={"IfNoneMatch": "*"})

    def replace(self, key: str, data: bytes, *, tag: str) -> bool:
        """Put `data` in the place of the bytes with this tag: one request when all is well."""
        return self._write("replace", key, InMemory(data), condition={"IfMatch": tag})

    def list(self, prefix: str) -> list[str]:
        """Every key that starts with the prefix, sorted; notes of the probe are not listed."""
        return [entry.key for entry in self.entries(prefix)]

    def entries(self, prefix: str) -> Sequence[ObjectInfo]:
        """Size and time of every object, by key; a request per thousand."""
        pages = self._requests().pages("list_objects_v2", "Contents", prefix=prefix)
        found = [
            ObjectInfo(self._key(each), each["Size"], each["LastModified"].timestamp()) for each in pages
        ]
        return sorted((info for info in found if _is_listed(info.key)), key=lambda info: info.key)

    def get_below(self, prefix: str) -> Mapping[str, bytes]:
        """Small objects by key: a request per thousand of them, and one for each that was not read before."""
        pages = self._requests().pages("list_objects_v2", "Contents", prefix=prefix)
        tags = {self._key(each): each["ETag"] for each in pages}
        listed = {key: tag for key, tag in tags.items() if _is_listed(key)}
        return read_together(listed, place_of=self._copy_place, fetch=self.get_tagged)

    def delete(self, key: str) -> None:
        """Remove the object for good: its older versions, too, and the copy of it on this machine."""
        answer = self._requests().remove("delete_object", check_key(key), which={})
        if answer.get("DeleteMarker") or answer.get("VersionId"):
            self._delete_versions(key)
        self._copy_place(key).unlink(missing_ok=True)

    def sweep_unfinished(self, *, older_than_s: float) -> Sequence[str]:
        """Abort uploads in parts, and remove objects of probes, that were begun so long ago."""
        oldest_s = time.time() - older_than_s
        return [*self._abort_uploads(oldest_s), *self._remove_probes(oldest_s)]

    def local_path(self, key: str) -> Path:
        """A local copy, fetched when it is not there yet, of a key whose bytes never change."""
        return copy_of(self._copy_place(check_key(key)), fetch=lambda: self.get(key))

    def head_bucket(self) -> Fields:
        """The headers of an answer about the bucket, for a diagnosis."""
        request = Request("look-up", f"s3://{self.place.bucket}", writes=False)
        asked = {"Bucket": self.place.bucket}
        requests = self._requests()
        try:
            answer = requests.persist(request, lambda: requests.ask("head_bucket", asked))
        except NothingThere:
            absent = StoreUnavailable(f"{request.address}: there is no such bucket; correct lake.root")
        else:
            return answer["ResponseMetadata"]["HTTPHeaders"]
        raise absent

    def _requests(self) -> Requests:
        return Requests(self.place, self.deadline_s, self.file_system)

    def _key(self, answer: Fields) -> str:
        return answer["Key"][len(self._requests().name("")) :]

    def _copy_place(self, key: str) -> Path:
        return copy_place(self.cache, f"{self.place.endpoint or ''} {self.address}", key=key)

    def _fetch(self, key: str, part: Fields) -> tuple[bytes, Fields]:
        requests = self._requests()
        request = Request("get", self.address_of(check_key(key)), writes=False)
        try:
            return requests.persist(request, lambda: requests.read(key, part))
        except NothingThere:
            absent = ObjectMissing(f"there is no object {key!r} in the lake at {self.address}")
        raise absent

    def _write(self, operation: str, key: str, source: Source, *, condition: Fields) -> bool:
        check_key(key)
        self.guard(replace(self, guard=no_guard))
        requests = self._requests()
        write = Write(requests, key, source, condition, self.part_bytes, self.commit_mode, stamp=new_stamp())
        return requests.persist(Request(operation, self.address_of(key), writes=True), write.attempt)

    def _delete_versions(self, key: str) -> None:
        requests = self._requests()
        for part in ("Versions", "DeleteMarkers"):
            for version in list(requests.pages("list_object_versions", part, prefix=key)):
                if self._key(version) == key:
                    requests.remove("delete_object", key, which={"VersionId": version["VersionId"]})

    def _abort_uploads(self, oldest_s: float) -> Sequence[str]:
        requests = self._requests()
        uploads = list(requests.pages("list_multipart_uploads", "Uploads", prefix=""))
        stale = [upload for upload in uploads if upload["Initiated"].timestamp() < oldest_s]
        for upload in stale:
            which = {"UploadId": upload["UploadId"]}
            requests.remove("abort_multipart_upload", self._key(upload), which=which)
        return [self._key(upload) for upload in stale]

    def _remove_probes(self, oldest_s: float) -> Sequence[str]:
        requests = self._requests()
        pages = list(requests.pages("list_objects_v2", "Contents", prefix=f"{PROBES}race-"))
        stale = [self._key(each) for each in pages if each["LastModified"].timestamp() < oldest_s]
        for key in stale:
            self.delete(key)
        return stale


def _is_listed(key: str) -> bool:
    """Whether it is an object of the lake; consoles leave empty objects as folders, others hidden files."""
    if key.startswith(PROBES):
        return False
    try:
        return bool(check_key(key))
    except BadKey:
        return False


@functools.cache
def _connect(
    endpoint: str | None, region: str | None, *, timeout_s: float, key: Hashable
) -> s3fs.S3FileSystem:
    """An s3fs that repeats nothing and remembers nothing, one for each process and each who asks (`key`).

    The credentials come from the ordinary AWS settings.
    """
    system = s3fs.S3FileSystem(
        endpoint_url=endpoint,
        client_kwargs={"region_name": region} if region else {},
        config_kwargs={
            "connect_timeout": min(10.0, timeout_s),
            "read_timeout": timeout_s,
            "retries": {"total_max_attempts": 1, "mode": "standard"},
            "max_pool_connections": 32,
            **({"s3": {"addressing_style": "path"}} if endpoint else {}),
        },
        use_listings_cache=False,
        skip_instance_cache=True,
    )
    system.retries = 1
    return system
