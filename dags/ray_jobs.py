"""Ray's Jobs REST API as typed calls: what to ask is a value, asking it is one function, sync or async."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Generic, TypeVar

import httpx

API = "/api/jobs/"
Answer = TypeVar("Answer")
JsonValue = Any  # Any: what a JSON text holds


class RayTrouble(RuntimeError):
    """The head gave no usable answer; asking again may help."""


class RayUnreachable(RayTrouble):
    """Nobody answers at the head's address."""


class RayRefused(RayTrouble):
    """The head answered with an error; the message ends with its own last line."""


class RayMalformed(RayTrouble):
    """What answered does not speak as Ray's head does."""


class JobNotFound(RuntimeError):
    """The head knows no such job: it was never submitted, or the head that knew it is gone."""


class DuplicateJob(RuntimeError):
    """The head has a job of this id already: somebody else was first."""


class JobStatus(StrEnum):
    """As Ray writes them."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    STOPPED = "STOPPED"


@dataclass(frozen=True, slots=True)
class JobState:
    """One submitted job as the head describes it; seconds since 1970."""

    submission_id: str
    status: JobStatus
    message: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    began_s: float | None = None
    ended_s: float | None = None


@dataclass(frozen=True, slots=True)
class JobRequest:
    """What to run and what it needs before it starts. `env` is never logged: it may lead to data."""

    submission_id: str
    entrypoint: str
    env: Mapping[str, str] = field(repr=False, default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    resources: Mapping[str, float] = field(default_factory=dict)  # "CPU", "GPU", or the cluster's own


@dataclass(frozen=True, slots=True)
class Call(Generic[Answer]):
    """One question to the head and how its JSON answer is read."""

    method: str
    path: str
    read: Callable[[JsonValue], Answer]
    body: Mapping[str, JsonValue] | None = None


def submit(request: JobRequest) -> Call[str]:
    """Start the job under its id; DuplicateJob when the head has one of that id."""
    own = {name: share for name, share in request.resources.items() if name not in ("CPU", "GPU")}
    body = {
        "submission_id": request.submission_id,
        "entrypoint": request.entrypoint,
        "metadata": dict(request.metadata),
        "runtime_env": {"env_vars": dict(request.env)},
        "entrypoint_num_cpus": request.resources.get("CPU"),
        "entrypoint_num_gpus": request.resources.get("GPU"),
        "entrypoint_resources": own or None,
    }
    return Call("POST", API, lambda found: str(found["submission_id"]), body)


def status(submission_id: str) -> Call[JobState]:
    """How the job stands."""
    return Call("GET", API + submission_id, _state)


def stop(submission_id: str) -> Call[bool]:
    """Ask for its end; whether there was something to end. A pending job ends when it would start."""
    return Call("POST", f"{API}{submission_id}/stop", lambda found: bool(found["stopped"]))


def logs(submission_id: str) -> Call[str]:
    """All that the job has printed so far."""
    return Call("GET", f"{API}{submission_id}/logs", lambda found: _text(found["logs"]))


def jobs() -> Call[list[JobState]]:
    """Every job that was submitted through this API."""
    return Call("GET", API, lambda found: [_state(job) for job in found if job["type"] == "SUBMISSION"])


def version() -> Call[str]:
    """Ray's version on the head."""
    return Call("GET", "/api/version", lambda found: _text(found["ray_version"]))


def resources() -> Call[dict[str, float]]:
    """What the living nodes have in all, by name."""
    return Call("GET", "/api/cluster_status", _totals)


@dataclass(frozen=True, slots=True)
class RayHead:
    """Where the head's dashboard listens. A cluster with tokens is asked with RAY_AUTH_TOKEN's."""

    address: str
    timeout_s: float = 30.0

    def ask(self, call: Call[Answer]) -> Answer:
        """The answer; RayTrouble, JobNotFound or DuplicateJob."""
        try:
            with httpx.Client(timeout=self.timeout_s, headers=_headers()) as http:
                found = http.request(call.method, self._url(call), json=call.body)
        except (httpx.TransportError, httpx.InvalidURL) as problem:
            raise self._unreachable(problem) from problem
        return _read(call, found)

    async def ask_async(self, call: Call[Answer]) -> Answer:
        """As `ask`, for an event loop."""
        try:
            async with httpx.AsyncClient(timeout=self.timeout_s, headers=_headers()) as http:
                found = await http.request(call.method, self._url(call), json=call.body)
        except (httpx.TransportError, httpx.InvalidURL) as problem:
            raise self._unreachable(problem) from problem
        return _read(call, found)

    def _url(self, call: Call[Answer]) -> str:
        return self.address.rstrip("/") + call.path

    def _unreachable(self, problem: Exception) -> RayUnreachable:
        return RayUnreachable(
            f"no Ray head answers at {self.address} ({type(problem).__name__} {problem}): "
            "start it, or correct ray.address"
        )


def _headers() -> dict[str, str]:
    token = os.environ.get("RAY_AUTH_TOKEN")
    return {"Authorization": f"Bearer {token}"} if token else {}


def _read(call: Call[Answer], found: httpx.Response) -> Answer:
    if not found.is_success:
        raise _refusal(call, found)
    try:
        return call.read(found.json())
    except (ValueError, KeyError, TypeError, AttributeError) as problem:
        raise RayMalformed(
            f"{call.method} {found.request.url}: not an answer of Ray's head, {found.text[:200]!r}: "
            "is ray.address the dashboard's?"
        ) from problem


def _refusal(call: Call[Answer], found: httpx.Response) -> Exception:
    # Ray hides its 400 for a taken id in a 500 with the agent's traceback; the words are all there is.
    if call.path == API and "already exists" in found.text:
        return DuplicateJob(f"the head has the job already: {_last_line(found.text)}")
    if found.status_code == httpx.codes.NOT_FOUND and call.path.startswith(API) and call.path != API:
        return JobNotFound(f"{found.request.url}: {_last_line(found.text)}")
    return RayRefused(f"{call.method} {found.request.url}: {found.status_code}, {_last_line(found.text)}")


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if len(line.strip()) > 3]
    return lines[-1][:300] if lines else "without a word"


def _state(found: JsonValue) -> JobState:
    return JobState(
        submission_id=_text(found["submission_id"]),
        status=JobStatus(found["status"]),
        message=found.get("message") or "",
        metadata=found.get("metadata") or {},
        began_s=_seconds(found.get("start_time")),
        ended_s=_seconds(found.get("end_time")),
    )


def _seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000.0


def _text(value: JsonValue) -> str:
    if isinstance(value, str):
        return value
    raise TypeError(f"{value!r} is not a text")


def _totals(found: JsonValue) -> dict[str, float]:
    usage = found["data"]["clusterStatus"]["loadMetricsReport"]["usage"]
    return {name: float(total) for name, (_, total) in usage.items()}
