"""Scratch folders of attempts: each has its own; one that ended leaves its trainings to the next."""

import contextlib
import fcntl
import hashlib
import os
import shutil
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

LOCK = ".lock"
_OF_AN_ATTEMPT = "attempt="
# Where a trainer keeps its state, beside what it makes. It knows its own by their inputs and drops any other,
# so it may be left to whoever comes next.
_STATES = ("*.work", "*/*.work")


@dataclass(frozen=True, slots=True)
class Scratch:
    """A folder that is one attempt's as long as this object lives: the kernel gives its lock back at the end.

    Several objects of one attempt share it; `lock` is the open file that says so.
    """

    folder: Path
    lock: IO[bytes]


def open_scratch(parent: Path, attempt: str) -> Scratch:
    """The attempt's folder below `parent`. Those of attempts of which no process is left are removed.

    Their unfinished trainings become this attempt's, which goes on from the last state.
    """
    folder = parent / f"{_OF_AN_ATTEMPT}{hashlib.sha256(attempt.encode()).hexdigest()[:16]}"
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError), contextlib.ExitStack() as unless_gone:
            lock = unless_gone.enter_context(open(folder / LOCK, "ab"))
            fcntl.flock(lock, fcntl.LOCK_SH)
            # Cleared away before it was locked: then it is made again.
            if os.path.samestat(os.fstat(lock.fileno()), (folder / LOCK).stat()):
                unless_gone.pop_all()
                break
    _clear(parent, heir=folder)
    return Scratch(folder, lock)


def _clear(parent: Path, *, heir: Path) -> None:
    for folder in set(parent.glob(f"{_OF_AN_ATTEMPT}*")) - {heir}:
        with _owned(folder) as is_mine:
            if is_mine:
                _leave(folder, heir)
                shutil.rmtree(folder, ignore_errors=True)


def _leave(folder: Path, heir: Path) -> None:
    for state in (found for pattern in _STATES for found in folder.glob(pattern)):
        place = heir / state.relative_to(folder)
        if not place.exists():
            place.parent.mkdir(exist_ok=True)
            state.rename(place)


@contextlib.contextmanager
def _owned(folder: Path) -> Generator[bool]:
    """Whether nobody is at work in the folder; as long as the block lasts nobody can begin to be."""
    with contextlib.ExitStack() as opened:
        try:
            lock = opened.enter_context(open(folder / LOCK, "ab"))
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # it is in use, or was removed by somebody else just now
            yield False
        else:
            yield True
