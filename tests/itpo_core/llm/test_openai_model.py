"""A model behind a server that misbehaves: every line of what can go wrong, and what it comes to."""

import re
from dataclasses import replace

import pytest

from itpo_core.llm.base import CallStatus
from itpo_core.llm.openai_model import OpenAiModel
from itpo_core.llm.openai_settings import AnswerForm, OpenAiSettings, Patience, Prices
from itpo_core.llm.spending import Spending
from tests.itpo_core.llm.questions import (
    KEY,
    QUESTION,
    REQUEST_USD,
    SCHEMA,
    SETTINGS,
    asked_once,
    model,
    numbered,
)
from tests.llm_server import Deed

TENT = {"reply": "a tent", "is_over": False}


def test_an_answer_comes_with_what_it_took() -> None:
    call = asked_once()

    assert (call.status, call.answer, call.cause) == (CallStatus.ANSWERED, TENT, "")
    assert (call.tries, call.prompt_tokens, call.completion_tokens) == (1, 100, 10)
    assert call.cost_usd == pytest.approx(REQUEST_USD)
    assert (call.model, call.notes) == ("served-1", ())


@pytest.mark.parametrize(
    ("deed", "note"),
    [
        (Deed.BUSY, "status_429"),
        (Deed.DOWN, "status_500"),
        (Deed.RESET, "connection"),
        (Deed.NO_JSON_BODY, "wrong_envelope"),
        (Deed.EMPTY, "empty"),
        (Deed.NO_CONTENT, "empty"),
        (Deed.NO_JSON, "no_json"),
        (Deed.CHATTY, "no_json"),
        (Deed.HALF, "no_json"),
        (Deed.WRONG_KEYS, "wrong_shape"),
        (Deed.WRONG_TYPES, "wrong_shape"),
        (Deed.TWO_REPLIES, "choices"),
    ],
)
def test_what_may_pass_is_asked_again_and_noted(deed: Deed, note: str) -> None:
    call = asked_once(deed)

    assert (call.status, call.answer, call.tries) == (CallStatus.ANSWERED, TENT, 2)
    assert note in call.notes


@pytest.mark.parametrize(
    ("deed", "requests", "cause"),
    [
        (Deed.BUSY, 3, "status 429: slow down.*given up after 3 tries"),
        (Deed.DOWN, 3, "status 500: out of order.*given up after 3 tries"),
        (Deed.RESET, 3, "ConnectionResetError.*reset by peer; given up after 3 tries"),
        (Deed.QUOTA, 1, "no money left.*the quota is used up"),
        (Deed.MOVED, 1, "status 307: not here.*write the address"),
        (Deed.BAD_KEY, 1, "status 401: wrong key.*set the variable"),
        (Deed.NO_JSON_BODY, 2, "the server's answer is no JSON: '<html>.*asked 2 times"),
        (Deed.EMPTY, 2, "the answer is empty"),
        (Deed.NO_JSON, 2, "'I would rather talk"),
        (Deed.HALF, 2, '\'{"reply":'),
        (Deed.WRONG_KEYS, 2, "answer lacks 'reply'"),
        (Deed.WRONG_TYPES, 2, "answer.reply is list .*not string"),
        (Deed.TWO_REPLIES, 2, "2 choices where one was asked for"),
        (Deed.TOO_LONG, 1, "cut at the limit of 50 tokens .finish_reason length."),
    ],
)
def test_what_does_not_pass_is_a_failed_call_with_its_cause(deed: Deed, requests: int, cause: str) -> None:
    call = asked_once(*[deed] * 9)

    assert (call.status, call.answer, call.tries) == (CallStatus.FAILED, None, requests)
    assert re.search(cause, call.cause), call.cause


