"""Conditional writes to a bucket whose outcome is known, whatever became of the answers.

A request is never repeated blindly: the first one may have succeeded. aiohttp does repeat a request whose
kept connection broke, so that even a refusal is doubtful. Every object carries the stamp of the call that
wrote it; a call in doubt reads back what lies there, and knows its own.
"""

import contextlib
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from storage.errors import CorruptObject, StorageError
from storage.probe import CommitMode
from storage.s3_errors import ConditionRefused, NothingThere, Request, TryAgain
from storage.s3_requests import Fields, Requests
from storage.sources import Source

STAMP = "itpo-writer"
AT_ONCE = 4  # parts of one upload that are under way
MOST_PARTS = 10_000  # that S3 takes of one object


@dataclass(slots=True)
class Write:
    """One write under a condition, IfNoneMatch or IfMatch; in parts when larger than `part_bytes`."""

    requests: Requests
    key: str
    source: Source
    condition: Fields
    part_bytes: int
    commit_mode: CommitMode
    stamp: str
    in_doubt: bool = False

    def attempt(self) -> bool:
        """True when this write is what lies there; TryAgain leaves it in doubt until the next attempt."""
        if self.in_doubt:
            settled = self._settled(self.condition)
            if settled is not None:
                return settled
        self.in_doubt = True
        try:
            self._put()
        except ConditionRefused:
            return self._settled({}) or False
        except NothingThere:
            return self._without_target()
        return True

    def _without_target(self) -> bool:
        if "IfMatch" in self.condition:
            return False
        raise TryAgain("the upload in parts was gone")

    def _settled(self, condition: Fields) -> bool | None:
        """Whether this write is what lies there; None when it has lost to nobody yet and may try again."""
        try:
            found = self.requests.ask("head_object", self.requests.at(self.key))
            if found["ETag"] == condition.get("IfMatch"):
                return None
            writer = found["Metadata"].get(STAMP)
            if writer not in (None, self.stamp):
                return False
            is_mine = found["ContentLength"] == self.source.size_bytes and self._is_what_lies_there()
        except NothingThere:
            return None if "IfNoneMatch" in condition else False
        if writer == self.stamp and not is_mine:
            raise CorruptObject(
                f"{self.requests.address(self.key)}: the store kept other bytes than it was sent; delete the "
                "object and run the same command again"
            )
        return is_mine

    def _is_what_lies_there(self) -> bool:
        """Compare part by part; what goes in one request is read in one."""
        if not self._is_large():
            return self.requests.read(self.key, {})[0] == self.source.part(0, self.source.size_bytes)
        return all(
            self.requests.read(self.key, {"Range": f"bytes={start}-{stop - 1}"})[0]
            == self.source.part(start, stop)
            for start, stop in self._parts()
        )

    def _put(self) -> None:
        where = {**self.requests.at(self.key), "Metadata": {STAMP: self.stamp}}
        condition = self.condition
        if self.commit_mode == "single_writer":
            self._check_condition()
            condition = {}
        if self._is_large():
            self._put_in_parts(where, condition)
        else:
            body = self.source.part(0, self.source.size_bytes)
            self.requests.ask("put_object", {**where, "Body": body, **condition})

    def _is_large(self) -> bool:
        return self.source.size_bytes > self.part_bytes

    def _parts(self) -> list[tuple[int, int]]:
        """Where each part begins and ends: of the wanted size, or larger where there would be too many."""
        size = self.source.size_bytes
        step = max(self.part_bytes, -(-size // MOST_PARTS))
        return [(start, min(start + step, size)) for start in range(0, size, step)]

    def _check_condition(self) -> None:
        """Ask instead of having the server decide: holds only while nobody else writes."""
        try:
            tag = self.requests.ask("head_object", self.requests.at(self.key))["ETag"]
        except NothingThere:
            tag = None
        if self.condition.get("IfMatch") != tag:
            raise ConditionRefused

    def _put_in_parts(self, where: Fields, condition: Fields) -> None:
        upload_id = self.requests.ask("create_multipart_upload", where)["UploadId"]
        upload = {**self.requests.at(self.key), "UploadId": upload_id}
        try:
            parts = self._put_parts(upload)
            done = {**upload, "MultipartUpload": {"Parts": parts}, **condition}
            request = Request("completion of an upload", self.requests.address(self.key), writes=True)
            # By itself: to send all parts again because of one refusal at the end would take as long again.
            self.requests.persist(request, lambda: self.requests.ask("complete_multipart_upload", done))
        except (StorageError, TryAgain, ConditionRefused, NothingThere):
            # Best effort: what stays behind is swept later.
            with contextlib.suppress(StorageError, TryAgain, NothingThere):
                self.requests.ask("abort_multipart_upload", upload)
            raise

    def _put_parts(self, upload: Fields) -> list[Fields]:
        """Several at a time, each in memory only while it is sent; one that fails ends them all."""
        with ThreadPoolExecutor(AT_ONCE) as senders:
            numbered = enumerate(self._parts(), 1)
            return list(senders.map(lambda each: self._put_part(upload, each[1], number=each[0]), numbered))

    def _put_part(self, upload: Fields, part: tuple[int, int], *, number: int) -> Fields:
        fields = {**upload, "PartNumber": number, "Body": self.source.part(*part)}
        request = Request("upload of a part", self.requests.address(self.key), writes=True)
        answer = self.requests.persist(request, lambda: self.requests.ask("upload_part", fields))
        return {"PartNumber": number, "ETag": answer["ETag"]}


def new_stamp() -> str:
    """What no other call has."""
    return uuid.uuid4().hex
