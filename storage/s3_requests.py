"""Requests to one bucket: asked once, repeated until a deadline, or paged; only errors of ours come out."""

import time
from asyncio import AbstractEventLoop
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from fsspec.asyn import sync
from tenacity import Retrying, retry_if_exception_type, wait_random_exponential

from storage.errors import StoreTimeout
from storage.s3_address import Place
from storage.s3_errors import REQUEST_ERRORS, NothingThere, Request, TryAgain, meaning

Answer = TypeVar("Answer")
Fields = Mapping[str, Any]  # of a request or an answer, as the S3 interface names them

FIRST_WAIT_S = 0.1
LONGEST_WAIT_S = 10.0


class Connection(Protocol):
    """What is used of s3fs."""

    @property
    def loop(self) -> AbstractEventLoop:
        """Where its bodies are read."""
        ...

    @property
    def call_s3(self) -> Callable[..., Any]:
        """One method of the S3 interface by name, with its fields."""
        ...


@dataclass(frozen=True, slots=True)
class Requests:
    """Requests to `place` over what `connected` gives; `deadline_s` bounds repetition."""

    place: Place
    deadline_s: float
    connected: Callable[[], Connection]

    def name(self, key: str) -> str:
        """The key in the bucket."""
        return f"{self.place.prefix}/{key}" if self.place.prefix else key

    def at(self, key: str) -> dict[str, Any]:
        """The fields that name an object."""
        return {"Bucket": self.place.bucket, "Key": self.name(key)}

    def address(self, key: str) -> str:
        """`s3://bucket/prefix/key`, without the endpoint."""
        return f"s3://{self.place.bucket}/{self.name(key)}"

    def ask(self, method: str, fields: Fields) -> Fields:
        """One request, once."""
        address = f"s3://{fields['Bucket']}/{fields.get('Key', fields.get('Prefix', ''))}"
        writes = not method.startswith(("get_", "head_", "list_"))
        system = self.connected()
        return _translated(Request(method, address, writes), lambda: system.call_s3(method, **fields))

    def read(self, key: str, part: Fields) -> tuple[bytes, Fields]:
        """The bytes of an object, or of a part of it, in one request; TryAgain for a body cut short."""
        system = self.connected()

        def read() -> tuple[bytes, Fields]:
            answer = system.call_s3("get_object", **self.at(key), **part)
            return sync(system.loop, answer["Body"].read), answer

        data, answer = _translated(Request("get", self.address(key), False), read)
        if len(data) != answer["ContentLength"]:
            raise TryAgain("a body that ended early")
        return data, answer

    def remove(self, method: str, key: str, *, which: Fields) -> Fields:
        """Ask for a removal until it is done; what is gone already gives an empty answer."""
        request = Request("delete", self.address(key), writes=True)
        try:
            return self.persist(request, lambda: self.ask(method, {**self.at(key), **which}))
        except NothingThere:
            return {}

    def pages(self, method: str, part: str, *, prefix: str) -> Iterator[Fields]:
        """Everything of a listing below the prefix, a request per thousand."""
        fields = {"Bucket": self.place.bucket, "Prefix": self.name(prefix)}
        request = Request("listing", self.address(prefix), writes=False)
        more: Fields | None = {}
        while more is not None:
            asked = {**fields, **more}
            page = self.persist(request, lambda asked=asked: self.ask(method, asked))
            yield from page.get(part) or []
            more = _next_page(page)

    def persist(self, request: Request, call: Callable[[], Answer]) -> Answer:
        """Repeat while the server says "later", at growing random intervals, until the deadline.

        It counts from the first failure: what is large may take longer, and has a second chance all the same.
        """
        failures: list[str] = []
        failed_s: list[float] = []

        def noted() -> Answer:
            try:
                return call()
            except TryAgain as problem:
                failures.append(str(problem))
                failed_s.append(time.monotonic())
                raise

        repeat = Retrying(
            retry=retry_if_exception_type(TryAgain),
            wait=wait_random_exponential(multiplier=FIRST_WAIT_S, max=LONGEST_WAIT_S),
            stop=lambda _: time.monotonic() - failed_s[0] >= self.deadline_s,
            reraise=True,
        )
        try:
            return repeat(noted)
        except TryAgain:
            waited_s = time.monotonic() - failed_s[0]
        raise StoreTimeout(
            f"{request.address}: {request.operation} failed {len(failures)} times in {waited_s:.0f} s, last "
            f"with {failures[-1]!r}; check that the endpoint is up and reachable, then run the same command "
            "again: what was written already is found"
        )


def _translated(request: Request, call: Callable[[], Answer]) -> Answer:
    try:
        return call()
    except REQUEST_ERRORS as error:
        problem = meaning(error, request)
    # Raised out here so that the error, whose text may hold a secret, is not even its context.
    raise problem


def _next_page(page: Fields) -> Fields | None:
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
