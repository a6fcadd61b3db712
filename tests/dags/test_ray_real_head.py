"""The operator and its trigger against a real Ray head: what only Ray itself can answer."""

import asyncio
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from airflow.sdk._shared.module_loading import import_string
from airflow.sdk.exceptions import TaskDeferred

from dags import ray_jobs
from dags.ray_attempts import JobName
from dags.ray_job import RayJobFailed, RayJobOperator
from dags.ray_jobs import (
    DuplicateJob,
    JobNotFound,
    JobRequest,
    JobStatus,
    RayHead,
    RayTrouble,
    RayUnreachable,
)
from dags.ray_trigger import RayJobTrigger
from tasks.cluster import StageJob
from tasks.config_ray import Ray
from tests.dags.real_ray_head import RealHead

pytestmark = pytest.mark.timeout(1800)  # a busy machine takes minutes for what an idle one does in seconds
OWNER = {"itpo.experiment": "shop"}
ENDED_S = 240.0


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
        settings = Ray.model_validate({"poll_s": 0.2, **self.settings})
        return StageJob(settings, self.address, self.prefix, self.command, OWNER, {"ITPO_LAKE": "here"})

    def attempts_on_record(self, name: JobName) -> int:
        return max((name.attempt(each) or 0 for each in self.logs), default=0)

    def keep_log(self, head: RayHead, event: dict[str, Any]) -> None:
        if event["outcome"] == "unreachable":
            return
        try:
            self.logs[event["submission_id"]] = head.ask(ray_jobs.logs(event["submission_id"]))
        except (JobNotFound, RayUnreachable):
            self.logs[event["submission_id"]] = event["outcome"]


class Told(RayJobOperator):
    """The operator in that place."""

    told: JobPlace

    def place(self, context: object) -> JobPlace:
        return self.told


def operator(place: JobPlace) -> Told:
    task = Told(task_id="train_policy")
    task.told = place
    return task


def waiting(place: JobPlace) -> RayJobTrigger:
    """What the task waits with; tried again as Airflow would while a busy head has no answer yet."""
    deadline = time.monotonic() + ENDED_S
    while True:
        try:
            operator(place).execute({})
        except TaskDeferred as deferral:
            return deferral.trigger
        except RayTrouble:
            if time.monotonic() > deadline:
                raise
        time.sleep(1.0)


def resumed(place: JobPlace, event: dict[str, Any]) -> dict[str, Any]:
    return operator(place).resume({}, event)


def event_of(trigger: RayJobTrigger) -> dict[str, Any]:
    async def first() -> dict[str, Any]:
        return (await anext(trigger.run())).payload

    return asyncio.run(first())


def made_again(trigger: RayJobTrigger) -> RayJobTrigger:
    """As another triggerer makes it after the first was killed."""
    path, arguments = trigger.serialize()
    return import_string(path)(**arguments)


def wait_for(head: RayHead, submission_id: str, *, status: JobStatus) -> None:
    deadline = time.monotonic() + ENDED_S
    while (found := head.ask(ray_jobs.status(submission_id))).status is not status:
        assert time.monotonic() < deadline, found
        time.sleep(0.1)


def wait_for_totals(head: RayHead) -> None:
    """Until the head has counted what its nodes have."""
    deadline = time.monotonic() + ENDED_S
    while True:
        try:
            assert head.ask(ray_jobs.resources())["CPU"] == 2.0
            return
        except RayTrouble:
            assert time.monotonic() < deadline
            time.sleep(0.2)


def two_submit_the_same_at_once_and_one_job_runs_whose_log_is_shown(
    real: RealHead, capsys: pytest.CaptureFixture[str]
) -> None:
    place = JobPlace(real.head.address, "twice", "echo lake $ITPO_LAKE; sleep 1; echo trained $((40 + 2))")
    found: list[RayJobTrigger] = []
    both = [threading.Thread(target=lambda: found.append(waiting(place))) for _ in range(2)]

    for one in both:
        one.start()
    for one in both:
        one.join()
    event = event_of(found[0])
    with pytest.raises(RayJobFailed, match="no commit of train_policy in iteration 3"):
        resumed(place, event)
    place.is_committed = True
    result = resumed(place, event)

    shown = capsys.readouterr().out
    assert {each.submission_id for each in found} == {"twice-a1"} == {result["job"]}
    assert [job.submission_id for job in real.head.ask(ray_jobs.jobs())] == ["twice-a1"]
    assert any(each.adopted for each in found)
    assert result["seconds"] >= 1.0
    assert (shown.count("lake here"), shown.count("trained 42")) == (1, 1)
    assert "trained 42" in place.logs["twice-a1"]


