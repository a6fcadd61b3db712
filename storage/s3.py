"""The lake in a bucket, through s3fs: whole objects, conditional writes, every doubtful answer read back.

s3fs and botocore repeat nothing by themselves here: a repeated PUT would hide that the first one may have
succeeded. aiohttp still sends a request again whose kept connection broke, so every object carries the stamp
of the call that wrote it, and a call that is told "exists already" looks whether that is its own.
"""

import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import s3fs
from fsspec.asyn import sync
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from storage.copies import local_copy
from storage.errors import BadKey, CorruptObject, ObjectMissing, StorageError, StoreTimeout, StoreUnavailable
from storage.objects import ObjectInfo, Tagged, check_key
from storage.probe import PROBES, CommitMode, Guard, no_guard
from storage.s3_address import Place
from storage.s3_errors import (
    REQUEST_ERRORS,
    ConditionRefused,
    NothingThere,
    OutsideOfObject,
    Request,
    TryAgain,
    meaning,
)

Answer = TypeVar("Answer")
Fields = Mapping[str, Any]  # of a request or an answer, as the S3 interface names them

_STAMP = "itpo-writer"
_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class S3Store:
    """Objects below `place.prefix` of a bucket.

    `deadline_s` bounds the repetition of one request, `part_bytes` is the largest object written in one
    request (others go in parts of this size), `cache` is where local copies lie, `guard` is asked before
    every write whether this store may be written to.
    """

    place: Place
    deadline_s: float = 60.0
    part_bytes: int = 64 * _MIB
    cache: Path | None = None
    commit_mode: CommitMode = "conditional"
    guard: Guard = no_guard
    _systems: dict[int, s3fs.S3FileSystem] = field(default_factory=dict, repr=False, compare=False)

    @property
    def address(self) -> str:
        """`s3://bucket/prefix`, without the endpoint: for messages."""
        return self.address_of("").rstrip("/")

    def address_of(self, key: str) -> str:
        """`s3://bucket/prefix/key`, for messages and for readers of S3."""
        return f"s3://{self.place.bucket}/{self._name(key)}"

    def file_system(self) -> s3fs.S3FileSystem:
        """The s3fs of this process: one made before a fork is of no use after it."""
        process = os.getpid()
        if process not in self._systems:
            self._systems[process] = _connect(self.place, deadline_s=self.deadline_s)
        return self._systems[process]

    def get(self, key: str) -> bytes:
        """The bytes of an object, in one request; raises ObjectMissing."""
        return self.get_tagged(key).data

    def get_tagged(self, key: str) -> Tagged:
        """The bytes with the ETag; one request. Raises ObjectMissing."""
        data, answer = self._fetch(key, {})
        return Tagged(data, answer["ETag"])

    def get_range(self, key: str, *, start: int, stop: int) -> bytes:
        """The bytes from `start` up to `stop`, or up to the end; one request. Raises ObjectMissing."""
        try:
            return self._fetch(key, {"Range": f"bytes={start}-{stop - 1}"})[0]
        except OutsideOfObject:
            return b""

    def create(self, key: str, data: bytes) -> bool:
        """Store the object unless one exists: one request when all is well."""
        return self._write_surely("create", check_key(key), data, condition={"IfNoneMatch": "*"})

    def replace(self, key: str, data: bytes, *, tag: str) -> bool:
        """Put `data` in the place of the bytes with this tag: one request when all is well."""
        return self._write_surely("replace", check_key(key), data, condition={"IfMatch": tag})

    def list(self, prefix: str) -> list[str]:
        """Every key that starts with the prefix, sorted; notes of the probe are not listed."""
        return [entry.key for entry in self.entries(prefix)]

    def entries(self, prefix: str) -> Sequence[ObjectInfo]:
        """Size and time of every object, by key; a request per thousand."""
        start = len(self._name(""))
        pages = self._pages("list_objects_v2", "Contents", prefix=prefix)
        found = [
            ObjectInfo(each["Key"][start:], each["Size"], each["LastModified"].timestamp()) for each in pages
        ]
        return sorted((info for info in found if _is_listed(info.key)), key=lambda info: info.key)

    def delete(self, key: str) -> None:
        """Remove the object for good, older versions of it too where the bucket keeps them."""
        answer = self._remove("delete_object", check_key(key), {})
        if answer.get("DeleteMarker") or answer.get("VersionId"):
            self._delete_versions(key)

    def sweep_unfinished(self, *, older_than_s: float) -> Sequence[str]:
        """Abort uploads in parts, and remove objects of probes, that were begun so long ago."""
        oldest = time.time() - older_than_s
        return [*self._abort_uploads(oldest), *self._remove_probes(oldest)]

    def local_path(self, key: str) -> Path:
        """A local copy, fetched when it is not there yet; of a key whose bytes never change."""
        lake = f"{self.place.endpoint or ''} {self.address}"
        return local_copy(self.cache, lake, key=check_key(key), fetch=lambda: self.get(key))

    def head_bucket(self) -> Fields:
        """The headers of an answer about the bucket, for a diagnosis."""
        request = Request("look-up", f"s3://{self.place.bucket}", writes=False)
        try:
            answer = self._persist(request, lambda: self._ask("head_bucket", {"Bucket": self.place.bucket}))
        except NothingThere:
            absent = StoreUnavailable(f"{request.address}: there is no such bucket; correct lake.root")
        else:
            return answer["ResponseMetadata"]["HTTPHeaders"]
        raise absent

    def _fetch(self, key: str, part: Fields) -> tuple[bytes, Fields]:
        check_key(key)
        try:
            return self._persist(self._request("get", key), lambda: self._read(key, part))
        except NothingThere:
            absent = ObjectMissing(f"there is no object {key!r} in the lake at {self.address}")
        raise absent

    def _name(self, key: str) -> str:
        return f"{self.place.prefix}/{key}" if self.place.prefix else key

    def _request(self, operation: str, key: str, *, writes: bool = False) -> Request:
        return Request(operation, self.address_of(key), writes)

    def _write_surely(self, operation: str, key: str, data: bytes, *, condition: Fields) -> bool:
        """Write under the condition; after a doubtful answer look what lies there before writing again."""
        self.guard(replace(self, guard=no_guard))
        stamp = uuid.uuid4().hex
        in_doubt = False

        def attempt() -> bool:
            nonlocal in_doubt
            if in_doubt:
                settled = self._settled(key, data, stamp=stamp, condition=condition)
                if settled is not None:
                    return settled
            in_doubt = True
            try:
                self._put(key, data, stamp=stamp, condition=condition)
            except ConditionRefused:
                return self._settled(key, data, stamp=stamp, condition={}) or False
            except NothingThere:
                if "IfMatch" in condition:
                    return False
                raise TryAgain("the upload in parts was gone") from None
            return True

        return self._persist(self._request(operation, key, writes=True), attempt)

    def _settled(self, key: str, data: bytes, *, stamp: str, condition: Fields) -> bool | None:
        """Whether this call wrote what lies there; None when it lost to nobody yet and may try again."""
        try:
            found = self._ask("head_object", self._at(key))
            if found["ETag"] == condition.get("IfMatch"):
                return None
            writer = found["Metadata"].get(_STAMP)
            if writer not in (None, stamp):
                return False
            lies_there, _ = self._read(key, {})
        except NothingThere:
            return None if "IfNoneMatch" in condition else False
        if writer == stamp and lies_there != data:
            raise CorruptObject(
                f"{self.address_of(key)}: the store kept other bytes than it was sent; delete the object "
                "and run the same command again"
            )
        return lies_there == data

    def _put(self, key: str, data: bytes, *, stamp: str, condition: Fields) -> None:
        where = {**self._at(key), "Metadata": {_STAMP: stamp}}
        if self.commit_mode == "single_writer":
            self._check_condition(key, condition)
            condition = {}
        if len(data) <= self.part_bytes:
            self._ask("put_object", {**where, "Body": data, **condition})
        else:
            self._put_in_parts(key, data, where=where, condition=condition)

    def _check_condition(self, key: str, condition: Fields) -> None:
        """Ask instead of having the server decide: holds only while nobody else writes."""
        try:
            tag = self._ask("head_object", self._at(key))["ETag"]
        except NothingThere:
            tag = None
        if condition.get("IfMatch") != tag:
            raise ConditionRefused

    def _put_in_parts(self, key: str, data: bytes, *, where: Fields, condition: Fields) -> None:
        upload = {**self._at(key), "UploadId": self._ask("create_multipart_upload", where)["UploadId"]}
        try:
            parts = [
                self._put_part(key, data[start : start + self.part_bytes], number=number, upload=upload)
                for number, start in enumerate(range(0, len(data), self.part_bytes), 1)
            ]
            done = {"MultipartUpload": {"Parts": parts}, **condition}
            self._ask("complete_multipart_upload", {**upload, **done})
        except (StorageError, TryAgain, ConditionRefused, NothingThere):
            self._abort(upload)
            raise

    def _put_part(self, key: str, part: bytes, *, number: int, upload: Fields) -> Fields:
        fields = {**upload, "PartNumber": number, "Body": part}
        request = self._request("upload of a part", key, writes=True)
        answer = self._persist(request, lambda: self._ask("upload_part", fields))
        return {"PartNumber": number, "ETag": answer["ETag"]}

    def _abort(self, upload: Fields) -> None:
        """Best effort: what stays behind is swept later."""
        try:
            self._ask("abort_multipart_upload", upload)
        except (StorageError, TryAgain, NothingThere):
            return

    def _at(self, key: str) -> dict[str, Any]:
        return {"Bucket": self.place.bucket, "Key": self._name(key)}

    def _read(self, key: str, part: Fields) -> tuple[bytes, Fields]:
        """The bytes of an object, or of a part of it; a body that ends early is asked for again."""
        system = self.file_system()

        def read() -> tuple[bytes, Fields]:
            answer = system.call_s3("get_object", **self._at(key), **part)
            return sync(system.loop, answer["Body"].read), answer

        data, answer = self._translated(self._request("get", key), read)
        if len(data) != answer["ContentLength"]:
            raise TryAgain("a body that ended early")
        return data, answer

    def _remove(self, method: str, key: str, which: Fields) -> Fields:
        """Ask for a removal until it is done; what is gone already gives an empty answer."""
        request = self._request("delete", key, writes=True)
        try:
            return self._persist(request, lambda: self._ask(method, {**self._at(key), **which}))
        except NothingThere:
            return {}

    def _ask(self, method: str, fields: Fields) -> Fields:
        """One request, once."""
        address = f"s3://{fields['Bucket']}/{fields.get('Key', fields.get('Prefix', ''))}"
        writes = not method.startswith(("get_", "head_", "list_"))
        system = self.file_system()
        return self._translated(Request(method, address, writes), lambda: system.call_s3(method, **fields))

    def _translated(self, request: Request, call: Callable[[], Answer]) -> Answer:
        try:
            return call()
        except REQUEST_ERRORS as error:
            problem = meaning(error, request)
        # Raised out here so that the error, whose text may hold a secret, is not even its context.
        raise problem

    def _persist(self, request: Request, call: Callable[[], Answer]) -> Answer:
        """Repeat while the server says "later", at growing random intervals, until the deadline."""
        began_s = time.monotonic()
        tries: list[str] = []

        def noted() -> Answer:
            try:
                return call()
            except TryAgain as problem:
                tries.append(str(problem))
                raise

        repeat = Retrying(
            retry=retry_if_exception_type(TryAgain),
            wait=wait_random_exponential(multiplier=0.1, max=10),
            stop=stop_after_delay(self.deadline_s),
            reraise=True,
        )
        try:
            return repeat(noted)
        except TryAgain:
            waited_s = time.monotonic() - began_s
        raise StoreTimeout(
            f"{request.address}: {request.operation} failed {len(tries)} times in {waited_s:.0f} s, last "
            f"with {tries[-1]!r}; check that the endpoint is up and reachable, then run the same command "
            "again: what was written already is found"
        )

    def _pages(self, method: str, part: str, *, prefix: str) -> Iterator[Fields]:
        fields = {"Bucket": self.place.bucket, "Prefix": self._name(prefix)}
        request = Request("listing", self.address_of(prefix), writes=False)
        more: dict[str, str] | None = {}
        while more is not None:
            asked = {**fields, **more}
            page = self._persist(request, lambda asked=asked: self._ask(method, asked))
            yield from page.get(part) or []
            more = _next_page(page)

    def _delete_versions(self, key: str) -> None:
        for part in ("Versions", "DeleteMarkers"):
            for version in list(self._pages("list_object_versions", part, prefix=key)):
                if version["Key"] == self._name(key):
                    self._remove("delete_object", key, {"VersionId": version["VersionId"]})

    def _abort_uploads(self, oldest_s: float) -> Sequence[str]:
        start = len(self._name(""))
        uploads = list(self._pages("list_multipart_uploads", "Uploads", prefix=""))
        stale = [upload for upload in uploads if upload["Initiated"].timestamp() < oldest_s]
        for upload in stale:
            which = {"UploadId": upload["UploadId"]}
            self._remove("abort_multipart_upload", upload["Key"][start:], which)
        return [upload["Key"][start:] for upload in stale]

    def _remove_probes(self, oldest_s: float) -> Sequence[str]:
        start = len(self._name(""))
        pages = list(self._pages("list_objects_v2", "Contents", prefix=f"{PROBES}race-"))
        stale = [each["Key"][start:] for each in pages if each["LastModified"].timestamp() < oldest_s]
        for key in stale:
            self._remove("delete_object", key, {})
        return stale


