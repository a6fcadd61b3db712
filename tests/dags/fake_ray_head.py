"""A Ray head that does what a real one will not do on demand: a plain HTTP server on loopback."""

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

JsonValue = Any  # Any: what a JSON text holds
TAKEN = "ValueError: Job with submission_id {} already exists. Please use a different submission_id.\n."


@dataclass(slots=True)
class FakeHead:
    """What it knows, what it was asked, and how it misbehaves.

    `fates` holds, for every attempt in turn, the statuses that a job shows, one a look; the last stays. An
    answer in `instead` is given, once each, in place of the next real one to a path that ends so.
    """

    address: str = ""
    fates: list[Sequence[str]] = field(default_factory=list)
    logs: str = "epoch 1\nepoch 2\n"
    jobs: dict[str, dict[str, JsonValue]] = field(default_factory=dict)
    submitted: list[dict[str, JsonValue]] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    instead: list[tuple[str, int, str]] = field(default_factory=list)
    on_success: Callable[[str], None] = field(default=lambda submission_id: None)
    on_submit: Callable[[], None] = field(default=lambda: None)
    ray_version: str = "2.55.0"
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, method: str, path: str, *, body: JsonValue) -> tuple[int, str]:
        """Status code and text."""
        with self.lock:
            self.asked.append(f"{method} {path}")
            for planned in self.instead:
                if path.endswith(planned[0]):
                    self.instead.remove(planned)
                    return planned[1:]
            return self._honest(method, path, body)

    def add(self, submission_id: str, *, fate: Sequence[str], metadata: dict[str, str]) -> None:
        """A job that is there already."""
        self.jobs[submission_id] = {
            "type": "SUBMISSION", "submission_id": submission_id, "status": fate[0], "message": "as told",
            "metadata": metadata, "start_time": 1_000_000, "end_time": None, "fate": list(fate),
        }  # fmt: skip

    def _honest(self, method: str, path: str, body: JsonValue) -> tuple[int, str]:
        name = path.removeprefix("/api/jobs/").split("/")[0]
        if path == "/api/version":
            return 200, json.dumps({"ray_version": self.ray_version})
        if path == "/api/cluster_status":
            usage = {"CPU": [0.0, 2.0]}
            return 200, json.dumps({"data": {"clusterStatus": {"loadMetricsReport": {"usage": usage}}}})
        if path == "/api/jobs/":
            return self._submit(body) if method == "POST" else (200, json.dumps(list(self.jobs.values())))
        if name not in self.jobs:
            return 404, f"Job {name} does not exist"
        return self._about(name, path)

    def _submit(self, body: JsonValue) -> tuple[int, str]:
        name = body["submission_id"]
        if name in self.jobs:
            return 500, TAKEN.format(name)
        self.submitted.append(body)
        self.on_submit()
        fate = self.fates.pop(0) if self.fates else ("RUNNING", "SUCCEEDED")
        self.add(name, fate=fate, metadata=body["metadata"])
        return 200, json.dumps({"submission_id": name})

    def _about(self, name: str, path: str) -> tuple[int, str]:
        if path.endswith("/stop"):
            self.stopped.append(name)
            self.jobs[name] |= {"fate": ["STOPPED"]}
            return 200, json.dumps({"stopped": True})
        if path.endswith("/logs"):
            return 200, json.dumps({"logs": self.logs})
        return self._look(name)

    def _look(self, name: str) -> tuple[int, str]:
        job = self.jobs[name]
        if job["fate"][0] == "LOST":
            del self.jobs[name]
            return 404, f"Job {name} does not exist"
        job["status"] = job["fate"][0]
        if len(job["fate"]) > 1:
            job["fate"].pop(0)
        elif job["status"] == "SUCCEEDED":
            job["end_time"] = job["start_time"] + 2_000
            self.on_success(name)
        return 200, json.dumps(job)


@contextmanager
def fake_head() -> Iterator[FakeHead]:
    """A served head, gone at the end."""
    head = FakeHead()

    class Door(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._pass({})

        def do_POST(self) -> None:
            sent = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self._pass(json.loads(sent or b"{}"))

        def _pass(self, body: JsonValue) -> None:
            code, text = head.answer(self.command, self.path, body=body)
            self.send_response(code)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Door)
    head.address = f"http://127.0.0.1:{server.server_port}"
    serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    serving.start()
    try:
        yield head
    finally:
        server.shutdown()
        serving.join()
        server.server_close()