def a_taken_id_and_an_unknown_job_are_told_apart(real: RealHead) -> None:
    with pytest.raises(DuplicateJob, match="twice-a1 already exists"):
        real.head.ask(ray_jobs.submit(JobRequest("twice-a1", "true")))
    with pytest.raises(JobNotFound, match="absent does not exist"):
        real.head.ask(ray_jobs.status("absent"))
    assert real.head.ask(ray_jobs.version()) == "2.55.0"


def a_job_that_asks_for_what_is_not_there_fails_with_what_was_missing(real: RealHead) -> None:
    settings = {"num_gpus": 3.0, "resources": {"trainer": 1.0}, "pending_deadline_s": 1.0}
    place = JobPlace(real.head.address, "waits", "true", settings)
    wait_for_totals(real.head)

    with pytest.raises(RayJobFailed, match=r"pending_too_long.*GPU 3 of 0, trainer 1 of 0"):
        resumed(place, event_of(waiting(place)))

    # Ray keeps a stopped job pending until it could start: the retry waits for it instead of adding a second.
    assert waiting(place).submission_id == "waits-a1"


def a_job_that_fails_is_followed_by_the_next_attempt(real: RealHead, place: JobPlace) -> None:
    with pytest.raises(RayJobFailed, match="goes-a1: failed"):
        resumed(place, event_of(waiting(place)))
    place.command = "sleep 600"
    second = waiting(place)

    wait_for(real.head, "goes-a2", status=JobStatus.RUNNING)
    assert (second.submission_id, second.adopted) == ("goes-a2", False)
    assert "no weights" in place.logs["goes-a1"]


def killed_in_the_middle_and_started_again_the_head_gets_the_next_attempt(
    real: RealHead, place: JobPlace
) -> None:
    place.settings = {"unreachable_s": 0.5}
    running = waiting(place)

    real.kill()
    silent = event_of(running)
    with pytest.raises(RayJobFailed, match="goes-a2: unreachable, no Ray head answers"):
        resumed(place, silent)
    with pytest.raises(RayUnreachable, match=r"start it, or correct ray\.address"):
        operator(place).execute({})
    real.start()
    place.settings = {}
    lost = event_of(made_again(running))
    with pytest.raises(RayJobFailed, match="goes-a2: lost"):
        resumed(place, lost)

    assert running.adopted
    assert waiting(place).submission_id == "goes-a3"


def a_persons_act_stops_the_job(real: RealHead, place: JobPlace) -> None:
    wait_for(real.head, "goes-a3", status=JobStatus.RUNNING)

    asyncio.run(made_again(waiting(place)).on_kill())

    wait_for(real.head, "goes-a3", status=JobStatus.STOPPED)
    assert [job.submission_id for job in real.head.ask(ray_jobs.jobs())] == ["goes-a3"]


@pytest.mark.slow
def test_a_real_head_takes_loses_stops_and_refuses_jobs_as_the_operator_expects(
    real: RealHead, capsys: pytest.CaptureFixture[str]
) -> None:
    # One test: a head costs too much to be started in every process that runs tests.
    two_submit_the_same_at_once_and_one_job_runs_whose_log_is_shown(real, capsys)
    a_taken_id_and_an_unknown_job_are_told_apart(real)
    a_job_that_asks_for_what_is_not_there_fails_with_what_was_missing(real)
    place = JobPlace(real.head.address, "goes", "echo no weights; exit 3")
    a_job_that_fails_is_followed_by_the_next_attempt(real, place)
    killed_in_the_middle_and_started_again_the_head_gets_the_next_attempt(real, place)
    a_persons_act_stops_the_job(real, place)
