"""Which job to go on with: the whole table, and what holds for any list of jobs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dags.ray_attempts import Adopt, Fail, JobName, Submit, next_step
from dags.ray_jobs import JobState, JobStatus

PREFIX = "itpo-sales-0003-train_policy-1a2b3c4d"
OURS = {"itpo.experiment": "sales", "itpo.lake": "one"}
NAME = JobName(PREFIX, OURS)
PENDING, RUNNING, SUCCEEDED, FAILED, STOPPED = JobStatus


def job(attempt: int, status: JobStatus, *, owner: dict[str, str] = OURS) -> JobState:
    return JobState(f"{PREFIX}-a{attempt}", status, metadata=owner)


def decided(jobs: list[JobState], *, committed: bool = False, used: int = 0) -> Adopt | Submit | Fail:
    return next_step(jobs, NAME, committed=committed, used=used, limit=3)


@pytest.mark.parametrize(
    ("jobs", "step"),
    [
        ([], Submit(1)),
        ([job(1, PENDING)], Adopt(f"{PREFIX}-a1", is_done=False)),
        ([job(1, RUNNING)], Adopt(f"{PREFIX}-a1", is_done=False)),
        ([job(1, FAILED)], Submit(2)),
        ([job(1, STOPPED)], Submit(2)),
        ([job(1, FAILED), job(2, STOPPED)], Submit(3)),
        ([job(2, FAILED), job(1, FAILED)], Submit(3)),
        ([job(1, FAILED), job(2, RUNNING)], Adopt(f"{PREFIX}-a2", is_done=False)),
        ([job(2, FAILED), job(1, RUNNING)], Adopt(f"{PREFIX}-a1", is_done=False)),
        ([job(1, SUCCEEDED)], Submit(2)),  # without its commit
        ([job(1, SUCCEEDED), job(2, RUNNING)], Adopt(f"{PREFIX}-a2", is_done=False)),
    ],
)
def test_what_follows_while_nothing_is_committed(jobs: list[JobState], step: Adopt | Submit) -> None:
    assert decided(jobs) == step


def test_a_job_that_succeeded_and_left_its_commit_is_adopted_as_done() -> None:
    found = decided([job(1, FAILED), job(2, SUCCEEDED)], committed=True)

    assert found == Adopt(f"{PREFIX}-a2", is_done=True)


def test_after_a_lost_head_the_attempts_on_record_count() -> None:
    assert decided([], used=1) == Submit(2)
    assert decided([job(1, FAILED)], used=2) == Submit(3)


def test_the_limit_is_the_last_attempt() -> None:
    found = decided([job(3, FAILED)])

    assert isinstance(found, Fail)
    assert "3 attempts were made" in found.reason
    assert "raise ray.attempts" in found.reason


def test_a_job_of_our_name_that_is_somebody_elses_is_never_touched() -> None:
    found = decided([job(1, RUNNING, owner={**OURS, "itpo.lake": "two"})])

    assert isinstance(found, Fail)
    assert "itpo.lake 'two' instead of 'one'" in found.reason


@pytest.mark.parametrize(
    "other",
    ["raysubmit_1", f"{PREFIX}-a1b", f"{PREFIX}-a0", f"x{PREFIX}-a1", PREFIX.replace("0003", "0004") + "-a1"],
)
def test_jobs_of_other_names_do_not_count(other: str) -> None:
    assert decided([JobState(other, RUNNING)]) == Submit(1)


statuses = st.lists(st.sampled_from(list(JobStatus)), max_size=5)


@given(found=statuses, committed=st.booleans(), used=st.integers(0, 5))
def test_nothing_is_submitted_beside_a_job_that_is_active(
    found: list[JobStatus], committed: bool, used: int
) -> None:
    jobs = [job(attempt, status) for attempt, status in enumerate(found, start=1)]

    step = next_step(jobs, NAME, committed=committed, used=used, limit=20)

    assert isinstance(step, Adopt) or not {PENDING, RUNNING} & set(found)


@given(found=statuses, used=st.integers(0, 5), limit=st.integers(1, 8))
def test_an_id_is_never_used_again_and_the_limit_holds(found: list[JobStatus], used: int, limit: int) -> None:
    jobs = [job(attempt, status) for attempt, status in enumerate(found, start=1)]

    step = next_step(jobs, NAME, committed=False, used=used, limit=limit)

    if isinstance(step, Submit):
        assert max(len(found), used) < step.attempt <= limit
