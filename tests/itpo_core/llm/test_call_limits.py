"""Deadlines hold however a server stalls; no more calls go out at once than are allowed; no key gets out."""

import logging
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace

import pytest

from itpo_core.llm.base import CallStatus
from itpo_core.llm.cassettes import Cassette, Recording
from itpo_core.llm.openai_model import OpenAiModel
from itpo_core.llm.openai_settings import OpenAiSettings
from tests.itpo_core.llm.questions import KEY, QUESTION, SETTINGS, model, numbered, patience
from tests.llm_server import Deed, Misdeeds, serving

# Far above what a loaded machine adds, far below what the server would take.
SOON_S = 5.0


@pytest.mark.parametrize("deed", [Deed.HANG, Deed.DRIP])
def test_a_server_that_hangs_or_drips_is_cut_at_the_deadline(deed: Deed) -> None:
    # A byte at a time would take half a minute, and no single read ever waits long.
    misdeeds = Misdeeds([deed], drip_s=0.1)
    with model(settings=patience(0.3), misdeeds=misdeeds) as (_, speaker):
        started_s = time.monotonic()
        call = speaker.ask(QUESTION)

    assert (call.status, call.answer, call.tries) == (CallStatus.TIMED_OUT, None, 1)
    assert "no whole answer within 0.3 s and 1 requests" in call.cause
    assert 0.3 <= time.monotonic() - started_s < SOON_S
    assert call.cost_usd is None


def test_a_request_that_hangs_is_tried_again_within_the_deadline() -> None:
    with model(Deed.HANG, settings=patience(20, try_s=0.3)) as (server, speaker):
        call = speaker.ask(QUESTION)

    assert (call.status, call.tries, call.notes) == (CallStatus.ANSWERED, 2, ("hung",))
    assert call.cost_usd is None
    assert len(server.requests) == 2


def test_a_server_that_hangs_at_every_try_is_a_time_out() -> None:
    with model(*[Deed.HANG] * 9, settings=patience(20, try_s=0.1)) as (_, speaker):
        call = speaker.ask(QUESTION)

    assert (call.status, call.tries, call.notes) == (CallStatus.TIMED_OUT, 3, ("hung",) * 3)


def test_tries_and_waits_are_inside_the_deadline() -> None:
    slow = replace(patience(0.4), patience=replace(patience(0.4).patience, tries=999, first_wait_s=0.05))
    with model(settings=slow, misdeeds=Misdeeds(chances={Deed.DOWN: 1.0})) as (_, speaker):
        call = speaker.ask(QUESTION)

    assert call.status is CallStatus.TIMED_OUT
    assert "the last trouble: status 500: out of order" in call.cause


def test_a_retry_after_is_respected() -> None:
    with model(misdeeds=Misdeeds([Deed.BUSY_WAIT], retry_after_s=0.4)) as (_, speaker):
        started_s = time.monotonic()
        call = speaker.ask(QUESTION)

    assert (call.status, call.tries) == (CallStatus.ANSWERED, 2)
    assert time.monotonic() - started_s >= 0.4


def test_a_retry_after_past_the_deadline_ends_the_call_at_once() -> None:
    with model(misdeeds=Misdeeds([Deed.BUSY_WAIT], retry_after_s=60)) as (_, speaker):
        started_s = time.monotonic()
        call = speaker.ask(QUESTION)

    assert (call.status, call.tries) == (CallStatus.TIMED_OUT, 1)
    assert "asks to wait 60 s, past the deadline of 20 s" in call.cause
    assert time.monotonic() - started_s < SOON_S


def test_no_more_calls_go_out_at_once_than_are_allowed() -> None:
    settings = replace(SETTINGS, concurrency=3)
    with model(settings=settings, latency_s=0.05) as (server, speaker), ThreadPoolExecutor(12) as pool:
        calls = list(pool.map(speaker.ask, numbered(range(12))))

    assert {call.status for call in calls} == {CallStatus.ANSWERED}
    assert (server.most_open, len(server.requests)) == (3, 12)


def test_connections_are_kept_for_later_calls() -> None:
    settings = replace(SETTINGS, concurrency=3)
    with model(settings=settings) as (server, speaker), ThreadPoolExecutor(3) as pool:
        calls = list(pool.map(speaker.ask, numbered(range(12))))

    assert {call.status for call in calls} == {CallStatus.ANSWERED}
    assert len(server.requests) == 12
    assert 1 <= len(server.callers) <= 3


def test_two_models_can_share_their_places() -> None:
    places = threading.BoundedSemaphore(2)
    with serving(lambda request: {"reply": "a tent", "is_over": True}, latency_s=0.05) as server:
        here = replace(SETTINGS, address=server.address)
        first, second = (OpenAiModel(here, places=places) for _ in range(2))
        with closing(first), closing(second), ThreadPoolExecutor(8) as pool:
            asking = [pool.submit(each.ask, QUESTION) for each in (first, second) * 4]
            statuses = {each.result().status for each in asking}

    assert statuses == {CallStatus.ANSWERED}
    assert server.most_open == 2


def test_nobody_listening_is_a_failed_call() -> None:
    with serving(lambda request: {}) as server:
        address = server.address
    with closing(OpenAiModel(replace(SETTINGS, address=address))) as speaker:
        call = speaker.ask(QUESTION)

    assert (call.status, call.tries, call.notes) == (CallStatus.FAILED, 3, ("connection",) * 3)
    assert address in call.cause


@pytest.mark.parametrize("deed", [Deed.BAD_KEY, Deed.TELLS_KEY, Deed.DOWN, Deed.NO_JSON_BODY, Deed.GOOD])
def test_the_key_is_in_no_cause_cassette_log_or_text(deed: Deed, caplog: pytest.LogCaptureFixture) -> None:
    cassette = Cassette()
    with caplog.at_level(logging.DEBUG), model(*[deed] * 9) as (server, speaker):
        call = Recording(speaker, cassette).ask(QUESTION)
        shown = [repr(speaker), str(vars(speaker).get("_settings")), repr(call), str(cassette.rows())]

    assert {each.key for each in server.requests} == {KEY}
    assert caplog.text
    assert all(KEY not in text for text in (*shown, caplog.text))


def test_an_answer_that_repeats_the_key_fails_and_says_why() -> None:
    with model(Deed.TELLS_KEY) as (_, speaker):
        call = speaker.ask(QUESTION)

    assert (call.status, call.answer) == (CallStatus.FAILED, None)
    assert call.cause == "the answer repeats the API key: have another key made"


def test_a_defect_of_the_question_is_raised_without_the_key() -> None:
    with (
        model() as (server, speaker),
        pytest.raises(ValueError, match="additionalProperties false") as raised,
    ):
        speaker.ask(replace(QUESTION, answer_schema={"type": "object", "properties": {}, "required": []}))

    assert KEY not in "".join(traceback.format_exception(raised.value))
    assert server.requests == []


def test_variables_of_the_client_change_nothing_that_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.setenv(name, "from-elsewhere")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    with model(api_key=None) as (server, speaker):
        call = speaker.ask(QUESTION)

    assert call.status is CallStatus.ANSWERED
    assert "from-elsewhere" not in str(server.requests[0].headers)


def test_the_settings_have_no_place_for_a_key() -> None:
    assert "key" not in " ".join(OpenAiSettings.__dataclass_fields__)
