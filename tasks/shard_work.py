"""Which shards are still to be made, and what follows when one of them ends: decided without any cluster."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

Say = Callable[[str], None]


class Cause(StrEnum):
    """Why a worker has not made a shard, or why there is no worker."""

    LOST = "worker lost"  # its process, its machine, or the way to it
    OVERDUE = "took too long"
    FAILED = "failed"  # an error that may not come again
    REFUSED = "refused"  # an error that would come again
    ELSEWHERE = "not in this lake"  # said to be made, but not seen where the driver looks
    UNSTARTED = "no worker started"  # it died before it could take a shard
    NO_ROOM = "no room in the cluster"


STARTING = frozenset({Cause.UNSTARTED, Cause.NO_ROOM})
FINAL = frozenset({Cause.REFUSED, Cause.ELSEWHERE, Cause.NO_ROOM})


class Next(StrEnum):
    """What follows for a shard."""

    DONE = "done"
    AGAIN = "again"
    GIVE_UP = "give up"  # the other shards go on
    STOP = "stop"  # the other shards would fare alike


@dataclass(frozen=True, slots=True)
class Ended:
    """A worker is done with a shard, well (`cause` None) or otherwise; `shard` None: it had none."""

    shard: int | None
    cause: Cause | None
    message: str = ""
    where: str = ""


class Workers(Protocol):
    """What makes shards at the same time, in any order."""

    def submit(self, shard: int) -> None:
        """Have the shard made by whoever is free first."""
        ...

    def wait(self) -> list[Ended]:
        """What has ended since the last call; returns once there is something."""
        ...


class ShardsUnfinished(RuntimeError):
    """Shards are missing after every try; the message names them, the cause and how often it came."""


def unfinished(shards: int, is_there: Callable[[int], bool]) -> list[int]:
    """The shards, of so many, whose manifest is not in the lake."""
    return [shard for shard in range(shards) if not is_there(shard)]


def next_step(cause: Cause | None, *, is_there: bool, tries: int, limit: int) -> Next:
    """What follows for a shard that ended so, `tries` times by now; its manifest goes before all accounts."""
    if is_there:
        return Next.DONE
    if cause is None or cause in FINAL:
        return Next.STOP
    return Next.AGAIN if tries < limit else Next.GIVE_UP


@dataclass(slots=True)
class Driver:
    """Sees to it that each of these shards comes to lie in the lake, whoever makes it."""

    workers: Workers
    is_there: Callable[[int], bool]
    limit: int
    say: Say
    causes: Counter[Cause] = field(default_factory=Counter)
    _tries: Counter[int | None] = field(default_factory=Counter)
    _open: set[int] = field(default_factory=set)
    _given_up: dict[int, Ended] = field(default_factory=dict)

    def finish(self, shards: Iterable[int], *, on_left: Callable[[int], None]) -> None:
        """Return once all are there; `on_left` is told how many are not. Raises ShardsUnfinished."""
        self._open = set(shards)
        for shard in sorted(self._open):
            self.workers.submit(shard)
        while self._open - self._given_up.keys():
            for ended in self.workers.wait():
                self._take(ended)
            on_left(len(self._open))
        if self._given_up:
            raise ShardsUnfinished(self._what_is_missing())

    def figures(self) -> Mapping[str, int]:
        """How often each cause came."""
        return {str(cause).replace(" ", "_"): count for cause, count in sorted(self.causes.items())}

    def _take(self, ended: Ended) -> None:
        is_there = self._has_moved() if ended.shard is None else self.is_there(ended.shard)
        if ended.cause is None and not is_there:
            ended = Ended(ended.shard, Cause.ELSEWHERE, "the driver sees no manifest of it", ended.where)
        if ended.cause is not None:
            self.causes[ended.cause] += 1
            self._tries[ended.shard] += 1
        tries = self._tries[ended.shard]
        step = next_step(ended.cause, is_there=is_there, tries=tries, limit=self.limit)
        self._act(step, ended, tries=tries)

    def _act(self, step: Next, ended: Ended, *, tries: int) -> None:
        left = sum(shard != ended.shard for shard in self._open)
        self.say(_line(step, ended, tries=tries, limit=self.limit, left=left))
        if step is Next.DONE:
            self._tries[None] = 0
            self._open = {shard for shard in self._open if shard != ended.shard}
        elif step is Next.STOP or (step is Next.GIVE_UP and ended.shard is None):
            raise ShardsUnfinished(_why(ended))
        elif step is Next.GIVE_UP and ended.shard is not None:
            self._given_up[ended.shard] = ended
        elif ended.shard is not None:
            self.workers.submit(ended.shard)

    def _has_moved(self) -> bool:
        """Whether the lake got some of the shards from elsewhere, as from a second driver."""
        found = {shard for shard in self._open if self.is_there(shard)}
        self._open -= found
        return bool(found)

    def _what_is_missing(self) -> str:
        said = "; ".join(_why(ended) for _, ended in sorted(self._given_up.items()))
        return f"after {self.limit} tries each: {said}. What is there stays: run collect again"


def _line(step: Next, ended: Ended, *, tries: int, limit: int, left: int) -> str:
    """One line of progress."""
    if ended.cause is None:
        return f"{_name(ended)}: there{_at(ended)}, {left} left"
    if step is Next.DONE:
        return f"{_why(ended)}; the lake has gone on all the same"
    return f"{_why(ended)}; try {tries} of {limit}: {step}"


def _why(ended: Ended) -> str:
    said = f": {ended.message}" if ended.message else ""
    return f"{_name(ended)}: {ended.cause}{_at(ended)}{said}"


def _name(ended: Ended) -> str:
    return "collect" if ended.shard is None else f"shard {ended.shard:03d}"


def _at(ended: Ended) -> str:
    return f" ({ended.where})" if ended.where else ""
