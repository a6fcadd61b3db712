"""A real HTTP server on loopback that speaks chat completions, and misbehaves on demand.

    with serving(lambda request: {"reply": "hello", "is_over": False}) as server:
        model = OpenAiModel(OpenAiSettings(server.address, "any"))

Behind it stands a callable that gets the request's JSON and returns the answer's object (or its text): a
rule-based user or judge fits there. What goes wrong is said in one of two ways, or not at all:

- `Misdeeds(script=[Deed.BUSY, Deed.FENCED])`: the first requests, in the order in which they come in.
- `Misdeeds(chances={Deed.BUSY: 0.2, Deed.HANG: 0.1}, seed=3)`: by chance, and the same for the same request
  whatever threads ask: the draw depends on the seed, the request's body and how often it came before. A
  request that is only tried again is drawn for anew; one that is asked again has another seed in it anyway.

Deeds about words (COPIES, LEAKS, NEVER_ENDS, ENDS_AT_ONCE, LEAVES_ROLE) change the answer of the callable:
`Words` says which key holds the text, which the end, and where goal and last message stand in a request.
HANG holds a request until the server closes. `requests` is what came in, `most_open` how many at once,
`callers` the connections that they came over.
"""

import hashlib
import json
import random
import socket
import struct
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Document = dict[str, Any]  # Any: JSON
Answering = Callable[[Document], object]


class Deed(StrEnum):
    """What the server does with one request."""

    GOOD = "good"
    BUSY = "busy"  # 429
    BUSY_WAIT = "busy_wait"  # 429 with a Retry-After of `retry_after_s`
    QUOTA = "quota"  # 429 that never passes
    DOWN = "down"  # 500
    MOVED = "moved"  # 307 to the same address, where it would be answered
    BAD_KEY = "bad_key"  # 401, telling the key that it got
    HANG = "hang"  # never answers
    DRIP = "drip"  # a byte every `drip_s`
    RESET = "reset"  # the connection breaks
    NO_JSON_BODY = "no_json_body"  # 200 with a page
    EMPTY = "empty"  # no text
    NO_CONTENT = "no_content"  # null in the place of the text
    NO_JSON = "no_json"  # words where an object was asked for
    FENCED = "fenced"
    CHATTY = "chatty"  # words around the object
    HALF = "half"  # half of the object
    WRONG_KEYS = "wrong_keys"
    WRONG_TYPES = "wrong_types"
    REFUSAL = "refusal"  # the field of that name
    FILTERED = "filtered"  # finish_reason content_filter
    FILTERED_PROMPT = "filtered_prompt"  # 400 of a content filter
    TOO_LONG = "too_long"  # finish_reason length
    TWO_REPLIES = "two_replies"
    OTHER_MODEL = "other_model"
    NO_MODEL = "no_model"
    NO_USAGE = "no_usage"
    TELLS_KEY = "tells_key"  # the key that it got, in the answer's text
    LEAVES_ROLE = "leaves_role"  # says that it is a language model and plays nobody
    COPIES = "copies"  # the last message, word for word
    LEAKS = "leaks"  # the goal, word for word
    NEVER_ENDS = "never_ends"
    ENDS_AT_ONCE = "ends_at_once"


@dataclass(frozen=True)
class Words:
    """Where an answer holds its text and its end, and what a request says about goal and last message."""

    text_key: str = "reply"
    end_key: str = "is_over"
    goal: Callable[[Document], str] = lambda request: request["messages"][0]["content"]
    last: Callable[[Document], str] = lambda request: request["messages"][-1]["content"]


@dataclass(frozen=True)
class Misdeeds:
    """What goes wrong: the first requests by `script`, the others by `chances`, which sum to 1 at most."""

    script: Sequence[Deed] = ()
    chances: Mapping[Deed, float] = field(default_factory=dict)
    seed: int = 0
    retry_after_s: float = 1.0
    drip_s: float = 0.02
    words: Words = field(default_factory=Words)


@dataclass(frozen=True)
class Received:
    """One request as it came in, and what was done with it."""

    body: Document
    headers: Mapping[str, str]
    deed: Deed

    @property
    def key(self) -> str:
        """The key that it carried; empty without one."""
        return self.headers.get("authorization", "").removeprefix("Bearer ")


