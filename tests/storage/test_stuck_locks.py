"""A process that was stopped while it swapped an object holds the others up for a while, not for ever."""

import contextlib
import fcntl
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage import leases
from storage.errors import StoreTimeout
from storage.leases import Lease, Patience
from storage.local_store import LocalStore

PLACE = leases.lease_place("sales", "evaluate-0001")


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    """A store with a free lease, that waits a hundredth of a second."""
    made = LocalStore(tmp_path, lock_wait_s=0.01)
    with leases.held(made, PLACE, attempt="earlier", patience=Patience(), on_wait=print):
        pass
    return made


@pytest.fixture
def stuck(store: LocalStore) -> Iterator[LocalStore]:
    """The same while somebody holds the lock of the lease's file."""
    with open(store.path(PLACE), "rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield store


def test_a_swap_that_gets_no_lock_names_the_lock_and_the_remedy(stuck: LocalStore) -> None:
    tagged = stuck.get_tagged(PLACE)

    with pytest.raises(StoreTimeout, match=r"evaluate-0001\.json was locked .* for 0\.01 s.*fuser"):
        stuck.replace(PLACE, b"mine", tag=tagged.tag)
    assert stuck.get(PLACE) == tagged.data


def test_work_goes_on_without_a_lease_that_cannot_be_had(
    stuck: LocalStore, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        caplog.at_level(logging.WARNING),
        leases.held(stuck, PLACE, attempt="late", patience=Patience(), on_wait=print) as lease,
    ):
        assert lease is None

    assert f"goes on without the lease {PLACE}" in caplog.text


def test_a_lease_that_cannot_be_given_back_is_only_logged(
    store: LocalStore, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        contextlib.ExitStack() as opened,  # what it holds is let go last
        leases.held(store, PLACE, attempt="mine", patience=Patience(), on_wait=print) as lease,
    ):
        fcntl.flock(opened.enter_context(open(store.path(PLACE), "rb")), fcntl.LOCK_EX)

    assert leases.read_lease(store, PLACE) == lease != Lease(0, 0, None)
    assert f"the lease {PLACE} is not given back" in caplog.text


def test_a_lock_that_stays_is_in_nobody_elses_way(stuck: LocalStore) -> None:
    elsewhere = leases.lease_place("sales", "decide-0001")

    with leases.held(stuck, elsewhere, attempt="mine", patience=Patience(), on_wait=print) as lease:
        assert lease is not None

    assert leases.read_lease(stuck, elsewhere) == Lease(1, 1, None)
