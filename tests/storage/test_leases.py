"""A lease has one holder, is waited for while it beats, and falls to others when it no longer does."""

import errno
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from storage import leases
from storage.errors import LeaseLost
from storage.leases import Holder, Lease, Patience
from storage.local_store import LocalStore
from storage.objects import Tagged
from storage.processes import Process, is_gone, this_process

PLACE = leases.lease_place("sales", "collect-0003")
ELSEWHERE = Process("another-host", "boot", 7, "1")


@dataclass
class Clock:
    """Time that passes only while somebody sleeps; `meanwhile` happens during the n-th sleep."""

    now_s: float = 0.0
    meanwhile: dict[int, Callable[[], object]] = field(default_factory=dict)
    sleeps: int = 0

    def read(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds
        self.meanwhile.get(self.sleeps, lambda: None)()
        self.sleeps += 1


def patience(clock: Clock, *, ttl_s: float = 60.0) -> Patience:
    return Patience(ttl_s=ttl_s, poll_s=10.0, clock=clock.read, sleep=clock.sleep)


def take(store: LocalStore, attempt: str, *, clock: Clock, process: Process | None = None) -> Lease:
    told: list[Holder] = []
    who = Holder(attempt, process or this_process())
    return leases.acquire(store, PLACE, holder=who, patience=patience(clock), on_wait=told.append)


def test_a_free_lease_is_taken_at_once_and_counts_its_holders(tmp_path: Path) -> None:
    store, clock = LocalStore(tmp_path), Clock()

    first = take(store, "a", clock=clock)
    leases.release(store, PLACE, lease=first)
    second = take(store, "b", clock=clock)

    assert (first.fence, second.fence, clock.sleeps) == (1, 2, 0)


def test_a_lease_that_beats_is_waited_for_and_taken_when_released(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    lease = take(store, "a", clock=Clock(), process=ELSEWHERE)
    clock = Clock()
    for sleep in range(20):  # 200 s, far beyond the 60 s that an unchanged lease holds
        clock.meanwhile[sleep] = lambda: leases.renew(store, PLACE, lease=read(store))
    clock.meanwhile[20] = lambda: leases.release(store, PLACE, lease=read(store))

    mine = take(store, "b", clock=clock)

    assert (lease.fence, mine.fence, clock.sleeps) == (1, 2, 21)


def read(store: LocalStore) -> Lease:
    lease = leases.read_lease(store, PLACE)
    assert lease is not None
    return lease


def test_a_lease_without_beats_falls_after_its_time_on_the_clock_of_who_waits(tmp_path: Path) -> None:
    store, clock = LocalStore(tmp_path), Clock(now_s=1e6)
    take(store, "a", clock=Clock(), process=ELSEWHERE)

    mine = take(store, "b", clock=clock)

    assert mine.fence == 2
    assert clock.now_s == 1e6 + 60


def test_who_waits_is_told_once_whom_it_waits_for(tmp_path: Path) -> None:
    store, clock, told = LocalStore(tmp_path), Clock(), list[Holder]()
    take(store, "a", clock=Clock(), process=ELSEWHERE)

    leases.acquire(store, PLACE, holder=Holder("b", ELSEWHERE), patience=patience(clock), on_wait=told.append)

    assert [holder.attempt for holder in told] == ["a"]


def test_a_holder_that_slept_too_long_cannot_renew(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    zombie = take(store, "a", clock=Clock(), process=ELSEWHERE)
    taken = take(store, "b", clock=Clock())

    with pytest.raises(LeaseLost, match="held by attempt b now"):
        leases.renew(store, PLACE, lease=zombie)
    leases.release(store, PLACE, lease=zombie)

    assert leases.read_lease(store, PLACE) == taken


def test_the_lease_of_a_process_that_ended_here_falls_at_once(tmp_path: Path) -> None:
    store, clock = LocalStore(tmp_path), Clock()
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    process = replace(this_process(), pid=child.pid, born=birth_of(child.pid))
    take(store, "a", clock=clock, process=process)
    assert not is_gone(process)
    child.kill()  # not yet collected by its parent: dead all the same
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)

    mine = take(store, "b", clock=clock)

    assert (mine.fence, clock.sleeps) == (2, 0)
    child.communicate()


def birth_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[19]


def test_a_process_number_that_was_given_out_again_is_not_the_same_process() -> None:
    assert not is_gone(this_process())
    assert is_gone(replace(this_process(), born="0"))


def test_of_a_process_on_another_machine_nothing_is_known() -> None:
    assert not is_gone(ELSEWHERE)


def test_of_many_takers_at_once_one_has_it(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)

    def try_to_take(number: int) -> int:
        lease = take(store, str(number), clock=Clock())
        leases.release(store, PLACE, lease=lease)
        return lease.fence

    with ThreadPoolExecutor(8) as pool:
        fences = list(pool.map(try_to_take, range(24)))

    assert sorted(fences) == list(range(1, 25))


def test_a_held_lease_beats_by_itself_and_is_free_afterwards(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    often = Patience(ttl_s=0.04, poll_s=0.01)

    with leases.held(store, PLACE, attempt="a", patience=often, on_wait=lambda _: None) as lease:
        while read(store).beat < 3:
            pass
        during = read(store)

    assert during.holder == lease.holder
    assert read(store).holder is None


def test_an_error_in_the_work_frees_the_lease(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)

    with (
        pytest.raises(ZeroDivisionError),
        leases.held(store, PLACE, attempt="a", patience=Patience(), on_wait=lambda _: None),
    ):
        raise ZeroDivisionError

    assert read(store).holder is None


def test_a_renewal_whose_answer_was_lost_is_no_loss_of_the_lease(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    mine = take(store, "a", clock=Clock(), process=ELSEWHERE)
    leases.renew(store, PLACE, lease=mine)  # it was written, but its answer never came

    later = leases.renew(store, PLACE, lease=mine)
    leases.release(store, PLACE, lease=mine)

    assert (later.fence, later.beat) == (1, 2)
    assert read(store).holder is None


class StaleStore(LocalStore):
    """A network folder that answers ESTALE while the file `stale` lies in it."""

    def get_tagged(self, key: str) -> Tagged:
        if (self.root / "stale").exists():
            raise OSError(errno.ESTALE, "Stale file handle")
        return LocalStore.get_tagged(self, key)


def test_the_heart_outlives_a_network_folder_that_stumbles(tmp_path: Path) -> None:
    store, often = StaleStore(tmp_path), Patience(ttl_s=0.04, poll_s=0.01)

    with leases.held(store, PLACE, attempt="a", patience=often, on_wait=lambda _: None):
        (tmp_path / "stale").touch()
        time.sleep(0.1)
        (tmp_path / "stale").unlink()
        before = read(store).beat
        while read(store).beat < before + 2:
            time.sleep(0.01)

    assert read(store).holder is None
