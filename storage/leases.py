"""Leases: who is at work on what, so that two runs do not both pay for the same GPU hours.

They save work and decide nothing. What counts is decided by objects that can be created once; a writer whose
lease was taken over while it slept finds its place taken. A lease is renewed by compare and swap. It has run
out when it stayed the same for its whole time on the clock of whoever waits: the clocks of two machines are
never compared. One of a process that is gone from this machine has run out at once.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import asdict, dataclass
from typing import Protocol

from storage.errors import LeaseLost, ObjectMissing, StorageError, StoreTimeout
from storage.manifests import encode_object, parse_object
from storage.objects import ObjectStore, ReplaceableStore, Tagged
from storage.processes import Process, is_gone, this_process

TTL_S = 60.0
LOG = logging.getLogger(__name__)


class _Store(ObjectStore, ReplaceableStore, Protocol):
    """What a lease needs of a store."""


@dataclass(frozen=True, slots=True)
class Holder:
    """An attempt at some work, and the process that makes it."""

    attempt: str
    process: Process


@dataclass(frozen=True, slots=True)
class Lease:
    """What a lease object says: `fence` counts its holders, `beat` the renewals of this one; None is free."""

    fence: int
    beat: int
    holder: Holder | None


@dataclass(frozen=True, slots=True)
class Patience:
    """How long an unchanged lease holds, how often it is looked at, and the clock; seconds."""

    ttl_s: float = TTL_S
    poll_s: float = 0.5
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


def lease_place(experiment: str, name: str) -> str:
    """The object that holds the lease of this name."""
    return f"{experiment}/_leases/{name}.json"


def read_lease(store: _Store, place: str) -> Lease | None:
    """What the lease says now; None when nobody ever held it."""
    found = _look(store, place)
    return None if found is None else _decode(found.data, place=place)


def acquire(
    store: _Store,
    place: str,
    *,
    holder: Holder,
    patience: Patience,
    on_wait: Callable[[Holder], None],
) -> Lease:
    """Become the holder, waiting for whoever is; `on_wait` is told once about each that is waited for."""
    seen: tuple[str, float] | None = None  # the lease as it was first seen unchanged, and when
    told: Holder | None = None
    while True:
        found = _look(store, place)
        lease = Lease(0, 0, None) if found is None else _decode(found.data, place=place)
        if found is not None and (seen is None or seen[0] != found.tag):
            seen = (found.tag, patience.clock())
        if _may_take(lease, seen, patience):
            mine = Lease(lease.fence + 1, 0, holder)
            if _put(store, place, mine, over=found):
                return mine
            continue
        if lease.holder is not None and lease.holder != told:
            told = lease.holder
            on_wait(told)
        patience.sleep(patience.poll_s)


def renew(store: _Store, place: str, *, lease: Lease) -> Lease:
    """The lease one beat later; raises LeaseLost when somebody else has it."""
    found = _look(store, place)
    held = None if found is None else _decode(found.data, place=place)
    # Not the beat: the answer to the last renewal may be what was lost.
    if held is None or (held.fence, held.holder) != (lease.fence, lease.holder):
        by = "nobody" if held is None or held.holder is None else f"attempt {held.holder.attempt}"
        raise LeaseLost(f"the lease {place} is held by {by} now: this attempt was away too long")
    later = Lease(lease.fence, held.beat + 1, lease.holder)
    if not _put(store, place, later, over=found):
        raise LeaseLost(f"the lease {place} was taken over just now: this attempt was away too long")
    return later


def release(store: _Store, place: str, *, lease: Lease) -> None:
    """Let others have it; one that was lost is left alone."""
    found = _look(store, place)
    held = None if found is None else _decode(found.data, place=place)
    if held is not None and (held.fence, held.holder) == (lease.fence, lease.holder):
        _put(store, place, Lease(lease.fence, held.beat + 1, None), over=found)


@contextlib.contextmanager
def held(
    store: _Store, place: str, *, attempt: str, patience: Patience, on_wait: Callable[[Holder], None]
) -> Generator[Lease | None, None, None]:
    """Hold the lease while the block runs, renewing it in a thread; a lease that is lost is only logged.

    The block runs without one (None) where the store lets nobody write it, as when a process was stopped
    while it held the lock: what the block makes is decided elsewhere.
    """
    try:
        lease = acquire(
            store, place, holder=Holder(attempt, this_process()), patience=patience, on_wait=on_wait
        )
    except StoreTimeout as problem:
        LOG.warning("%s; the work goes on without the lease %s, somebody may do it twice", problem, place)
        lease = None
    if lease is None:
        yield None
        return
    heart = _Heart(store, place, lease, every_s=patience.ttl_s / 4)
    heart.start()
    try:
        yield lease
    finally:
        _give_back(store, place, lease=heart.stop())


def _give_back(store: _Store, place: str, *, lease: Lease) -> None:
    """Release, if the store lets it: the work is done, and a lease without beats falls by itself."""
    try:
        release(store, place, lease=lease)
    except (StorageError, OSError) as problem:
        LOG.warning("the lease %s is not given back: %s", place, problem)


class _Heart(threading.Thread):
    """Renews a lease until it is stopped or lost."""

    def __init__(self, store: _Store, place: str, lease: Lease, *, every_s: float) -> None:
        super().__init__(name=f"lease {place}", daemon=True)
        self._store, self._place, self._lease, self._every_s = store, place, lease, every_s
        self._stopped = threading.Event()

    def run(self) -> None:
        """Beat. A store that cannot be reached may be back at the next beat."""
        while not self._stopped.wait(self._every_s):
            try:
                self._lease = renew(self._store, self._place, lease=self._lease)
            except LeaseLost as lost:
                LOG.warning("%s; what it still writes loses against the attempt that took over", lost)
                return
            except (StorageError, OSError) as problem:
                LOG.warning("the lease %s could not be renewed: %s", self._place, problem)

    def stop(self) -> Lease:
        """Stop beating; the lease as it was last."""
        self._stopped.set()
        self.join()
        return self._lease


def _look(store: _Store, place: str) -> Tagged | None:
    try:
        return store.get_tagged(place)
    except ObjectMissing:
        return None


def _may_take(lease: Lease, seen: tuple[str, float] | None, patience: Patience) -> bool:
    if lease.holder is None or is_gone(lease.holder.process):
        return True
    return seen is not None and patience.clock() - seen[1] >= patience.ttl_s


def _put(store: _Store, place: str, lease: Lease, *, over: Tagged | None) -> bool:
    data = encode_object(asdict(lease))
    return store.create(place, data) if over is None else store.replace(place, data, tag=over.tag)


def _decode(data: bytes, *, place: str) -> Lease:
    body = parse_object(data, place=place)
    holder = body["holder"]
    who = None if holder is None else Holder(holder["attempt"], Process(**holder["process"]))
    return Lease(body["fence"], body["beat"], who)
