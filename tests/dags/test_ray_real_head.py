"""The operator and its trigger against a real Ray head: what only Ray itself can answer."""

import asyncio
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from airflow.sdk.exceptions import TaskDeferred

from dags import ray_jobs
from dags.ray_attempts import JobName
from dags.ray_job import RayJobFailed, RayJobOperator
from dags.ray_jobs import DuplicateJob, JobNotFound, JobRequest, JobStatus, RayHead, RayUnreachable
from tasks.cluster import StageJob
from tasks.config_ray import Ray
from tests.dags.real_ray_head import RealHead

pytestmark = pytest.mark.timeout(600)
OWNER = {"itpo.experiment": "shop"}
ENDED_S = 60.0


@pytest.fixture
def real() -> Iterator[RealHead]:
    """A head of the test's own, gone at the end."""
    head = RealHead()
    try:
        head.start()
        yield head
    finally:
        head.remove()


@dataclass(slots=True)
class JobPlace:
    """A stage that is a shell command; it is committed once the file is there."""

    address: str
    prefix: str
    command: str
    settings: dict[str, Any] = field(default_factory=dict)
    iteration: int = 3
    stage: str = "train_policy"
    logs: dict[str, str] = field(default_factory=dict)
    is_committed: bool = False

    def committed(self) -> dict[str, Any] | None:
        return {"stage": self.stage} if self.is_committed else None

    def job(self) -> StageJob:
        settings = Ray.model_validate({"poll_s": 0.2, "unreachable_s": 0.5, **self.settings})
        return StageJob(settings, self.address, self.prefix, self.command, OWNER, {"ITPO_LAKE": "here"})

    def attempts_on_record(self, name: JobName) -> int:
        return max((name.attempt(each) or 0 for each in self.logs), default=0)

    def keep_log(self, head: RayHead, event: dict[str, Any]) -> None:
        try:
            self.logs[event["submission_id"]] = head.ask(ray_jobs.logs(event["submission_id"]))
        except (JobNotFound, RayUnreachable):
            self.logs[event["submission_id"]] = event["outcome"]


class Told(RayJobOperator):
    """The operator in that place."""

    told: JobPlace

    def place(self, context: object) -> JobPlace:
        return self.told


def waiting(place: JobPlace) -> TaskDeferred:
    task = Told(task_id="train_policy")
    task.told = place
    with pytest.raises(TaskDeferred) as caught:
        task.execute({})
    return caught.value


def resumed(place: JobPlace, event: dict[str, Any]) -> dict[str, Any]:
    task = Told(task_id="train_policy")
    task.told = place
    return task.resume({}, event)


def event_of(deferral: TaskDeferred) -> dict[str, Any]:
    async def first() -> dict[str, Any]:
        return (await anext(deferral.trigger.run())).payload

    return asyncio.run(first())


def status_of(head: RayHead, submission_id: str) -> JobStatus:
    return head.ask(ray_jobs.status(submission_id)).status


def wait_for(head: RayHead, submission_id: str, *, status: JobStatus) -> None:
    deadline = time.monotonic() + ENDED_S
    while status_of(head, submission_id) is not status:
        assert time.monotonic() < deadline, head.ask(ray_jobs.status(submission_id))
        time.sleep(0.1)


def two_submit_the_same_at_once_and_one_job_runs_whose_log_is_shown(
    real: RealHead, capsys: pytest.CaptureFixture[str]
) -> None:
    place = JobPlace(real.head.address, "twice", "echo lake $ITPO_LAKE; sleep 1; echo trained $((40 + 2))")
    found: list[TaskDeferred] = []
    both = [threading.Thread(target=lambda: found.append(waiting(place))) for _ in range(2)]

    for one in both:
        one.start()
    for one in both:
        one.join()
    event = event_of(found[0])
    place.is_committed = True
    result = resumed(place, event)

    shown = capsys.readouterr().out
    assert sorted(each.trigger.adopted for each in found) == [False, True]
    assert {each.trigger.submission_id for each in found} == {"twice-a1"} == {result["job"]}
    assert result["seconds"] >= 1.0
    assert (shown.count("lake here"), shown.count("trained 42")) == (1, 1)
    assert "trained 42" in place.logs["twice-a1"]


def a_job_that_fails_is_followed_by_the_next_attempt_and_stop_ends_that(real: RealHead) -> None:
    place = JobPlace(real.head.address, "fails", "echo no weights; exit 3")

    with pytest.raises(RayJobFailed, match="fails-a1: failed"):
        resumed(place, event_of(waiting(place)))
    place.command = "sleep 600"
    second = waiting(place)
    wait_for(real.head, "fails-a2", status=JobStatus.RUNNING)
    asyncio.run(second.trigger.on_kill())

    assert "no weights" in place.logs["fails-a1"]
    wait_for(real.head, "fails-a2", status=JobStatus.STOPPED)


def a_job_that_asks_for_what_is_not_there_fails_with_what_was_missing(real: RealHead) -> None:
    settings = {"num_gpus": 3.0, "resources": {"trainer": 1.0}, "pending_deadline_s": 1.0}
    place = JobPlace(real.head.address, "waits", "true", settings)

    with pytest.raises(RayJobFailed, match=r"pending_too_long.*GPU 3 of 0, trainer 1 of 0"):
        resumed(place, event_of(waiting(place)))

    # Ray keeps a stopped job pending until it could start: the retry waits for it instead of adding a second.
    assert waiting(place).trigger.submission_id == "waits-a1"


def a_taken_id_and_an_unknown_job_are_told_apart(real: RealHead) -> None:
    real.head.ask(ray_jobs.submit(JobRequest("taken", "true")))

    with pytest.raises(DuplicateJob, match="taken already exists"):
        real.head.ask(ray_jobs.submit(JobRequest("taken", "true")))
    with pytest.raises(JobNotFound, match="absent does not exist"):
        real.head.ask(ray_jobs.status("absent"))
    assert real.head.ask(ray_jobs.version()) == "2.55.0"


@pytest.mark.e2e
def test_a_real_head_takes_stops_and_refuses_jobs_as_the_operator_expects(
    real: RealHead, capsys: pytest.CaptureFixture[str]
) -> None:
    # One test: a head costs too much to be started in every process that runs tests.
    two_submit_the_same_at_once_and_one_job_runs_whose_log_is_shown(real, capsys)
    a_job_that_fails_is_followed_by_the_next_attempt_and_stop_ends_that(real)
    a_job_that_asks_for_what_is_not_there_fails_with_what_was_missing(real)
    a_taken_id_and_an_unknown_job_are_told_apart(real)


@pytest.mark.e2e
def test_killed_in_the_middle_and_started_again_the_head_gets_the_next_attempt(real: RealHead) -> None:
    place = JobPlace(real.head.address, "survives", "sleep 600")
    first = waiting(place)
    wait_for(real.head, "survives-a1", status=JobStatus.RUNNING)

    real.kill()
    silent = event_of(first)
    with pytest.raises(RayJobFailed, match="unreachable, no Ray head answers"):
        resumed(place, silent)
    with pytest.raises(RayUnreachable):
        waiting(place)
    real.start()
    lost = event_of(first)
    with pytest.raises(RayJobFailed, match="survives-a1: lost"):
        resumed(place, lost)

    assert waiting(place).trigger.submission_id == "survives-a2"
