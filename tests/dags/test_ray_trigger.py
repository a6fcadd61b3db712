"""The trigger: what it shows, when it fires, and that a restart stops nothing where a person's act does."""

import asyncio
import multiprocessing
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
from airflow.jobs.triggerer_job_runner import TriggerRunner
from airflow.sdk._shared.module_loading import import_string

from dags.ray_trigger import RayJobTrigger
from tests.dags.fake_ray_head import FakeHead, fake_head

SOON_S = 3600.0


@pytest.fixture
def fake() -> Iterator[FakeHead]:
    with fake_head() as head:
        yield head


def watching(fake: FakeHead, **changes: Any) -> RayJobTrigger:
    now_s = time.time()
    usual = {
        "address": fake.address, "submission_id": "one", "pending_until_s": now_s + SOON_S,
        "until_s": now_s + SOON_S, "poll_s": 0.01, "unreachable_s": 0.3, "wanted": {"GPU": 8.0},
        "adopted": False,
    }  # fmt: skip
    return RayJobTrigger(**(usual | changes))


def fired(trigger: RayJobTrigger) -> dict[str, Any]:
    async def first() -> dict[str, Any]:
        return (await anext(trigger.run())).payload

    return asyncio.run(first())


@pytest.mark.parametrize("end", ["SUCCEEDED", "FAILED", "STOPPED"])
def test_it_fires_once_when_the_job_has_ended(fake: FakeHead, end: str) -> None:
    fake.add("one", fate=["PENDING", "RUNNING", "RUNNING", end], metadata={})

    report = fired(watching(fake))

    assert (report["outcome"], report["submission_id"]) == (end.lower(), "one")
    assert fake.stopped == []


def test_new_lines_are_shown_once_and_the_last_one_unfinished(
    fake: FakeHead, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.add("one", fate=["RUNNING"], metadata={})
    trigger = watching(fake)

    for fake.logs in ("step 1\nstep", "step 1\nstep 2\n", "step 1\nstep 2\n", "step 1\nstep 2\nstep 3"):
        asyncio.run(trigger.look())
    fake.jobs["one"]["fate"] = ["SUCCEEDED"]
    asyncio.run(trigger.look())

    assert re.findall(r"\bstep ?\d*", capsys.readouterr().out) == ["step 1", "step 2", "step 3"]


def test_a_job_that_never_starts_is_stopped_and_what_was_missing_is_said(fake: FakeHead) -> None:
    fake.add("one", fate=["PENDING"], metadata={})

    report = fired(watching(fake, pending_until_s=time.time() + 0.1))

    assert report["outcome"] == "pending_too_long"
    assert "GPU 8 of 0" in report["message"]
    assert fake.stopped == ["one"]


def test_a_job_that_runs_too_long_is_stopped(fake: FakeHead) -> None:
    fake.add("one", fate=["RUNNING"], metadata={})

    report = fired(watching(fake, until_s=time.time() + 0.1))

    assert report["outcome"] == "timed_out"
    assert fake.stopped == ["one"]


def test_a_job_that_the_head_forgot_is_lost(fake: FakeHead) -> None:
    fake.add("one", fate=["RUNNING", "LOST"], metadata={})

    report = fired(watching(fake))

    assert report["outcome"] == "lost"
    assert "the head that ran it is gone" in report["message"]


def test_errors_in_between_are_waited_out(fake: FakeHead, capsys: pytest.CaptureFixture[str]) -> None:
    fake.add("one", fate=["RUNNING", "SUCCEEDED"], metadata={})
    fake.instead = [("/one", 500, "GcsUnavailable: later"), ("/one", 200, "<html>")]

    report = fired(watching(fake, unreachable_s=60.0))

    assert report["outcome"] == "succeeded"
    assert "GcsUnavailable: later" in capsys.readouterr().out


def test_a_head_that_stays_silent_is_given_up(fake: FakeHead) -> None:
    report = fired(watching(fake, address="http://127.0.0.1:1", unreachable_s=0.1))

    assert report["outcome"] == "unreachable"
    assert "correct ray.address" in report["message"]


def test_killed_and_made_again_from_what_was_serialised_it_watches_the_same_job(fake: FakeHead) -> None:
    fake.add("one", fate=["RUNNING"], metadata={})
    path, arguments = watching(fake).serialize()

    first = multiprocessing.get_context("fork").Process(target=fired, args=(watching(fake),))
    first.start()
    while len(fake.asked) < 4:
        time.sleep(0.01)
    first.kill()
    first.join()
    fake.jobs["one"]["fate"] = ["SUCCEEDED"]
    report = fired(import_string(path)(**arguments))

    assert first.exitcode == -9
    assert report["outcome"] == "succeeded"
    assert (fake.stopped, fake.submitted) == ([], [])


async def cancelled(trigger: RayJobTrigger, *, by_a_person: bool) -> None:
    """Run in Airflow's own runner, then end as it ends triggers: by a person, or with the process."""
    runner = TriggerRunner()
    task = asyncio.ensure_future(runner.run_trigger(1, trigger))
    runner.triggers[1] = {"task": task, "is_watcher": False, "name": "one", "events": 0}
    await asyncio.sleep(0.2)
    if by_a_person:
        runner.to_cancel.append(1)
        await runner.cancel_triggers()
    else:
        task.cancel()
    await asyncio.wait([task])


@pytest.mark.parametrize(("by_a_person", "stopped"), [(True, ["one"]), (False, [])])
def test_a_persons_act_stops_the_job_and_the_end_of_the_triggerer_does_not(
    fake: FakeHead, by_a_person: bool, stopped: list[str]
) -> None:
    fake.add("one", fate=["RUNNING"], metadata={})

    asyncio.run(cancelled(watching(fake), by_a_person=by_a_person))

    assert fake.stopped == stopped


def test_stopping_is_tried_again_when_the_head_stumbles(fake: FakeHead) -> None:
    fake.add("one", fate=["RUNNING"], metadata={})
    fake.instead = [("/stop", 500, "GcsUnavailable: later")]

    asyncio.run(watching(fake).on_kill())

    assert fake.stopped == ["one"]
