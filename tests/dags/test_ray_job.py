"""The operator against a head that misbehaves: what is submitted, adopted, failed and told."""

import asyncio
import logging
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from airflow.sdk.exceptions import TaskDeferred

from dags.ray_attempts import JobName
from dags.ray_job import NothingToStart, RayJobFailed, RayJobOperator
from dags.ray_jobs import RayHead, RayUnreachable
from tasks.cluster import StageJob
from tasks.config_ray import Ray
from tests.dags.fake_ray_head import FakeHead, fake_head

PREFIX = "itpo-shop-0003-train_policy-1a2b3c4d"
OWNER = {"itpo.experiment": "shop"}
RESULT = {"stage": "train_policy", "commit": "shop/policy/0003"}


@dataclass(slots=True)
class ToldPlace:
    """A lake that says what the test says, and keeps logs in a dictionary."""

    address: str
    iteration: int = 3
    stage: str = "train_policy"
    version: str | None = None
    is_committed: bool = False
    logs: dict[str, str] = field(default_factory=dict)

    def committed(self) -> dict[str, Any] | None:
        return RESULT if self.is_committed else None

    def job(self) -> StageJob:
        settings = Ray(poll_s=0.01, unreachable_s=0.1, version=self.version, attempts=3)
        return StageJob(
            settings, self.address, PREFIX, "python -m tasks", OWNER, {"ITPO_LAKE": "s3://private"}
        )

    def attempts_on_record(self, name: JobName) -> int:
        return max((name.attempt(each) or 0 for each in self.logs), default=0)

    def keep_log(self, head: RayHead, event: dict[str, Any]) -> None:
        self.logs.setdefault(event["submission_id"], f"{event['outcome']}: {event['message']}")


class Told(RayJobOperator):
    """The operator in that place."""

    told: ToldPlace
    wanted = False

    def place(self, context: object) -> ToldPlace:
        return self.told

    def is_wanted(self) -> bool:
        return self.wanted


@pytest.fixture
def fake() -> Iterator[FakeHead]:
    with fake_head() as head:
        yield head


@pytest.fixture
def place(fake: FakeHead) -> ToldPlace:
    return ToldPlace(fake.address)


def operator(place: ToldPlace) -> Told:
    """A new process's copy of the task."""
    found = Told(task_id="train_policy")
    found.told = place
    return found


def deferred(task: Told) -> TaskDeferred:
    with pytest.raises(TaskDeferred) as caught:
        task.execute({})
    return caught.value


def event_of(waiting: TaskDeferred) -> dict[str, Any]:
    async def first() -> dict[str, Any]:
        return (await anext(waiting.trigger.run())).payload

    return asyncio.run(first())


def tried(place: ToldPlace) -> dict[str, Any]:
    """One whole try: submit or adopt, wait, resume in another process."""
    event = event_of(deferred(operator(place)))
    return operator(place).resume({}, event)


def ids(fake: FakeHead) -> list[str]:
    return [sent["submission_id"] for sent in fake.submitted]


def test_a_job_is_submitted_waited_for_and_its_commit_is_the_result(fake: FakeHead, place: ToldPlace) -> None:
    def commit(submission_id: str) -> None:
        place.is_committed = True

    fake.on_success = commit

    found = tried(place)

    assert found == {"began": 1000.0, "seconds": 2.0, "result": RESULT, "job": f"{PREFIX}-a1"}
    assert ids(fake) == [f"{PREFIX}-a1"]
    assert fake.submitted[0]["metadata"] == OWNER


def test_a_worker_lost_after_submission_costs_no_second_job(fake: FakeHead, place: ToldPlace) -> None:
    fake.fates = [["RUNNING"]]

    waits = [deferred(operator(place)).trigger for _ in range(2)]

    assert ids(fake) == [f"{PREFIX}-a1"]
    assert [wait.submission_id for wait in waits] == [f"{PREFIX}-a1"] * 2
    assert [wait.adopted for wait in waits] == [False, True]


def test_of_two_schedulers_at_once_one_submits_and_the_other_adopts(fake: FakeHead, place: ToldPlace) -> None:
    fake.fates = [["RUNNING"]]
    deferred(operator(place))
    fake.instead = [("/api/jobs/", 200, "[]")]  # the other had looked before

    late = deferred(operator(place)).trigger

    assert (late.submission_id, late.adopted) == (f"{PREFIX}-a1", True)
    assert ids(fake) == [f"{PREFIX}-a1"]


