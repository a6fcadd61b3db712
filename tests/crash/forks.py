"""Children of a process that has imported everything once; every wait has an end.

Only a process with one thread of Python may fork safely, so the tests let a fresh one do it: see `conductor`.
"""

import multiprocessing
import os
import pickle
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.pool import Pool
from typing import Any, TypeVar

Answer = TypeVar("Answer")
FAILED = 70
LIMIT_S = 120.0  # of one child, on a machine that has other things to do


@dataclass
class Child:
    """A forked process that runs one function."""

    pid: int
    _answers: Connection
    _deadline_s: float
    status: int | None = None

    def wait(self) -> int:
        """Its exit status once it has ended, negative for a signal; one that takes too long is killed."""
        if self.status is None:
            self.status = _wait(self.pid, until_s=self._deadline_s)
        return self.status

    def answer(self) -> Any:  # Any: whatever the function returned
        """What the function returned; ChildFailed with what it said otherwise."""
        if not self._answers.poll(max(0.0, self._deadline_s - time.monotonic())):
            self.kill()
            raise ChildFailed(f"the child {self.pid} did not answer in time")
        try:
            succeeded, answer = pickle.loads(self._answers.recv_bytes())
        except EOFError:
            raise ChildFailed(f"the child {self.pid} ended with {self.wait()} and no answer") from None
        self.wait()
        if not succeeded:
            raise ChildFailed(answer)
        return answer

    def is_stopped(self) -> bool:
        """Whether it stands still."""
        with open(f"/proc/{self.pid}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] == "T"

    def wait_until_stopped(self) -> None:
        """Return when it stands still; ChildFailed when it ended or did not in time."""
        while not self.is_stopped():
            if time.monotonic() > self._deadline_s or self._answers.poll(0.01):
                self.kill()
                raise ChildFailed(f"the child {self.pid} did not come to where it was to be stopped")

    def go_on(self) -> None:
        """Wake it up."""
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """End it whatever it does."""
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)
            self.wait()


class ChildFailed(RuntimeError):
    """A child that raised, died or hung; the message is what it said."""


def fork(work: Callable[[], Any], *, limit_s: float = LIMIT_S) -> Child:
    """Run the function in a forked child."""
    receiving, sending = multiprocessing.Pipe(duplex=False)
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        _live(work, sending)
    sending.close()
    return Child(pid, receiving, time.monotonic() + limit_s)


def _live(work: Callable[[], Any], sending: Connection) -> None:
    status = FAILED
    try:
        answer, status = (True, work()), 0
    except BaseException:  # all of it is the answer: nothing of the parent may run on in the child
        answer = (False, traceback.format_exc())
    try:
        sending.send_bytes(pickle.dumps(answer))
        sending.close()
    finally:
        os._exit(status)


def _wait(pid: int, *, until_s: float) -> int:
    descriptor = os.pidfd_open(pid)
    try:
        left_s = max(0.0, until_s - time.monotonic())
        if not select.select([descriptor], [], [], left_s)[0]:
            os.kill(pid, signal.SIGKILL)
    finally:
        os.close(descriptor)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


class Conductor:
    """A fresh process from which functions of importable modules may fork; it keeps what it has imported."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def __call__(self, work: Callable[..., Answer], *arguments: object, limit_s: float) -> Answer:
        """Call the function there, under this process's AWS settings."""
        settings = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
        return self._pool.apply_async(_under, (settings, work, arguments)).get(timeout=limit_s)


@contextmanager
def conductor() -> Generator[Conductor]:
    """A conductor that ends with the block, and every child that it still has with it."""
    with multiprocessing.get_context("spawn").Pool(1, initializer=_lead_group) as pool:
        yield Conductor(pool)


def _under(settings: dict[str, str], work: Callable[..., Answer], arguments: Sequence[object]) -> Answer:
    os.environ.update(settings)
    return work(*arguments)


def _lead_group() -> None:
    os.setpgid(0, 0)
    signal.signal(signal.SIGTERM, _end_group)


def _end_group(number: int, frame: object) -> None:
    os.killpg(0, signal.SIGKILL)
