"""A proxy on loopback before a real S3 server: it counts the requests and spoils those it was told to.

A plugin, named by tests/conftest.py: a test asks for `faulty_lake`.
"""

import contextlib
import http.client
import socket
import threading
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar
from urllib.parse import unquote, urlsplit

import pytest

from tests.storage.servers import aws_environment, probed_lake

Header = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server behind said."""

    status: int
    headers: list[Header]
    body: bytes


Forward = Callable[[], Answer]
Act = Callable[["Handler", Forward], None]


@dataclass(slots=True)
class Fault:
    """Spoil requests of this method whose path holds `part`: `times` of them, from the `first` (1) on."""

    method: str
    part: str
    act: Act
    first: int = 1
    times: int = 1
    met: int = field(default=0)

    def takes(self, method: str, path: str) -> bool:
        """Whether this request is to be spoiled; counts it."""
        if method != self.method or self.part not in path:
            return False
        self.met += 1
        return self.first <= self.met < self.first + self.times


@dataclass(slots=True)
class FaultyLake:
    """The lake behind the proxy, what shall go wrong with it, and every request that came, as 'PUT path'."""

    endpoint: str
    uri: str
    faults: list[Fault] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)
    keeps_connections: bool = False

    def counts(self) -> dict[str, int]:
        """How many requests of each method came."""
        methods = [line.split(" ", maxsplit=1)[0] for line in self.seen]
        return {method: methods.count(method) for method in sorted(set(methods))}


def answer(status: int, code: str) -> Act:
    """Do nothing and say this, in the words of S3; the text repeats a secret, as some servers do."""

    def act(handler: "Handler", forward: Forward) -> None:
        text = f"AKIAPLANTED planted-signature {handler.headers.get('Authorization', '')}"
        error = f"<Error><Code>{code}</Code><Message>{text}</Message></Error>".encode()
        handler.send(Answer(status, [("Content-Type", "application/xml")], error))

    return act


def drop_after(handler: "Handler", forward: Forward) -> None:
    """Have it done, and close the connection without a word."""
    forward()
    handler.drop()


def hang_after(handler: "Handler", forward: Forward) -> None:
    """Have it done, and say nothing for longer than anybody waits."""
    forward()
    time.sleep(1.5)
    handler.drop()


def truncate(handler: "Handler", forward: Forward) -> None:
    """Promise the whole body and send half of it."""
    whole = forward()
    handler.send(whole, sent=whole.body[: len(whole.body) // 2])
    handler.drop()


def flip(handler: "Handler", forward: Forward) -> None:
    """Send the body with one bit changed in its middle."""
    whole = forward()
    body = bytearray(whole.body)
    body[len(body) // 2] ^= 1
    handler.send(whole, sent=bytes(body))


class Handler(BaseHTTPRequestHandler):
    """One connection to the proxy."""

    protocol_version = "HTTP/1.1"
    timeout = 20
    lake: ClassVar[FaultyLake]
    upstream: ClassVar[str]

    def handle_any(self) -> None:
        """Forward the request, or spoil it."""
        path = unquote(self.path)
        self.lake.seen.append(f"{self.command} {path}")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        # Every fault counts, not only the first that takes the request.
        taking = [fault for fault in self.lake.faults if fault.takes(self.command, path)]
        if taking:
            taking[0].act(self, lambda: self.forward(body))
        else:
            self.send(self.forward(body))

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_any

    def forward(self, body: bytes) -> Answer:
        """Ask the server behind."""
        parts = urlsplit(self.upstream)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=20)
        try:
            connection.request(self.command, self.path, body=body, headers=dict(self.headers.items()))
            reply = connection.getresponse()
            return Answer(reply.status, reply.getheaders(), reply.read())
        finally:
            connection.close()

    def send(self, whole: Answer, *, sent: bytes | None = None) -> None:
        """Pass an answer on; `sent` in the place of its body, though the headers are those of the whole."""
        self.send_response_only(whole.status)
        for name, value in whole.headers:
            if name.lower() not in {"transfer-encoding", "connection", "content-length"}:
                self.send_header(name, value)
        told = {name.lower(): value for name, value in whole.headers}
        length = told.get("content-length", "0") if self.command == "HEAD" else str(len(whole.body))
        self.send_header("Content-Length", length)
        if not self.lake.keeps_connections:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(whole.body if sent is None else sent)
        self.close_connection = not self.lake.keeps_connections

    def drop(self) -> None:
        """Close the connection in the middle."""
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: `seen` has it all."""


@contextlib.contextmanager
def proxy_before(upstream: str) -> Generator[tuple[str, type[Handler]]]:
    """The endpoint of a proxy, and its handler, whose `lake` says what to spoil."""
    handler = type("BoundHandler", (Handler,), {"upstream": upstream})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", handler
        finally:
            server.shutdown()
            thread.join(5)


@pytest.fixture(scope="session")
def faulty_proxy(moto_endpoint: str) -> Iterator[tuple[str, type[Handler]]]:
    """The proxy of this test process, before moto."""
    with proxy_before(moto_endpoint) as proxy:
        yield proxy


@pytest.fixture
def faulty_lake(faulty_proxy: tuple[str, type[Handler]], moto_endpoint: str) -> Iterator[FaultyLake]:
    """A new lake behind the proxy, with the AWS variables set that lead there; nothing goes wrong yet."""
    endpoint, handler = faulty_proxy
    lake = FaultyLake(endpoint, probed_lake(moto_endpoint))
    handler.lake = lake
    with aws_environment(endpoint):
        yield lake