def test_what_is_committed_is_not_asked_for(fake: FakeHead, place: ToldPlace) -> None:
    place.is_committed = True

    assert operator(place).execute({})["result"] == RESULT
    assert fake.asked == []


def test_success_without_a_commit_is_a_failure_and_the_retry_is_a_new_attempt(
    fake: FakeHead, place: ToldPlace
) -> None:
    with pytest.raises(RayJobFailed, match="no commit of train_policy in iteration 3"):
        tried(place)
    fake.fates = [["RUNNING"]]
    deferred(operator(place))

    assert ids(fake) == [f"{PREFIX}-a1", f"{PREFIX}-a2"]


@pytest.mark.parametrize("end", ["FAILED", "STOPPED", "LOST"])
def test_after_another_end_the_retry_takes_the_next(fake: FakeHead, place: ToldPlace, end: str) -> None:
    fake.fates = [["RUNNING", end], ["RUNNING"]]

    with pytest.raises(RayJobFailed, match=f"{PREFIX}-a1: {end.lower()}"):
        tried(place)
    deferred(operator(place))

    assert ids(fake) == [f"{PREFIX}-a1", f"{PREFIX}-a2"]
    assert place.logs[f"{PREFIX}-a1"].startswith(end.lower())


def test_an_adopted_job_that_was_asked_to_stop_before_is_followed_by_the_next(
    fake: FakeHead, place: ToldPlace
) -> None:
    fake.add(f"{PREFIX}-a1", fate=["RUNNING", "STOPPED"], metadata=OWNER)
    event = event_of(deferred(operator(place)))

    with pytest.raises(TaskDeferred) as caught:
        operator(place).resume({}, event)

    assert caught.value.trigger.submission_id == f"{PREFIX}-a2"


def test_attempts_end(fake: FakeHead, place: ToldPlace) -> None:
    fake.add(f"{PREFIX}-a3", fate=["FAILED"], metadata=OWNER)

    with pytest.raises(NothingToStart, match="3 attempts were made"):
        operator(place).execute({})
    assert ids(fake) == []


def test_another_version_of_ray_is_refused_before_anything_is_submitted(
    fake: FakeHead, place: ToldPlace
) -> None:
    place.version = "2.60.0"

    with pytest.raises(NothingToStart, match=r"runs Ray 2\.55\.0, ray\.version is 2\.60\.0"):
        operator(place).execute({})
    assert ids(fake) == []


def test_a_head_that_is_not_there_is_a_clear_error(place: ToldPlace) -> None:
    place.address = "http://127.0.0.1:1"

    with pytest.raises(RayUnreachable, match="no Ray head answers at http://127"):
        operator(place).execute({})


def test_a_submission_that_failed_unheard_is_found_by_the_retry(fake: FakeHead, place: ToldPlace) -> None:
    fake.add(f"{PREFIX}-a1", fate=["RUNNING"], metadata=OWNER)  # accepted, but the answer was lost
    fake.instead = [("/api/jobs/", 500, "TimeoutError: no agent")]

    with pytest.raises(RuntimeError, match="no agent"):
        operator(place).execute({})

    assert deferred(operator(place)).trigger.adopted is True
    assert ids(fake) == []


def test_values_of_variables_are_neither_logged_nor_stored(
    fake: FakeHead, place: ToldPlace, caplog: pytest.LogCaptureFixture
) -> None:
    fake.fates = [["RUNNING"]]

    with caplog.at_level(logging.DEBUG):
        waiting = deferred(operator(place)).trigger

    assert "ITPO_LAKE" in caplog.text
    assert "s3://private" not in caplog.text
    assert "s3://private" not in str(waiting.serialize())
    assert fake.submitted[0]["runtime_env"]["env_vars"] == {"ITPO_LAKE": "s3://private"}


@pytest.mark.parametrize(("wanted", "stopped"), [(False, {f"{PREFIX}-a1"}), (True, set())])
def test_a_kill_in_the_middle_of_the_submission_stops_the_job_and_a_shutdown_does_not(
    fake: FakeHead, place: ToldPlace, wanted: bool, stopped: set[str]
) -> None:
    task = operator(place)
    task.wanted = wanted
    fake.fates = [["RUNNING"]]
    fake.on_submit = lambda: os.kill(os.getpid(), signal.SIGTERM)
    before = signal.signal(signal.SIGTERM, lambda number, frame: task.on_kill())

    deferred(task)

    signal.signal(signal.SIGTERM, before)
    assert set(fake.stopped) == stopped
    assert ids(fake) == [f"{PREFIX}-a1"]
