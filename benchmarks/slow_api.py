"""An API on loopback in a process of its own that answers after a fixed time and costs as little as it can.

Run as `python -m benchmarks.slow_api SECONDS`: prints its address, answers until its input ends, then prints
the CPU-seconds that answering took.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from storage.paths import repository_root
from tests.itpo_core.envs.sales_brains import brain

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"


@dataclass(slots=True)
class SlowApi:
    """Its address; `cpu_s` is None until it has ended."""

    address: str
    cpu_s: float | None = None


@contextmanager
def slow_api(latency_s: float) -> Generator[SlowApi]:
    """One for the length of a block."""
    command = [sys.executable, "-m", "benchmarks.slow_api", str(latency_s)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=repository_root()
    ) as process:
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("the API's process has no pipes")
        api = SlowApi(process.stdout.readline().strip())
        try:
            yield api
        finally:
            process.stdin.close()
            api.cpu_s = float(process.stdout.readline())


class _Caller(asyncio.Protocol):
    """One connection: a request at a time, each answered `latency_s` after it was whole."""

    def __init__(self, latency_s: float) -> None:
        self._latency_s = latency_s
        self._came = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep whom to answer."""
        if not isinstance(transport, asyncio.Transport):
            raise TypeError(f"{transport} cannot be written to")
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer once all of a request is there."""
        self._came += data
        head, found, body = bytes(self._came).partition(b"\r\n\r\n")
        if not found or len(body) < _length(head):
            return
        self._came.clear()
        due_s = time.monotonic() + self._latency_s
        raw = _answer(body)
        loop = asyncio.get_running_loop()
        # What it takes to make the answer up is part of the latency, as it is of a model.
        loop.call_later(due_s - time.monotonic(), self._send, HEAD % len(raw) + raw)

    def _send(self, raw: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(raw)


def _length(head: bytes) -> int:
    _, _, rest = head.lower().partition(b"\r\ncontent-length:")
    return int(rest.partition(b"\r\n")[0])


def _answer(body: bytes) -> bytes:
    message = {"role": "assistant", "content": json.dumps(brain(json.loads(body)))}
    document = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": "served-1",
        "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110},
    }
    return json.dumps(document).encode()


async def _serve(latency_s: float) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(partial(_Caller, latency_s), "127.0.0.1", 0, backlog=512)
    port = server.sockets[0].getsockname()[1]
    print(f"http://127.0.0.1:{port}/v1", flush=True)
    before_s = time.process_time()
    await loop.run_in_executor(None, sys.stdin.read)
    print(time.process_time() - before_s, flush=True)
    server.close()


if __name__ == "__main__":
    asyncio.run(_serve(float(sys.argv[1])))