class LlmServer:
    """See the module's words; `latency_s` is waited before every answer."""

    def __init__(
        self, answer: Answering, misdeeds: Misdeeds, *, latency_s: float = 0.0, model: str = "served-1"
    ) -> None:
        self._answer = answer
        self._misdeeds = misdeeds
        self._latency_s = latency_s
        self._model = model
        self._lock = threading.Lock()
        self._seen: Counter[str] = Counter()
        self._open = 0
        self.closing = threading.Event()
        self.requests: list[Received] = []
        self.callers: set[tuple[str, int]] = set()
        self.most_open = 0
        self.address = ""

    @property
    def deeds(self) -> Counter[Deed]:
        """How often it did what."""
        with self._lock:
            return Counter(each.deed for each in self.requests)

    def take(self, body: Document, headers: Mapping[str, str]) -> Received:
        """Count a request that came in and choose what to do with it."""
        with self._lock:
            text = json.dumps(body, sort_keys=True)
            came_before = self._seen[text]
            self._seen[text] += 1
            received = Received(body, headers, self._chosen(f"{text} {came_before}"))
            self.requests.append(received)
            self._open += 1
            self.most_open = max(self.most_open, self._open)
        self.closing.wait(self._latency_s)
        return received

    def done(self) -> None:
        """The request is answered, or given up."""
        with self._lock:
            self._open -= 1

    def answered(self, received: Received) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and bytes of an answer."""
        if received.deed in _ERRORS:
            status, error = _ERRORS[received.deed]
            told = {**error, "message": f"{error['message']} {received.key}".strip()}
            return status, self._headers(received.deed), json.dumps({"error": told}).encode()
        if received.deed is Deed.NO_JSON_BODY:
            return 200, {"content-type": "text/html"}, b"<html><body>Welcome</body></html>"
        return 200, {}, json.dumps(self._document(received)).encode()

    @property
    def drip_s(self) -> float:
        """Seconds between two bytes of a slow drip."""
        return self._misdeeds.drip_s

    def _chosen(self, text: str) -> Deed:
        if len(self.requests) < len(self._misdeeds.script):
            return self._misdeeds.script[len(self.requests)]
        digest = hashlib.sha256(f"{self._misdeeds.seed} {text}".encode()).digest()
        drawn = random.Random(digest).random()
        for deed, chance in self._misdeeds.chances.items():
            drawn -= chance
            if drawn < 0:
                return deed
        return Deed.GOOD

    def _headers(self, deed: Deed) -> dict[str, str]:
        headers = {
            Deed.BUSY_WAIT: {"retry-after": f"{self._misdeeds.retry_after_s:g}"},
            Deed.MOVED: {"location": f"{self.address}/chat/completions"},
        }
        return headers.get(deed, {})

    def _document(self, received: Received) -> Document:
        answer = self._answer(received.body)
        deed, words = received.deed, self._misdeeds.words
        if deed in _WORDS and isinstance(answer, Mapping):
            answer = {**answer, **_WORDS[deed](received, words)}
        text = answer if isinstance(answer, str) else json.dumps(answer)
        choice = {
            "index": 0,
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": _TEXTS.get(deed, _as_it_is)(text)},
        }
        document = {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": self._model,
            "choices": [choice],
            "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110},
        }
        return _WHOLES.get(deed, _as_it_is)(document)


_ERRORS: dict[Deed, tuple[int, Document]] = {
    Deed.BUSY: (429, {"message": "slow down", "code": "rate_limit_exceeded"}),
    Deed.BUSY_WAIT: (429, {"message": "slow down", "code": "rate_limit_exceeded"}),
    Deed.QUOTA: (429, {"message": "no money left", "code": "insufficient_quota"}),
    Deed.DOWN: (500, {"message": "out of order"}),
    Deed.MOVED: (307, {"message": "not here"}),
    Deed.BAD_KEY: (401, {"message": "wrong key", "code": "invalid_api_key"}),
    Deed.FILTERED_PROMPT: (400, {"message": "filtered", "code": "content_filter"}),
}
_PLAYS_NOBODY = "As an AI language model I cannot pretend to be a user. How can I help you?"
_WORDS: dict[Deed, Callable[[Received, Words], Document]] = {
    Deed.LEAVES_ROLE: lambda received, words: {words.text_key: _PLAYS_NOBODY},
    Deed.COPIES: lambda received, words: {words.text_key: words.last(received.body)},
    Deed.LEAKS: lambda received, words: {words.text_key: words.goal(received.body)},
    Deed.TELLS_KEY: lambda received, words: {words.text_key: f"my key is {received.key}"},
    Deed.NEVER_ENDS: lambda received, words: {words.end_key: False},
    Deed.ENDS_AT_ONCE: lambda received, words: {words.end_key: True},
}


def _as_it_is(value: Any) -> Any:
    return value


def _wrong_types(text: str) -> str:
    return json.dumps({key: [value] for key, value in json.loads(text).items()})


_TEXTS: dict[Deed, Callable[[str], str | None]] = {
    Deed.EMPTY: lambda text: "",
    Deed.NO_CONTENT: lambda text: None,
    Deed.NO_JSON: lambda text: "I would rather talk about the weather.",
    Deed.FENCED: lambda text: f"```json\n{text}\n```",
    Deed.CHATTY: lambda text: f"Sure! Here it is:\n{text}\nAnything else?",
    Deed.HALF: lambda text: text[: len(text) // 2],
    Deed.WRONG_KEYS: lambda text: json.dumps({"text": text}),
    Deed.WRONG_TYPES: _wrong_types,
}


def _changed(**changes: object) -> Callable[[Document], Document]:
    return lambda document: {**document, **changes}


def _in_choice(**changes: object) -> Callable[[Document], Document]:
    return lambda document: {**document, "choices": [{**document["choices"][0], **changes}]}


def _without_usage(document: Document) -> Document:
    return {key: value for key, value in document.items() if key != "usage"}


_REFUSED = {"role": "assistant", "content": None, "refusal": "I cannot help with that."}
_WHOLES: dict[Deed, Callable[[Document], Document]] = {
    Deed.REFUSAL: _in_choice(message=_REFUSED),
    Deed.FILTERED: _in_choice(finish_reason="content_filter"),
    Deed.TOO_LONG: _in_choice(finish_reason="length"),
    Deed.TWO_REPLIES: lambda document: {**document, "choices": document["choices"] * 2},
    Deed.OTHER_MODEL: _changed(model="served-2"),
    Deed.NO_MODEL: _changed(model=None),
    Deed.NO_USAGE: _without_usage,
}


class _Handler(BaseHTTPRequestHandler):
    """Hands what is posted to the server and does with it what that says."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1
    llm: LlmServer

    def do_POST(self) -> None:
        """One request."""
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.llm.callers.add(self.client_address)
        received = self.llm.take(body, {name.lower(): value for name, value in self.headers.items()})
        try:
            self._do(received)
        finally:
            self.llm.done()

    def _do(self, received: Received) -> None:
        if received.deed is Deed.HANG:
            self.llm.closing.wait()
            self.close_connection = True
        elif received.deed is Deed.RESET:
            # Lingering for 0 s makes the system answer with a reset in the place of an orderly end.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
        else:
            self._send(*self.llm.answered(received), drip=received.deed is Deed.DRIP)

    def _send(self, status: int, headers: Mapping[str, str], raw: bytes, *, drip: bool) -> None:
        self.send_response(status)
        for name, value in {"content-type": "application/json", **headers}.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        for part in _parts(raw, drip):
            self.wfile.write(part)
            self.wfile.flush()
            if drip and self.llm.closing.wait(self.llm.drip_s):
                break

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def _parts(raw: bytes, drip: bool) -> Iterator[bytes]:
    yield from (bytes([byte]) for byte in raw) if drip else (raw,)


class _Sockets(ThreadingHTTPServer):
    """As many callers at once as tests have; a connection that its caller broke off is no news."""

    daemon_threads = True
    request_queue_size = 512

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Show what broke, unless it is that whoever asked is gone."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Close without the orderly end, which would go out before the reset that a test asked for."""
        self.close_request(request)


@contextmanager
def serving(
    answer: Answering, misdeeds: Misdeeds | None = None, *, latency_s: float = 0.0, model: str = "served-1"
) -> Iterator[LlmServer]:
    """A server on a free port for the length of a block; `server.address` ends in /v1."""
    server = LlmServer(answer, misdeeds or Misdeeds(), latency_s=latency_s, model=model)
    http = _Sockets(("127.0.0.1", 0), type("Handler", (_Handler,), {"llm": server}))
    server.address = f"http://127.0.0.1:{http.server_address[1]}/v1"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.closing.set()
        http.shutdown()
        http.server_close()
        thread.join(timeout=5)
