"""An OpenAI-compatible server on loopback with a tiny policy behind it, that can be told to misbehave."""

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol

import torch
from transformers import PreTrainedModel

from itpo_core.tokens import ChatFormat, suppress
from itpo_core.types import Message, Role

MODEL = "tiny"
Document = dict[str, Any]  # Any: JSON


@dataclass
class Spoilt:
    """What is wrong with an answer: its status, a delay in seconds, its bytes."""

    status: int = 200
    delay_s: float = 0.0
    spoil: Callable[[Document], bytes] = lambda document: json.dumps(document).encode()
    headers: dict[str, str] = field(default_factory=dict)


class FakeServer:
    """Spoils its first answers as told, in order; `asked` is what came in."""

    def __init__(self, model: PreTrainedModel, chat_format: ChatFormat, name: str = MODEL) -> None:
        self._model = model
        self._name = name
        self._format = chat_format
        self._lock = threading.Lock()
        self.spoilt: list[Spoilt] = []
        self.asked: list[tuple[str, Document, dict[str, str]]] = []
        self.open_calls = 0
        self.most_open_calls = 0
        self.address = ""

    def take(self, path: str, body: Document, headers: dict[str, str]) -> tuple[Spoilt, bytes]:
        """The answer to one request."""
        with self._lock:
            self.asked.append((path, body, headers))
            self.open_calls += 1
            self.most_open_calls = max(self.most_open_calls, self.open_calls)
            spoilt = self.spoilt.pop(0) if self.spoilt else Spoilt()
        time.sleep(spoilt.delay_s)
        with self._lock:
            answer = self._chat(body) if path.endswith("/chat/completions") else self._complete(body)
            self.open_calls -= 1
        return spoilt, spoilt.spoil(answer)

    def _chat(self, body: Document) -> Document:
        messages = [Message(Role(each["role"]), each["content"]) for each in body["messages"]]
        prompt_ids = self._format.opening_ids(messages)
        ids, logprobs, finish = self._sample(prompt_ids, body)
        exact = {"token_ids": ids, "logprobs": {"content": [{"logprob": each} for each in logprobs]}}
        choice = {
            "message": {"role": "assistant", "content": self._format.decode(ids)},
            "finish_reason": finish,
            **(exact if body.get("return_token_ids") else {}),
        }
        given = {"prompt_token_ids": prompt_ids} if body.get("return_token_ids") else {}
        return self._document(choice, prompt_ids, ids) | given

    def _complete(self, body: Document) -> Document:
        ids, logprobs, finish = self._sample(body["prompt"], body)
        choice = {
            "text": self._format.decode(ids),
            "finish_reason": finish,
            "token_ids": ids,
            "prompt_token_ids": body["prompt"],
            "logprobs": {"token_logprobs": logprobs, "tokens": [str(each) for each in ids]},
        }
        return self._document(choice, body["prompt"], ids)

    def _document(self, choice: Document, prompt_ids: Sequence[int], ids: Sequence[int]) -> Document:
        usage = {"prompt_tokens": len(prompt_ids), "completion_tokens": len(ids)}
        return {"id": "x", "model": self._name, "choices": [choice], "usage": usage}

    def _sample(self, prompt_ids: Sequence[int], body: Document) -> tuple[list[int], list[float], str]:
        generator = torch.Generator().manual_seed(body["seed"])
        ids, logprobs = list[int](), list[float]()
        with torch.inference_mode():
            while len(ids) < body["max_tokens"]:
                logits_V = self._model(torch.tensor([[*prompt_ids, *ids]])).logits[0, -1].float()
                allowed_V = suppress(logits_V, self._format.suppressed_ids)
                logprobs_V = (allowed_V / body["temperature"]).log_softmax(0)
                ids.append(int(torch.multinomial(logprobs_V.exp(), 1, generator=generator)))
                logprobs.append(float(logprobs_V[ids[-1]]))
                if ids[-1] == self._format.end_of_turn_id:
                    return ids, logprobs, "stop"
        return ids, logprobs, "length"


class Answering(Protocol):
    """What stands behind the socket."""

    address: str

    def take(self, path: str, body: Document, headers: dict[str, str]) -> tuple[Spoilt, bytes]:
        """The answer to one request."""
        ...


def start(server: Answering) -> ThreadingHTTPServer:
    """Serve on a free port of loopback, on threads that end with the process."""

    class Handler(BaseHTTPRequestHandler):
        """Hands what is posted to the fake."""

        def do_POST(self) -> None:
            """One request."""
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            spoilt, raw = server.take(self.path, body, dict(self.headers))
            self.send_response(spoilt.status)
            for name, value in spoilt.headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    server.address = f"http://127.0.0.1:{http.server_address[1]}/v1"
    threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    return http


@contextmanager
def serving(model: PreTrainedModel, chat_format: ChatFormat) -> Iterator[FakeServer]:
    """A server for the length of a block."""
    server = FakeServer(model, chat_format)
    http = start(server)
    yield server
    http.shutdown()
    http.server_close()
