"""The batches of an import in their order, read here or by processes that run ahead: the chunks are the same.

The processes are plain children with a pipe. Those of `multiprocessing` would import the caller's main module
again (Airflow's, in a task), and a daemonic caller may have none. Who reads what is settled before: of n
processes number i takes every batch i, i + n, i + 2n, ...
"""

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import Pipe

from storage.paths import repository_root
from tasks.config import ConfigError
from tasks.log_batches import LogBatch, cut
from tasks.log_reading import Chunk, HandOn, Reading, read_batch
from tasks.raw_rows import as_it_is

SMALL_BYTES = 32 << 20  # below, starting processes costs more than it saves
STRETCH_BYTES = 8 << 20  # what one process reads before the next one has its turn
MOST_WORKERS = 4  # as many keep one import busy


class ReaderDied(ConfigError):
    """A process that read log files ended before it was done; nothing is committed."""


@dataclass(frozen=True, slots=True)
class Task:
    """What one process reads, in this order."""

    batches: tuple[LogBatch, ...]
    reading: Reading


@dataclass(frozen=True, slots=True)
class Failed:
    """What went wrong in a process, to be raised where the import runs."""

    error: BaseException


Message = Chunk | Failed | None  # None: that was the whole batch


def read_all(
    batches: Sequence[LogBatch],
    reading: Reading,
    *,
    workers: int | None,
    hand_on: HandOn,
    stretch_bytes: int = STRETCH_BYTES,
) -> None:
    """Hand on every chunk of every batch, in order; `workers` processes read, none for 0, None as is best.

    Raises what reading raises (LogFileError), and ReaderDied for a process that was killed.
    """
    wanted = _as_is_best(batches) if workers is None else workers
    parts = cut(batches, stretch_bytes=stretch_bytes) if wanted else batches
    if wanted == 0 or (workers is None and len(parts) == 1):
        for batch in batches:
            read_batch(batch, reading, hand_on=hand_on, keep_raw=as_it_is)
        return
    count = min(wanted, len(parts))
    with _processes([Task(tuple(parts[number::count]), reading) for number in range(count)]) as processes:
        for number, batch in enumerate(parts):
            processes[number % count].read(batch, hand_on)


def _as_is_best(batches: Sequence[LogBatch]) -> int:
    paths = {file.path for batch in batches for file in batch.files}
    size = sum(path.stat().st_size for path in paths if path.is_file())
    return worthwhile(size, cores=os.cpu_count() or 1)


def worthwhile(size_bytes: int, *, cores: int) -> int:
    """How many processes are worth starting for so many bytes of logs."""
    return 0 if cores == 1 or size_bytes < SMALL_BYTES else min(cores, MOST_WORKERS)


class _Process:
    """A process that reads, and the pipe from it; when nobody holds this end, it ends."""

    def __init__(self) -> None:
        self._pipe, sending = Pipe(duplex=False)
        with sending:
            self._child = subprocess.Popen(
                [sys.executable, "-P", "-m", "tasks.log_child", str(sending.fileno())],
                stdin=subprocess.PIPE,
                pass_fds=[sending.fileno()],
                env=_environment(),
            )
        assert self._child.stdin is not None
        self._orders = self._child.stdin

    def start(self, task: Task) -> None:
        """Tell it what to read. One that is gone already is noticed when nothing comes from it."""
        with suppress(BrokenPipeError), self._orders:
            self._orders.write(pickle.dumps(task, pickle.HIGHEST_PROTOCOL))

    def read(self, batch: LogBatch, hand_on: HandOn) -> None:
        """Hand on every chunk of its next batch, which is this one."""
        while (message := self._next(batch)) is not None:
            if isinstance(message, Failed):
                raise message.error
            hand_on(message)

    def stop(self) -> None:
        """End it, whatever it does, and everything that belongs to it."""
        self._child.kill()
        self._child.wait()
        self._pipe.close()
        with suppress(BrokenPipeError):
            self._orders.close()

    def _next(self, batch: LogBatch) -> Message:
        try:
            return pickle.loads(self._pipe.recv_bytes())
        except (EOFError, OSError):  # OSError: in the middle of a message
            raise ReaderDied(_obituary(batch, self._child.wait())) from None


@contextmanager
def _processes(tasks: Sequence[Task]) -> Generator[list[_Process]]:
    """One process for each task; none is left after the block, however it ends."""
    with ExitStack() as stack:
        processes: list[_Process] = []
        for _ in tasks:
            processes.append(_Process())
            stack.callback(processes[-1].stop)
        for process, task in zip(processes, tasks, strict=True):
            process.start(task)
        yield processes


def _environment() -> dict[str, str]:
    """This one's, limits of threads included; our packages are found wherever the import was called."""
    places = [str(repository_root()), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(places)}


def _obituary(batch: LogBatch, code: int) -> str:
    files = ", ".join(str(file.path) for file in batch.files)
    how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
    return (
        f"{files}: the process that read it {how} before it was done; nothing is committed. Import again; if "
        "memory was short, logs.workers = 0 reads without further processes"
    )