@pytest.mark.parametrize("deed", [Deed.REFUSAL, Deed.FILTERED, Deed.FILTERED_PROMPT])
def test_a_model_that_declines_abstains_and_is_not_asked_again(deed: Deed) -> None:
    call = asked_once(deed)

    assert (call.status, call.answer, call.tries) == (CallStatus.ABSTAINED, None, 1)
    assert "refused" in call.cause or "filter" in call.cause


@pytest.mark.parametrize("form", ["json_schema", "json_object", "text"])
def test_an_object_in_a_fence_is_taken_and_noted_in_every_form(form: AnswerForm) -> None:
    call = asked_once(Deed.FENCED, settings=replace(SETTINGS, answer_form=form))

    assert (call.answer, call.tries, call.notes) == (TENT, 1, ("fenced",))


def test_words_around_the_object_are_looked_past_only_where_text_was_asked_for() -> None:
    as_text = asked_once(Deed.CHATTY, settings=replace(SETTINGS, answer_form="text"))
    strict = asked_once(Deed.CHATTY)

    assert (as_text.answer, as_text.tries, as_text.notes) == (TENT, 1, ("extracted",))
    assert (strict.answer, strict.tries, strict.notes) == (TENT, 2, ("no_json",))


def test_a_question_that_is_asked_again_has_another_seed_and_one_that_is_tried_again_the_same() -> None:
    with model(Deed.DOWN, Deed.EMPTY) as (server, speaker):
        speaker.ask(QUESTION)

    seeds = [each.body["seed"] for each in server.requests]
    assert seeds[:2] == [7, 7]
    assert seeds[2] != 7


def test_tokens_and_cost_are_of_all_requests() -> None:
    call = asked_once(Deed.EMPTY)

    assert (call.prompt_tokens, call.completion_tokens) == (200, 20)
    assert call.cost_usd == pytest.approx(2 * REQUEST_USD)


def test_an_unknown_price_or_uncounted_tokens_are_an_unknown_cost_and_never_zero() -> None:
    unpriced = asked_once(settings=replace(SETTINGS, prices=None))
    uncounted = asked_once(Deed.NO_USAGE)
    free = asked_once(settings=replace(SETTINGS, prices=Prices(0.0, 0.0)))

    assert (unpriced.prompt_tokens, unpriced.cost_usd) == (100, None)
    assert (uncounted.cost_usd, uncounted.notes) == (None, ("no_usage",))
    assert free.cost_usd == 0.0


def test_past_the_cost_cap_nothing_is_sent() -> None:
    spending = Spending(cap_usd=1.5 * REQUEST_USD)
    with model(spending=spending) as (server, speaker):
        calls = [speaker.ask(question) for question in numbered(range(4))]

    assert [call.status for call in calls] == [CallStatus.ANSWERED] * 2 + [CallStatus.FAILED] * 2
    assert "cost cap: 0.0002 of 0.0002 US dollars" in calls[2].cause
    assert (len(server.requests), calls[2].tries, calls[2].cost_usd) == (2, 0, 0.0)


def test_two_models_spend_from_one_purse() -> None:
    spending = Spending(cap_usd=0.5 * REQUEST_USD)
    with model(spending=spending) as (_, speaker), model(spending=spending) as (server, judge):
        first, second = speaker.ask(QUESTION), judge.ask(QUESTION)

    assert (first.status, second.status) == (CallStatus.ANSWERED, CallStatus.FAILED)
    assert server.requests == []


def test_a_cap_without_prices_is_refused() -> None:
    with pytest.raises(ValueError, match="has no prices: a cost cap cannot hold"):
        OpenAiModel(replace(SETTINGS, prices=None), spending=Spending(cap_usd=1.0))


def test_a_model_that_changed_since_the_first_answer_fails_the_call() -> None:
    with model(Deed.GOOD, Deed.OTHER_MODEL, Deed.GOOD) as (_, speaker):
        calls = [speaker.ask(question) for question in numbered(range(3))]

    assert [call.status for call in calls] == [CallStatus.ANSWERED, CallStatus.FAILED, CallStatus.ANSWERED]
    assert "model 'served-2' answered where 'served-1' did before" in calls[1].cause
    assert (calls[1].model, calls[1].notes) == ("served-2", ("model_changed",))


