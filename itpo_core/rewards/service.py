"""Rewards over HTTP: `POST /reward` with query and prompts, `GET /health` with the version and the counts.

A question that has no reward is answered with an error, never with a number and never with silence: 422 when
it cannot be scored, 504 when it took longer than the deadline.
"""

import json
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import wait
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from itpo_core.rewards.answers import Asked, RewardRefusedError, answer, parsed
from itpo_core.rewards.batching import Batcher, Score

REWARD_PATH, HEALTH_PATH = "/reward", "/health"
MAX_BODY_BYTES = 64 * 2**20


class RewardService:
    """Serves one committed reward on loopback or a given address; a context manager.

    `version` is what health names, so that a trainer can check whom it asks. `deadline_s` is per call.
    """

    def __init__(
        self,
        score: Score,
        version: str,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        deadline_s: float = 60.0,
        most: int = 64,
        patience_s: float = 0.02,
    ) -> None:
        self._version, self._deadline_s = version, deadline_s
        self._batcher = Batcher(score, most=most, patience_s=patience_s)
        self._counts: Counter[str] = Counter()
        self._causes: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer((host, port), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="reward-service", daemon=True)

    @property
    def url(self) -> str:
        """Where rewards are asked for; the address that OpenRLHF is given."""
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}{REWARD_PATH}"

    def __enter__(self) -> Self:
        """Start to answer."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop answering and free the port."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._batcher.close()

    def health(self) -> dict[str, Any]:  # Any: JSON
        """Version, calls by how they ended, passes of the model, and causes of failures with their counts."""
        with self._lock:
            counts = {name: self._counts[name] for name in ("answered", "refused", "late")}
            return {
                "status": "ok",
                "version": self._version,
                **counts,
                "rewards": self._counts["rewards"],
                "batches": self._batcher.batches,
                "causes": dict(self._causes.most_common(10)),
            }

    def respond(self, body: bytes) -> tuple[HTTPStatus, dict[str, Any]]:
        """Answer a call: the status and the JSON of it."""
        try:
            rewards = self._rewards(parsed(body))
        except RewardRefusedError as error:
            return self._failed(HTTPStatus.UNPROCESSABLE_ENTITY, "refused", cause=str(error))
        except TimeoutError as error:
            return self._failed(HTTPStatus.GATEWAY_TIMEOUT, "late", cause=str(error))
        with self._lock:
            self._counts.update(answered=1, rewards=len(rewards))
        return HTTPStatus.OK, answer(rewards)

    def _rewards(self, questions: Sequence[Asked]) -> list[float]:
        asked = [self._batcher.ask(question) for question in questions]
        _, open_ones = wait(asked, timeout=self._deadline_s)
        for one in open_ones:
            one.cancel()
        if open_ones:
            raise TimeoutError(
                f"{len(open_ones)} of {len(asked)} rewards took over {self._deadline_s} s: raise the"
                " deadline, or start more services"
            )
        return [one.result() for one in asked]

    def _failed(self, status: HTTPStatus, kind: str, *, cause: str) -> tuple[HTTPStatus, dict[str, Any]]:
        with self._lock:
            self._counts[kind] += 1
            self._causes[cause[:300]] += 1
        return status, {"error": cause}


def _handler(service: RewardService) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        """One connection; its methods have the names that http.server asks for."""

        def do_GET(self) -> None:
            if self.path == HEALTH_PATH:
                self._send(HTTPStatus.OK, service.health())
            else:
                self._send(HTTPStatus.NOT_FOUND, {"error": f"no {self.path}: ask {HEALTH_PATH}"})

        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            if self.path != REWARD_PATH or not 0 < length <= MAX_BODY_BYTES:
                self._send(HTTPStatus.BAD_REQUEST, {"error": f"POST questions to {REWARD_PATH}"})
                return
            self._send(*service.respond(self.rfile.read(length)))

        def log_message(self, format: str, *args: object) -> None:
            """Calls are counted, not printed."""

        def _send(self, status: HTTPStatus, content: dict[str, Any]) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Handler


def serve_until_stopped(service: RewardService) -> None:
    """Print the address as one line of JSON, then answer until the process is told to stop."""
    with service:
        print(json.dumps({"url": service.url, **service.health()}), flush=True)
        while True:
            time.sleep(3600)
