"""Pure parts of watching a job: its end, its deadlines, what of a log is new, what a cluster lacks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dags.ray_jobs import JobState, JobStatus
from dags.ray_watch import (
    LONGEST_PIECE,
    Limits,
    log_pause_s,
    outcome_of,
    unseen,
    what_is_missing,
    whole_lines,
)

LIMITS = Limits(pending_until_s=100.0, until_s=200.0)


@pytest.mark.parametrize(
    ("status", "now_s", "outcome"),
    [
        (JobStatus.PENDING, 99.0, None),
        (JobStatus.PENDING, 100.0, "pending_too_long"),
        (JobStatus.RUNNING, 100.0, None),
        (JobStatus.RUNNING, 199.0, None),
        (JobStatus.RUNNING, 200.0, "timed_out"),
        (JobStatus.SUCCEEDED, 300.0, "succeeded"),
        (JobStatus.FAILED, 0.0, "failed"),
        (JobStatus.STOPPED, 0.0, "stopped"),
    ],
)
def test_how_a_look_ends(status: JobStatus, now_s: float, outcome: str | None) -> None:
    assert outcome_of(JobState("one", status), LIMITS, now_s=now_s) == outcome


@given(pieces=st.lists(st.text(max_size=20), max_size=8))
def test_pieces_of_a_growing_log_are_the_log(pieces: list[str]) -> None:
    shown = ""
    for count in range(len(pieces) + 1):
        text = "".join(pieces[:count])
        shown += unseen(text, seen=len(shown))

    assert shown == "".join(pieces)


def test_a_flood_is_cut_at_its_beginning_and_said() -> None:
    text = "a" * 7 + "b" * LONGEST_PIECE

    found = unseen(text, seen=0)

    assert (
        found == f"(7 characters are left out here; the whole log is kept in the lake)\n{'b' * LONGEST_PIECE}"
    )


def test_a_line_in_the_making_waits() -> None:
    assert whole_lines("step 1\nste") == "step 1\n"
    assert whole_lines("ste") == ""


def test_a_long_log_is_asked_for_less_often() -> None:
    assert log_pause_s(0) == 0.0
    assert log_pause_s(6_000_000) == 60.0


def test_what_a_cluster_can_never_give_is_named() -> None:
    message = what_is_missing({"GPU": 8.0, "CPU": 1.0}, {"CPU": 4.0, "GPU": 2.0})

    assert "GPU 8 of 2" in message
    assert "CPU" not in message


def test_what_others_hold_is_told_from_what_is_not_there() -> None:
    assert "which others held" in what_is_missing({"GPU": 1.0}, {"GPU": 2.0})
    assert "asked for nothing" in what_is_missing({}, {"GPU": 2.0})