def _is_listed(key: str) -> bool:
    """Whether it is an object of the lake; consoles leave empty objects as folders, others hidden files."""
    if key.startswith(PROBES):
        return False
    try:
        return bool(check_key(key))
    except BadKey:
        return False


def _next_page(page: Fields) -> dict[str, str] | None:
    """Where the next page of a listing begins, in the words of each kind of listing; None after the last."""
    if not page.get("IsTruncated"):
        return None
    if "NextContinuationToken" in page:
        return {"ContinuationToken": page["NextContinuationToken"]}
    names = {
        "NextKeyMarker": "KeyMarker",
        "NextVersionIdMarker": "VersionIdMarker",
        "NextUploadIdMarker": "UploadIdMarker",
    }
    return {asked: page[found] for found, asked in names.items() if page.get(found)}


def _connect(place: Place, *, deadline_s: float) -> s3fs.S3FileSystem:
    """An s3fs that repeats nothing and remembers nothing; credentials come from the ordinary AWS settings."""
    timeout_s = max(1.0, min(20.0, deadline_s / 3))
    system = s3fs.S3FileSystem(
        endpoint_url=place.endpoint,
        client_kwargs={"region_name": place.region} if place.region else {},
        config_kwargs={
            "connect_timeout": min(10.0, timeout_s),
            "read_timeout": timeout_s,
            "retries": {"total_max_attempts": 1, "mode": "standard"},
            "max_pool_connections": 32,
            **({"s3": {"addressing_style": "path"}} if place.endpoint else {}),
        },
        use_listings_cache=False,
        skip_instance_cache=True,
    )
    system.retries = 1
    return system
