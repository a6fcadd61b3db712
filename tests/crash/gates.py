"""A store that counts its calls and, at a chosen moment of a chosen one, lets its process die or stop."""

import copy
import os
import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from storage.local_store import LocalStore, write_durably
from storage.objects import LakeStore
from tasks.context import Context, open_lake_store

Moment = Literal["before", "inside", "after"]
KILLED = 137  # as a shell reports SIGKILL
CALLS = ("get", "create", "list", "get_tagged", "replace", "entries", "delete", "sweep_unfinished")


@dataclass(frozen=True, slots=True)
class Point:
    """A moment of the n-th call of the store (from 0); `inside` is with half of the bytes on the disk."""

    call: int
    moment: Moment


def die() -> None:
    """The process is gone: no handler runs, nothing is flushed, no lock is given back by the program."""
    os._exit(KILLED)


def stop() -> None:
    """The process stands still until somebody sends SIGCONT."""
    os.kill(os.getpid(), signal.SIGSTOP)


@dataclass
class Gate:
    """What a store's calls pass; with none of the first three they are only counted.

    A call inside a call is not one. `before` is how the call is recorded that is not to begin yet, `inside`
    how the one is that stands still with half of its bytes written.
    """

    at: Point | None = None
    before: str | None = None
    inside: str | None = None
    action: Callable[[], None] = die
    calls: list[str] = field(default_factory=list)  # as in `create sales/rollouts/…`, in order
    writes: set[int] = field(default_factory=set)  # the calls that came to write a file
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _here: threading.local = field(default_factory=threading.local)

    @contextmanager
    def call(self, what: str) -> Generator[None]:
        """Count the call and act where it is time; what fails is passed like what succeeds."""
        if self._current() is not None:
            yield
            return
        with self._lock:
            self._here.call = number = len(self.calls)
            self.calls.append(what)
        try:
            if self.before is not None and what.startswith(self.before):
                self.before = None
                self.action()
            self._pass(Point(number, "before"))
            yield
        finally:
            self._pass(Point(number, "after"))
            self._here.call = None

    def write(self, path: Path, data: bytes) -> None:
        """Write a new file durably, or half of it when that is the moment."""
        call = self._current()
        if call is not None:
            self.writes.add(call)
            if self.at == Point(call, "inside") or self._is_inside(call):
                self.inside = None
                path.write_bytes(data[: len(data) // 2])
                self.action()
                path.unlink()  # whoever was only stopped goes on
        write_durably(path, data)

    def _is_inside(self, call: int) -> bool:
        return self.inside is not None and self.calls[call].startswith(self.inside)

    def points(self) -> list[Point]:
        """Every moment at which the counted process could have died, in order."""
        moments: tuple[Moment, ...] = ("before", "inside", "after")
        return [
            Point(call, moment)
            for call in range(len(self.calls))
            for moment in moments
            if moment != "inside" or call in self.writes
        ]

    def _current(self) -> int | None:
        return vars(self._here).get("call")

    def _pass(self, point: Point) -> None:
        if self.at == point:
            self.action()


def gated(store: LakeStore, gate: Gate) -> LakeStore:
    """The same store, of a subclass of its class, with every call of the protocols going through the gate."""
    mine = replace(store, write=gate.write) if isinstance(store, LocalStore) else copy.copy(store)
    kind = type(mine)
    methods = {name: _guarded(vars(kind)[name], name, gate) for name in CALLS}
    # The stores are frozen and have no room for more fields, so that the gate lies in the methods.
    object.__setattr__(mine, "__class__", type(kind.__name__, (kind,), {"__slots__": (), **methods}))
    return mine


def _guarded(method: Callable[..., Any], name: str, gate: Gate) -> Callable[..., Any]:  # Any: each its own
    def call(store: LakeStore, *positional: Any, **named: Any) -> Any:
        with gate.call(f"{name} {positional[0]}" if positional else name):
            return method(store, *positional, **named)

    return call


@dataclass(frozen=True)
class GatedContext(Context):
    """A stage's context whose lake lies behind a gate."""

    gate: Gate = field(default_factory=Gate)

    @cached_property
    def store(self) -> LakeStore:
        """The lake of the configuration, through the gate."""
        return gated(open_lake_store(self.config), self.gate)
