"""How the wall clock divides, on intervals that can be added in the head."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dags.time_shares import Interval, covered_s, divide, seconds_by_stage

COLLECT = [Interval("collect", 10.0, 14.0), Interval("collect", 12.0, 16.0)]
TRAIN = Interval("train_policy", 20.0, 25.0)


def test_shards_side_by_side_count_once() -> None:
    assert covered_s([*COLLECT, TRAIN]) == 11.0


def test_work_of_a_stage_adds_its_shards_up() -> None:
    assert seconds_by_stage([*COLLECT, TRAIN]) == {"collect": 8.0, "train_policy": 5.0}


def test_what_is_no_work_is_overhead() -> None:
    division = divide([*COLLECT, TRAIN], began_s=0.0, triggered_s=8.0, ended_s=44.0)

    assert (division.total_s, division.start_s, division.work_s) == (44.0, 8.0, 11.0)
    assert division.overhead_share == pytest.approx(0.75)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 20)), max_size=6))
def test_the_union_is_the_number_of_covered_seconds(stretches: list[tuple[int, int]]) -> None:
    intervals = [Interval("any", float(began), float(began + length)) for began, length in stretches]

    seconds = {second for began, length in stretches for second in range(began, began + length)}
    assert covered_s(intervals) == len(seconds)
