"""Whoever removes keeps stages out and stays out while one is at work, by the store's clock alone."""

import pytest

from storage import exclusion, leases
from storage.errors import LeaseLost
from storage.exclusion import PLACE, alone, is_kept_out
from storage.leases import Holder, Patience
from storage.processes import Process
from storage.tombstones import BusyLake
from tests.storage.memory_store import MemoryStore

ELSEWHERE = Holder("attempt", Process("another-machine", "boot", 1, "0"))
STAGE = leases.lease_place("sales", "collect-0002-000")
YEAR_S = 365 * 86_400.0


def take(store: MemoryStore, place: str) -> None:
    """Somebody on another machine takes the lease."""
    leases.acquire(store, place, holder=ELSEWHERE, patience=Patience(ttl_s=0.0), on_wait=lambda holder: None)


def refuse(store: MemoryStore, *, ttl_s: float = 60.0) -> None:
    """Want to remove something."""
    with alone(store, attempt="forget", ttl_s=ttl_s, on_wait=lambda holder: None) as mine:
        mine.refuse_busy()


def test_a_stage_at_work_is_named_whatever_the_clock_of_this_machine() -> None:
    store = MemoryStore(now_s=-YEAR_S)
    take(store, STAGE)

    with pytest.raises(BusyLake, match="collect-0002-000"):
        refuse(store)


def test_a_stage_is_given_up_when_it_was_silent_for_two_times_its_lease() -> None:
    store = MemoryStore()
    take(store, STAGE)

    store.now_s = 2 * 600.0
    with pytest.raises(BusyLake):
        refuse(store, ttl_s=600.0)

    store.now_s += 1.0
    refuse(store, ttl_s=600.0)  # raises nothing


def test_short_leases_are_not_given_up_before_three_minutes() -> None:
    assert exclusion.silent_after_s(10.0) == 180.0


def test_a_stage_is_kept_out_while_the_lake_is_held_and_afterwards_not() -> None:
    store = MemoryStore()
    take(store, STAGE)
    before = is_kept_out(store, STAGE, ttl_s=60.0)

    with alone(store, attempt="forget", ttl_s=60.0, on_wait=lambda holder: None):
        meanwhile = is_kept_out(store, STAGE, ttl_s=60.0)

    assert (before, meanwhile, is_kept_out(store, STAGE, ttl_s=60.0)) == (False, True, False)


def test_who_removes_and_died_elsewhere_keeps_nobody_out_for_ever() -> None:
    store = MemoryStore()
    take(store, PLACE)
    store.now_s = 181.0
    take(store, STAGE)

    assert not is_kept_out(store, STAGE, ttl_s=60.0)


def test_who_lost_the_lease_removes_nothing_more() -> None:
    store = MemoryStore()

    with alone(store, attempt="forget", ttl_s=60.0, on_wait=lambda holder: None) as mine:
        take(store, PLACE)

        with pytest.raises(LeaseLost, match="went to somebody else"):
            mine.at_work("sales/")
