"""A process that reads log files ahead of an import. `tasks.log_readers` starts it and takes what it read.

Run as `python -m tasks.log_child DESCRIPTOR`: its task comes from standard input, what it read goes into the
pipe of that number. It ends as soon as nobody holds the other end of the pipe.
"""

import gc
import os
import pickle
import queue
import select
import signal
import sys
import threading
import traceback
from multiprocessing.connection import Connection

from tasks import threads
from tasks.log_readers import Failed, Task
from tasks.log_reading import read_batch
from tasks.raw_rows import packed

AHEAD = 12  # chunks that wait until the import takes them: a stretch of a file, so that nobody idles
LOOK_S = 1.0  # between looks whether it is still there
NOBODY_THERE = 3  # exit code


class Outbox:
    """Messages for the import: some wait, then whoever adds one waits too."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._waiting: queue.Queue[bytes | None] = queue.Queue(AHEAD)
        self._sender = threading.Thread(target=self._send_all, name="sender", daemon=True)
        self._sender.start()

    def add(self, message: object) -> None:
        """Send it when those before it are sent."""
        self._waiting.put(pickle.dumps(message, pickle.HIGHEST_PROTOCOL))

    def close(self) -> None:
        """Return when everything is sent."""
        self._waiting.put(None)
        self._sender.join()

    def _send_all(self) -> None:
        try:
            while (message := self._next()) is not None:
                self._pipe.send_bytes(message)
        except BrokenPipeError:
            os._exit(NOBODY_THERE)  # not SystemExit: the other thread may be busy for long

    def _next(self) -> bytes | None:
        """The next message. Raises BrokenPipeError when meanwhile nobody is left who would take it."""
        closed = select.poll()
        closed.register(self._pipe.fileno(), 0)
        while True:
            try:
                return self._waiting.get(timeout=LOOK_S)
            except queue.Empty:
                if closed.poll(0):
                    raise BrokenPipeError from None


def main() -> None:
    """Read everything, batch by batch; each ends with None."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is for the import, which ends this process too
    threads.limit()
    gc.disable()  # as in tasks.log_intake
    outbox = Outbox(Connection(int(sys.argv[1]), readable=False))
    try:
        task: Task = pickle.load(sys.stdin.buffer)
        for batch in task.batches:
            read_batch(batch, task.reading, hand_on=outbox.add, keep_raw=packed)
            outbox.add(None)
    except BaseException as error:  # a failure is a message; who takes it raises it
        outbox.add(Failed(_portable(error)))
    outbox.close()


def _portable(error: BaseException) -> BaseException:
    """The error with where it came from; as a RuntimeError where it does not survive being carried over."""
    told = "".join(traceback.format_exception(error))
    try:
        carried = pickle.loads(pickle.dumps(error))
    except Exception:  # whatever its class does when it is made anew
        carried = RuntimeError(f"{type(error).__name__}: {error}")
    carried.add_note(f"In a process that read log files:\n{told}")
    return carried


if __name__ == "__main__":
    main()
