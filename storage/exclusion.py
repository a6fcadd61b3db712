"""Forgetting and the collection of garbage keep stages out, and stay out while one is at work.

Both hold one lease on the whole lake. A stage takes its own lease and then looks at that one; who has that
one then looks at the stages' leases: whoever comes second sees the other. A stage that is kept out gives its
own lease back before it waits. How long a lease was silent is told by the store's own clock alone.
"""

import contextlib
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass

from storage import leases
from storage.errors import LeaseLost, StoreTimeout
from storage.leases import Holder, Lease, Patience
from storage.objects import LakeStore, ObjectInfo
from storage.processes import is_gone
from storage.tombstones import BusyLake

PLACE = leases.lease_place("every-experiment", "forget")
SILENT_S = 180.0  # who did not renew a lease for so long is given up, unless leases last longer


@dataclass(frozen=True, slots=True)
class Alone:
    """The right to remove, by the lease on the whole lake; `silent_s` is when a stage is given up."""

    store: LakeStore
    lease: Lease
    silent_s: float

    def now_s(self) -> float:
        """The time of the store when the lease was last renewed; LeaseLost when somebody else has it."""
        found = leases.read_lease(self.store, PLACE)
        if found is None or (found.fence, found.holder) != (self.lease.fence, self.lease.holder):
            raise LeaseLost(
                f"the lease {PLACE} went to somebody else: this process was away too long; run the same again"
            )
        return _written_s(self.store, PLACE)

    def at_work(self, prefix: str) -> list[str]:
        """The leases below the prefix that stages hold at this moment."""
        infos = [info for info in self.store.entries(prefix) if info.key != PLACE]
        return held_places(self.store, infos, now_s=self.now_s(), silent_s=self.silent_s)

    def refuse_busy(self) -> None:
        """BusyLake naming every stage that is at work: what it writes next would bring the rows back."""
        busy = self.at_work("")
        if busy:
            raise BusyLake(
                f"{', '.join(busy)}: a stage is at work, and might write again what is removed; run this "
                "when it has finished, or stop it first; nothing was changed"
            )


@contextlib.contextmanager
def alone(
    store: LakeStore, *, attempt: str, ttl_s: float, on_wait: Callable[[Holder], None]
) -> Generator[Alone, None, None]:
    """Keep stages out while the block runs; raises StoreTimeout where the lease cannot be had."""
    with leases.held(store, PLACE, attempt=attempt, patience=Patience(ttl_s=ttl_s), on_wait=on_wait) as lease:
        if lease is None:
            raise StoreTimeout(f"the lease {PLACE} cannot be written, and nothing is removed without it")
        yield Alone(store, lease, silent_after_s(ttl_s))


def is_kept_out(store: LakeStore, place: str, *, ttl_s: float) -> bool:
    """Whether the holder of the lease `place`, just written, has to give it back and wait."""
    infos = store.entries(PLACE)
    if not infos:
        return False
    now_s = _written_s(store, place)
    return bool(held_places(store, infos, now_s=now_s, silent_s=silent_after_s(ttl_s)))


def silent_after_s(ttl_s: float) -> float:
    """How long a lease of this time to live may go without a renewal."""
    return max(SILENT_S, 2 * ttl_s)


def held_places(store: LakeStore, infos: Iterable[ObjectInfo], *, now_s: float, silent_s: float) -> list[str]:
    """Those of the objects that are leases, written not long before `now_s`, and held by a live process."""
    recent = [info.key for info in infos if "/_leases/" in info.key and now_s - info.modified_s <= silent_s]
    return [place for place in recent if is_held(store, place)]


def is_held(store: LakeStore, place: str) -> bool:
    """Whether the lease has a holder that may be alive."""
    lease = leases.read_lease(store, place)
    return lease is not None and lease.holder is not None and not is_gone(lease.holder.process)


def _written_s(store: LakeStore, place: str) -> float:
    """When the object was last written, by the store's clock; LeaseLost when it is gone."""
    for info in store.entries(place):
        if info.key == place:
            return info.modified_s
    raise LeaseLost(f"the lease {place} is gone: somebody removed it; run the same again")
