"""Every rule of the simulated customer, with its dice loaded, and the dice themselves."""

import pytest

from itpo_core.envs.base import Reply
from itpo_core.envs.sales_customer import Customer
from itpo_core.types import Failure, FailureKind, StopReason
from tests.itpo_core.envs.sales_scenes import EVASIVE, IMPATIENT, LAPTOP, PATIENT, SMALL, reply_of, said

PHRASES = SMALL.phrases
ASKS_USE = "what use do you want ?"
EVERY_SEED = range(400)


def test_a_proper_question_gets_the_fact() -> None:
    replies = {reply_of(PATIENT, ASKS_USE, seed=seed).text for seed in range(50)}

    assert replies == {"work please .", "i want work .", "it should be work .", "work i think ."}


def test_an_evasive_customer_tells_nothing_and_can_be_asked_again() -> None:
    assert reply_of(EVASIVE, ASKS_USE).text in PHRASES.evasion
    assert reply_of(PATIENT, ASKS_USE, "not sure about that yet .", ASKS_USE).text != "i already told you ."


def test_an_irrelevant_question_is_answered_like_any_other() -> None:
    replies = {reply_of(PATIENT, "which color do you prefer ?", seed=seed).text for seed in range(50)}

    assert replies == {fact.format(value="red") for fact in PHRASES.fact}


def test_a_told_fact_is_not_told_again() -> None:
    assert reply_of(EVASIVE, ASKS_USE, "work please .", ASKS_USE).text in PHRASES.told_before


def test_a_volunteered_fact_counts_as_told() -> None:
    messages = said(ASKS_USE, opening="hi i need a laptop . i want work .")

    reply = Customer(LAPTOP, SMALL, seed=3).reply(messages)

    assert isinstance(reply, Reply)
    assert reply.text in PHRASES.told_before


def test_two_slots_at_once_are_refused() -> None:
    assert reply_of(PATIENT, "what budget and use ?").text == "one question at a time please ."


def test_small_talk_is_returned() -> None:
    assert reply_of(PATIENT, "what a lovely day today !").text in PHRASES.small_talk


@pytest.mark.parametrize("useless", ["what color ?", "what budget and use ?", "what a lovely day today !"])
def test_after_a_useless_turn_an_impatient_customer_leaves(useless: str) -> None:
    assert reply_of(IMPATIENT, useless) == Reply(None, StopReason.USER_LEFT)


def test_a_repeated_question_is_useless_too() -> None:
    assert reply_of(IMPATIENT, ASKS_USE, "work please .", ASKS_USE).stop is StopReason.USER_LEFT


def test_nobody_leaves_after_a_needed_question() -> None:
    stops = {reply_of(IMPATIENT, ASKS_USE, seed=seed).stop for seed in EVERY_SEED}

    assert stops == {None}


@pytest.mark.parametrize("text", ["i recommend a laptop", "i recommend nothing", "what size ? i recommend"])
def test_any_recommendation_ends_the_conversation(text: str) -> None:
    assert reply_of(IMPATIENT, text) == Reply(None, StopReason.COMPLETED)


def test_the_sixth_turn_is_the_last() -> None:
    chat = ["what a lovely day today !", "haha yes ."] * 6

    assert reply_of(PATIENT, *chat[:9]).stop is None
    assert reply_of(PATIENT, *chat[:11]) == Reply(None, StopReason.TURN_LIMIT)
    assert reply_of(PATIENT, *chat[:10], "i recommend a laptop").stop is StopReason.COMPLETED


def test_the_default_customer_evades_a_fifth_and_leaves_after_a_tenth() -> None:
    asked = [reply_of(SMALL.habits, ASKS_USE, seed=seed) for seed in EVERY_SEED]
    chatted = [reply_of(SMALL.habits, "nice day", seed=seed) for seed in EVERY_SEED]

    evaded = sum(reply.text in PHRASES.evasion for reply in asked) / 400
    left = sum(reply.stop is StopReason.USER_LEFT for reply in chatted) / 400
    assert abs(evaded - 0.2) < 0.08  # 4 standard errors
    assert abs(left - 0.1) < 0.06


def test_a_customer_who_is_not_spoken_to_fails_with_a_cause() -> None:
    customer = Customer(LAPTOP, SMALL, seed=0)

    failures = [customer.reply([]), customer.reply(said())]

    for failure in failures:
        assert isinstance(failure, Failure)
        assert failure.kind is FailureKind.USER_ERROR


def test_the_same_seed_makes_the_same_choices() -> None:
    texts = [reply_of(SMALL.habits, ASKS_USE, seed=seed) for seed in (5, 5, 6, 7, 8, 9)]

    assert texts[0] == texts[1]
    assert len(set(texts)) > 1
