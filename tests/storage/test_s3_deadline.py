"""The deadline of a request bounds its repetition, not the time that a large object takes."""

import time
from collections.abc import Callable

import pytest

from storage.errors import StoreTimeout
from storage.s3_address import Place
from storage.s3_errors import Request, TryAgain
from storage.s3_requests import Requests

UPLOAD = Request("create", "s3://lake/weights", writes=True)


def requests(deadline_s: float) -> Requests:
    def nobody_asks() -> None:
        raise AssertionError("the network is not needed here")

    return Requests(Place("lake", "", None, None), deadline_s, nobody_asks)


def failing(times: int, *, takes_s: float) -> Callable[[], str]:
    """A call that takes a while, and is told "later" so many times at its end."""
    left = [times]

    def call() -> str:
        time.sleep(takes_s)
        left[0] -= 1
        if left[0] >= 0:
            raise TryAgain("503 SlowDown")
        return "written"

    return call


def test_what_takes_longer_than_the_deadline_has_a_second_chance() -> None:
    assert requests(deadline_s=0.2).persist(UPLOAD, failing(1, takes_s=0.4)) == "written"


def test_what_fails_for_ever_ends_after_the_deadline() -> None:
    began_s = time.monotonic()

    with pytest.raises(StoreTimeout, match=r"s3://lake/weights: create failed \d+ times .*'503 SlowDown'"):
        requests(deadline_s=0.2).persist(UPLOAD, failing(10_000, takes_s=0.0))

    assert time.monotonic() - began_s < 20