def test_a_changed_model_may_be_taken_but_not_unnoticed() -> None:
    settings = replace(SETTINGS, model_change="note")
    with model(Deed.GOOD, Deed.OTHER_MODEL, Deed.NO_MODEL, settings=settings) as (_, speaker):
        calls = [speaker.ask(question) for question in numbered(range(3))]

    assert [call.status for call in calls] == [CallStatus.ANSWERED] * 3
    assert [call.notes for call in calls] == [(), ("model_changed",), ("model_unnamed",)]


def test_the_name_of_the_model_can_be_fixed_from_the_start() -> None:
    call = asked_once(settings=replace(SETTINGS, served_model="served-0"))

    assert (call.status, call.notes) == (CallStatus.FAILED, ("model_changed",))


def test_the_strict_form_sends_the_schema_and_the_sampling() -> None:
    with model() as (server, speaker):
        speaker.ask(QUESTION)

    body = server.requests[0].body
    assert body["response_format"]["json_schema"] == {"name": "answer", "strict": True, "schema": SCHEMA}
    assert (body["model"], body["seed"], body["temperature"], body["max_tokens"]) == ("asked-1", 7, 0.5, 50)
    assert [each["role"] for each in body["messages"]] == ["system", "user"]


def test_the_other_forms_say_the_schema_in_the_one_system_message() -> None:
    settings = replace(SETTINGS, answer_form="text", token_limit="max_completion_tokens")
    with model(settings=settings) as (server, speaker):
        speaker.ask(QUESTION)
        speaker.ask(replace(QUESTION, messages=QUESTION.messages[1:]))

    first, second = (each.body for each in server.requests)
    assert "response_format" not in first
    assert first["max_completion_tokens"] == 50
    assert [each["role"] for each in first["messages"]] == ["system", "user"]
    assert first["messages"][0]["content"].startswith("You want a tent.\n\nAnswer with one JSON object")
    assert [each["role"] for each in second["messages"]] == ["system", "user"]


def test_the_key_is_sent_and_without_one_no_header_is() -> None:
    with model() as (with_key, speaker):
        speaker.ask(QUESTION)
    with model(api_key=None) as (without_key, speaker):
        speaker.ask(QUESTION)

    assert with_key.requests[0].key == KEY
    assert "authorization" not in without_key.requests[0].headers


def test_the_digest_is_of_what_can_change_an_answer() -> None:
    patient = replace(
        SETTINGS, patience=replace(SETTINGS.patience, deadline_s=99), concurrency=1, prices=None
    )
    other = [
        replace(SETTINGS, model="asked-2"),
        replace(SETTINGS, address="http://127.0.0.1:2/v1"),
        replace(SETTINGS, answer_form="text"),
        replace(SETTINGS, patience=replace(SETTINGS.patience, askings=1)),
    ]

    assert patient.digest == SETTINGS.digest
    assert len({SETTINGS.digest, *(each.digest for each in other)}) == 5


@pytest.mark.parametrize(
    "address", ["127.0.0.1:8000", "ftp://host/v1", "http://", "http://me:secret@host/v1"]
)
def test_an_address_that_is_none_or_holds_a_secret_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="address") as refused:
        OpenAiSettings(address, "m")

    assert "secret" not in str(refused.value)


def test_impossible_numbers_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="try_s 0"):
        Patience(try_s=0)
    with pytest.raises(ValueError, match="askings 0"):
        Patience(askings=0)
    with pytest.raises(ValueError, match="concurrency 0"):
        OpenAiSettings("http://host/v1", "m", concurrency=0)
    with pytest.raises(ValueError, match="none may be below 0"):
        Prices(-1.0, 0.0)
    with pytest.raises(ValueError, match="cost cap of 0"):
        Spending(cap_usd=0.0)
