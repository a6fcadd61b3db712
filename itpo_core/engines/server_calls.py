"""Calls to a server over HTTP that go on while nobody looks: limited, with a deadline, tried again.

Everything that can go wrong comes back as a typed failure. A key is in a header and nowhere else: what a
server says in an error is shown without it.
"""

import asyncio
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TypeVar

import httpx

from itpo_core.engines.openai_wire import Body, GarbledError, WireError, error_text
from itpo_core.types import Failure, FailureKind

Value = TypeVar("Value")
MAY_PASS = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
REMEDIES = {
    400: "look at the request's limits: context, max_new_tokens",
    401: "set the variable that engine.api_key_env names",
    403: "set the variable that engine.api_key_env names",
    404: "compare engine.address and engine.model with what is served",
}
LONGEST_WAIT_S = 60.0


@dataclass(frozen=True, slots=True)
class CallLimits:
    """How a server is treated. `deadline_s` is of one call; `first_wait_s` doubles with every further try."""

    concurrency: int = 32
    deadline_s: float = 120.0
    tries: int = 5
    first_wait_s: float = 0.5


@dataclass(slots=True)
class Cost:
    """What was spent so far; tokens as the server counts them, those of refused answers left out."""

    calls: int = 0
    retries: int = 0
    failures: int = 0
    prompt_tokens: int = 0
    response_tokens: int = 0


class _PassingError(Exception):
    """Something that may be over at the next try; `wait_s` is what the server asked for."""

    def __init__(self, cause: str, *, wait_s: float = 0.0, is_timeout: bool = False) -> None:
        super().__init__(cause)
        self.wait_s = wait_s
        self.is_timeout = is_timeout


@dataclass(slots=True)
class ServerCalls:
    """Posts bodies to one server from a thread of its own, which ends with the process or with `close`."""

    address: str
    limits: CallLimits
    api_key: str | None = field(default=None, repr=False)
    cost: Cost = field(default_factory=Cost)
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop, repr=False)
    _places: asyncio.Semaphore = field(init=False, repr=False)
    _client: httpx.AsyncClient = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Start the thread."""
        headers: Mapping[str, str] = {"Authorization": f"Bearer {self.api_key}"} if self.api_key else {}
        self._places = asyncio.Semaphore(self.limits.concurrency)
        # The deadline of a whole call is kept below; the library's own are per read and never add up.
        self._client = httpx.AsyncClient(
            headers=headers, timeout=None, limits=httpx.Limits(max_connections=self.limits.concurrency)
        )
        threading.Thread(target=self._loop.run_forever, name="server-calls", daemon=True).start()

    def post(self, path: str, body: Body, *, read: Callable[[bytes], Value]) -> "Future[Value | Failure]":
        """Ask, at once or when there is a place; what `read` makes of the answer, or how it failed."""
        return asyncio.run_coroutine_threadsafe(self._answer(path, body, read=read), self._loop)

    def close(self) -> None:
        """Let go of the connections and of the thread."""
        asyncio.run_coroutine_threadsafe(self._client.aclose(), self._loop).result(timeout=10)
        self._loop.call_soon_threadsafe(self._loop.stop)

    async def _answer(self, path: str, body: Body, *, read: Callable[[bytes], Value]) -> Value | Failure:
        async with self._places:
            return await self._tried(path, body, read=read)

    async def _tried(self, path: str, body: Body, *, read: Callable[[bytes], Value]) -> Value | Failure:
        for further in range(self.limits.tries):
            try:
                return read(await self._posted(path, body))
            except (GarbledError, _PassingError) as error:
                last = error
            except WireError as error:
                return Failure(FailureKind.ENGINE_ERROR, self._shown(error))
            if further + 1 < self.limits.tries:
                self.cost.retries += 1
                await asyncio.sleep(self._wait_s(last, further))
        is_timeout = isinstance(last, _PassingError) and last.is_timeout
        kind = FailureKind.ENGINE_TIMEOUT if is_timeout else FailureKind.ENGINE_ERROR
        return Failure(kind, f"{self._shown(last)}; given up after {self.limits.tries} tries")

    async def _posted(self, path: str, body: Body) -> bytes:
        self.cost.calls += 1
        try:
            async with asyncio.timeout(self.limits.deadline_s):
                answer = await self._client.post(self.address.rstrip("/") + path, json=body)
        except TimeoutError:
            raise _PassingError(f"no answer within {self.limits.deadline_s:g} s", is_timeout=True) from None
        except httpx.RequestError as error:
            raise _PassingError(f"{self.address}: {type(error).__name__} {error}".rstrip()) from None
        if answer.status_code in MAY_PASS:
            said = f"status {answer.status_code}: {error_text(answer.content)}"
            raise _PassingError(said, wait_s=_asked_wait_s(answer.headers))
        if answer.status_code != 200:
            remedy = REMEDIES.get(answer.status_code, "see the server's log")
            raise WireError(f"status {answer.status_code}: {error_text(answer.content)}; {remedy}")
        return answer.content

    def _wait_s(self, error: Exception, further: int) -> float:
        asked_s = error.wait_s if isinstance(error, _PassingError) else 0.0
        return min(LONGEST_WAIT_S, max(asked_s, self.limits.first_wait_s * 2**further))

    def _shown(self, error: Exception) -> str:
        return str(error).replace(self.api_key, "[key]") if self.api_key else str(error)


def _asked_wait_s(headers: Mapping[str, str]) -> float:
    """Seconds of a Retry-After header; 0 without one, or when it is a date."""
    asked = headers.get("retry-after", "")
    return float(asked) if asked.isdigit() else 0.0
