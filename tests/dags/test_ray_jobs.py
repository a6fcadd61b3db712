"""The client of Ray's Jobs API against a head that misbehaves."""

import asyncio
from collections.abc import Iterator

import pytest

from dags import ray_jobs
from dags.ray_jobs import (
    DuplicateJob,
    JobNotFound,
    JobRequest,
    JobStatus,
    RayHead,
    RayMalformed,
    RayRefused,
    RayTrouble,
    RayUnreachable,
)
from tests.dags.fake_ray_head import FakeHead, fake_head

REQUEST = JobRequest(
    "one", "true", env={"ITPO_LAKE": "/lake"}, metadata={"who": "us"}, resources={"GPU": 2.0}
)


@pytest.fixture
def fake() -> Iterator[FakeHead]:
    with fake_head() as head:
        yield head


def test_a_job_goes_from_submission_to_its_end(fake: FakeHead) -> None:
    head = RayHead(fake.address)

    assert head.ask(ray_jobs.submit(REQUEST)) == "one"
    looks = [head.ask(ray_jobs.status("one")) for _ in range(2)]

    assert [look.status for look in looks] == [JobStatus.RUNNING, JobStatus.SUCCEEDED]
    assert looks[-1].metadata == {"who": "us"}
    assert (looks[-1].began_s, looks[-1].ended_s) == (1000.0, 1002.0)
    assert head.ask(ray_jobs.logs("one")) == "epoch 1\nepoch 2\n"
    assert [job.submission_id for job in head.ask(ray_jobs.jobs())] == ["one"]
    assert head.ask(ray_jobs.stop("one")) is True


def test_what_is_sent_is_what_ray_reads(fake: FakeHead) -> None:
    request = JobRequest("one", "true", resources={"GPU": 2.0, "CPU": 1.0, "trainer": 0.5})

    RayHead(fake.address).ask(ray_jobs.submit(request))

    (sent,) = fake.submitted
    assert (sent["entrypoint_num_cpus"], sent["entrypoint_num_gpus"]) == (1.0, 2.0)
    assert sent["entrypoint_resources"] == {"trainer": 0.5}
    assert sent["runtime_env"] == {"env_vars": {}}


def test_both_forms_ask_the_same(fake: FakeHead) -> None:
    head = RayHead(fake.address)
    fake.add("one", fate=["RUNNING"], metadata={})

    assert asyncio.run(head.ask_async(ray_jobs.status("one"))) == head.ask(ray_jobs.status("one"))
    with pytest.raises(JobNotFound, match="Job two does not exist"):
        asyncio.run(head.ask_async(ray_jobs.status("two")))


def test_a_taken_id_is_told_from_other_refusals(fake: FakeHead) -> None:
    head = RayHead(fake.address)
    head.ask(ray_jobs.submit(REQUEST))

    with pytest.raises(DuplicateJob, match="submission_id one already exists"):
        head.ask(ray_jobs.submit(REQUEST))


@pytest.mark.parametrize(
    ("code", "text", "error", "message"),
    [
        (500, "Traceback\nTimeoutError: no agent\n.", RayRefused, "500, TimeoutError: no agent"),
        (503, "", RayRefused, "503, without a word"),
        (404, "<html>not here</html>", RayRefused, "404"),
        (200, "<html>a proxy</html>", RayMalformed, "a proxy"),
        (200, '{"jobs": []}', RayMalformed, "is ray.address the dashboard's"),
        (200, '[{"type": "SUBMISSION", "submission_id": "x", "status": "DANCING"}]', RayMalformed, "DANCING"),
        (200, "null", RayMalformed, "null"),
    ],
)
def test_an_unusable_answer_is_named(
    fake: FakeHead, code: int, text: str, error: type[RayTrouble], message: str
) -> None:
    fake.instead = [("/api/jobs/", code, text)]

    with pytest.raises(error, match=message):
        RayHead(fake.address).ask(ray_jobs.jobs())


@pytest.mark.parametrize("address", ["http://127.0.0.1:1", "127.0.0.1:8265", "http://"])
def test_a_head_that_nobody_reaches_is_named_with_the_remedy(address: str) -> None:
    with pytest.raises(RayUnreachable, match=r"correct ray\.address"):
        RayHead(address, timeout_s=5.0).ask(ray_jobs.version())


def test_variables_of_a_job_are_in_no_text_about_it() -> None:
    assert "/lake" not in repr(REQUEST)


def test_totals_of_the_cluster_are_read(fake: FakeHead) -> None:
    assert RayHead(fake.address).ask(ray_jobs.resources()) == {"CPU": 2.0}
