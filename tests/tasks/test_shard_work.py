"""What follows when a shard ends well, badly or not at all; the workers are lists of answers."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.shard_work import Cause, Driver, Ended, Next, ShardsUnfinished, next_step, unfinished

LIMIT = 3


@dataclass(slots=True)
class Listed:
    """Workers whose answers are listed by shard; a shard without a list is made at the first try."""

    fates: dict[int | None, list[Cause]] = field(default_factory=dict)
    lake: set[int] = field(default_factory=set)
    asked: list[int] = field(default_factory=list)
    first: list[Ended] = field(default_factory=list)
    waiting: list[int] = field(default_factory=list)

    def submit(self, shard: int) -> None:
        self.asked.append(shard)
        self.waiting.append(shard)

    def wait(self) -> list[Ended]:
        if self.first:
            return [self.first.pop(0)]
        shard = self.waiting.pop(0)
        fates = self.fates.get(shard, [])
        if fates:
            return [Ended(shard, fates.pop(0), "torn out", "host-2")]
        self.lake.add(shard)
        return [Ended(shard, None, "", "host-1")]


def driver(workers: Listed, said: list[str] | None = None) -> Driver:
    lines = [] if said is None else said
    return Driver(workers, workers.lake.__contains__, LIMIT, lines.append)


def finish(workers: Listed, shards: Sequence[int], said: list[str] | None = None) -> Driver:
    made = driver(workers, said)
    made.finish(shards, on_left=lambda left: None)
    return made


def test_only_shards_without_a_manifest_are_to_be_made() -> None:
    assert unfinished(5, {0, 3}.__contains__) == [1, 2, 4]


@pytest.mark.parametrize(
    ("cause", "tries", "expected"),
    [
        (None, 0, Next.STOP),  # said to be made, but the lake does not have it
        (Cause.LOST, 1, Next.AGAIN),
        (Cause.LOST, 3, Next.GIVE_UP),
        (Cause.OVERDUE, 2, Next.AGAIN),
        (Cause.FAILED, 2, Next.AGAIN),
        (Cause.FAILED, 3, Next.GIVE_UP),
        (Cause.UNSTARTED, 1, Next.AGAIN),
        (Cause.UNSTARTED, 3, Next.GIVE_UP),
        (Cause.REFUSED, 1, Next.STOP),
        (Cause.ELSEWHERE, 1, Next.STOP),
        (Cause.NO_ROOM, 1, Next.STOP),
    ],
)
def test_a_shard_that_is_not_there_is_made_again_unless_it_would_fare_alike(
    cause: Cause | None, tries: int, expected: Next
) -> None:
    assert next_step(cause, is_there=False, tries=tries, limit=LIMIT) is expected


@given(cause=st.sampled_from([None, *Cause]), tries=st.integers(0, 9))
def test_what_the_lake_has_is_done_whatever_is_said(cause: Cause | None, tries: int) -> None:
    assert next_step(cause, is_there=True, tries=tries, limit=LIMIT) is Next.DONE


def test_a_lost_shard_is_made_again_and_the_others_are_not() -> None:
    workers, said = Listed({2: [Cause.LOST, Cause.FAILED]}), list[str]()

    made = finish(workers, [1, 2, 4], said)

    assert workers.asked == [1, 2, 4, 2, 2]
    assert workers.lake == {1, 2, 4}
    assert made.figures() == {"failed": 1, "worker_lost": 1}
    assert "shard 002: worker lost (host-2): torn out; try 1 of 3: again" in said
    assert said[-1] == "shard 002: there (host-1), 0 left"


def test_a_shard_that_is_lost_time_and_again_is_named_after_the_others_are_made() -> None:
    workers = Listed({0: [Cause.LOST] * LIMIT})

    with pytest.raises(ShardsUnfinished, match=r"after 3 tries each: shard 000: worker lost \(host-2\)"):
        finish(workers, [0, 1, 2])

    assert workers.lake == {1, 2}


def test_what_would_come_again_ends_the_stage_at_once() -> None:
    workers = Listed({0: [Cause.REFUSED]})

    with pytest.raises(ShardsUnfinished, match="shard 000: refused"):
        finish(workers, [0, 1])

    assert workers.asked == [0, 1]
    assert workers.lake == set()


def test_a_worker_that_writes_to_another_lake_is_found_out() -> None:
    workers = Listed()
    made = Driver(workers, lambda shard: False, LIMIT, print)

    with pytest.raises(ShardsUnfinished, match=r"not in this lake \(host-1\): the driver sees no manifest"):
        made.finish([0, 1], on_left=lambda left: None)


def test_a_shard_that_was_published_before_its_worker_was_lost_is_not_made_again() -> None:
    workers = Listed({0: [Cause.LOST]}, lake={0})

    made = finish(workers, [0])

    assert workers.asked == [0]
    assert made.figures() == {"worker_lost": 1}


def test_workers_that_never_start_end_the_stage_after_some_tries() -> None:
    workers = Listed(first=[Ended(None, Cause.UNSTARTED, "no module named tasks")] * LIMIT)

    with pytest.raises(ShardsUnfinished, match="collect: no worker started: no module named tasks"):
        finish(workers, [0])


def test_without_room_a_second_driver_waits_as_long_as_the_lake_grows() -> None:
    full = Ended(None, Cause.NO_ROOM, "CPU 0")
    workers = Listed(first=[full], lake={1})
    left = list[int]()

    driver(workers).finish([0, 1], on_left=left.append)

    assert left[0] == 1  # shard 1 was made by the other
    assert left[-1] == 0

    with pytest.raises(ShardsUnfinished, match="no room in the cluster: CPU 0"):
        finish(Listed(first=[full, full]), [0])
