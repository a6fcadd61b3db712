"""What is read off single answers, and the distances on numbers that can be checked by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest

from itpo_core.envs.base import Reply
from itpo_core.envs.catalogue import ENVIRONMENTS
from itpo_core.envs.user_acts import OTHER, USER_ACTS
from itpo_core.fidelity_distances import (
    halves,
    hazard,
    jensen_shannon,
    kolmogorov,
    mean_difference,
    part_where_any,
    resampled,
    survival,
    survivors,
    totals,
)
from itpo_core.fidelity_features import FEATURES, Reference, log_ratio, reference_of
from itpo_core.fidelity_spelling import Spelling, spelling_of
from itpo_core.fidelity_talks import Exchange, replayed, talk_of, words_of
from itpo_core.types import Message, Role, StopReason

USER, ASSISTANT = Role.USER, Role.ASSISTANT
HELLO = (Message(USER, "hi i need a bike ."), Message(ASSISTANT, "which color ?"))
NOBODY = Reference({}, {}, -1.0, -1.0, frozenset(), Spelling())


def value(name: str, said: str | None, *, heard: str = "", before: tuple[str, ...] = (), ends: bool = False):
    found = FEATURES[name].values((Exchange(2, heard, said, ends, before),), NOBODY)
    return found[0] if found else None


def test_every_answer_is_an_exchange_and_a_chosen_end_is_one_too() -> None:
    messages = [*HELLO, Message(USER, "red ."), Message(ASSISTANT, "take it .")]

    chosen, cut = (talk_of(messages, stop) for stop in (StopReason.COMPLETED, StopReason.TURN_LIMIT))

    assert chosen == (
        Exchange(0, "which color ?", "red .", False, ("hi i need a bike .",)),
        Exchange(1, "take it .", None, True, ("hi i need a bike .", "red .")),
    )
    assert cut == chosen[:1]


def test_last_words_that_end_a_conversation_end_it() -> None:
    (exchange,) = talk_of([*HELLO, Message(USER, "no , bye")], StopReason.USER_LEFT)

    assert (exchange.said, exchange.ends) == ("no , bye", True)


def test_what_the_assistant_says_in_several_messages_is_heard_as_one() -> None:
    messages = [*HELLO, Message(Role.TOOL, "{}"), Message(ASSISTANT, "and size ?"), Message(USER, "ok")]

    (exchange,) = talk_of(messages, StopReason.TURN_LIMIT)

    assert exchange.heard == "which color ?\nand size ?"


def test_a_user_in_a_logged_users_place_answers_what_that_one_heard() -> None:
    assert replayed(HELLO, 0, reply=Reply("red")) == Exchange(
        0, "which color ?", "red", False, (HELLO[0].content,)
    )
    assert replayed(HELLO, 0, reply=Reply(None, StopReason.USER_LEFT)) is not None
    assert replayed(HELLO, 0, reply=Reply(None, StopReason.TURN_LIMIT)) is None


def test_words_are_counted_in_scripts_with_and_without_spaces() -> None:
    assert words_of("Hi, I'm HERE!") == ["hi", "i", "m", "here"]
    assert words_of("\u6211\u4e0d\u8981") == ["\u6211", "\u4e0d", "\u8981"]


@pytest.mark.parametrize(
    ("name", "said", "expected"),
    [
        ("length", "red please .", 2.0), ("questions", "why?", 1.0), ("questions", "no .", 0.0),
        ("questions", "\u00bfqu\u00e9\uff1f", 1.0), ("disagreement", "i don't", 1.0),
        ("disagreement", "\u6211\u4e0d\u8981", 1.0), ("disagreement", "nothing", 1.0),
        ("disagreement", "yes , note it", 0.0),
        ("length", None, None), ("questions", None, None), ("echo", ".", None),
    ],
)  # fmt: skip
def test_features_of_one_message(name: str, said: str | None, expected: float | None) -> None:
    assert value(name, said) == expected


def test_an_echo_is_the_share_of_copied_words() -> None:
    assert value("echo", "red bike please", heard="a red bike ?") == pytest.approx(2 / 3)


def test_what_was_said_before_is_recognised_as_the_opening_or_as_an_answer() -> None:
    before = ("hi i need a bike .", "red please .")

    assert value("repeats_opening", "Hi , i need a bike !", before=before) == 1.0
    assert value("repeats_opening", "red please", before=before) == 0.0
    assert value("repeats_itself", "please red", before=before) == 1.0
    assert value("repeats_itself", "red", before=before[:1]) is None


def test_only_questions_with_the_users_own_words_ask_for_confirmation() -> None:
    before = ("i want red .",)

    assert value("confirmation", None, heard="red , right ?", before=before, ends=True) == 1.0
    assert value("confirmation", "yes", heard="red , right ?", before=before) == 0.0
    assert value("confirmation", "yes", heard="which size ?", before=before) is None
    assert value("confirmation", None, heard="take the red one .", before=before, ends=True) is None


def test_where_every_word_is_common_a_pair_of_words_asks_for_confirmation() -> None:
    common = Reference({}, {}, -1.0, -1.0, frozenset({"fever", "yes", "have", "you"}), Spelling())
    values, before = FEATURES["confirmation"].values, ("hi doctor", "fever yes")

    again = Exchange(2, "fever yes , right ?", None, True, before)
    asked = Exchange(2, "yes , have you fever ?", "no", False, before)

    assert (values((again,), common), values((asked,), common)) == ([1.0], [])


def test_speech_is_the_assistants_where_its_words_are() -> None:
    talk = talk_of(
        [*HELLO, Message(USER, "red ."), *HELLO[1:], Message(USER, "red .")], StopReason.TURN_LIMIT
    )

    reference = reference_of([talk])

    # Users said 7 words, the assistant 4, of 8 different ones, and one is kept for those never heard.
    assert log_ratio(["which"], reference) == pytest.approx(math.log((3 / 13) / (1 / 16)))
    assert log_ratio(["red"], reference) < 0


def test_kolmogorov_and_jensen_shannon_are_those_on_paper() -> None:
    first, second = np.array([[2.0, 1.0, 1.0]]), np.array([[0.0, 1.0, 1.0]])

    assert kolmogorov(first, second)[0] == pytest.approx(0.5)
    assert jensen_shannon(first, first)[0] == 0.0
    assert jensen_shannon(np.array([[1.0, 0.0]]), np.array([[0.0, 3.0]]))[0] == pytest.approx(1.0)


def exchanges(*said: str | None) -> tuple[Exchange, ...]:
    return tuple(Exchange(turn, "and ?", text, text is None, ("hi",)) for turn, text in enumerate(said))


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        # Lengths 3, 1 then 2, 3: of the pairs 3-2, 3-3, 1-2, 1-3 two are longer later, one is as long.
        (("i want red", "red", "red please", "no not red"), [2.5 / 4]),
        (("red", "as long as you like it", "red"), [0.5]),  # the middle one belongs to neither half
        (("a b", "a", None), []),  # his last answer is an end without words
        (("a b", "a", "b", None), [0.25]),
        (("red",), []),
        ((), []),
    ],
)  # fmt: skip
def test_how_somebody_changes_is_read_off_pairs_of_an_earlier_and_a_later_answer(
    said: tuple[str | None, ...], expected: list[float]
) -> None:
    assert FEATURES["length_change"].values(exchanges(*said), NOBODY) == expected


def test_a_change_in_asking_and_in_refusing_is_measured_alike() -> None:
    talk = exchanges("which ?", "red", "no", "not that")

    assert FEATURES["questions_change"].values(talk, NOBODY) == [0.25]
    assert FEATURES["refusals_change"].values(talk, NOBODY) == [1.0]


def test_of_words_that_are_long_enough_those_that_look_mistyped_are_counted() -> None:
    reference = replace(NOBODY, spelling=spelling_of({"yellow": 5, "please": 9}))
    (exchange,) = exchanges("yelow no pleease 12345 plse windmill")

    # Long enough are yelow, pleease and windmill; 12345 has no letters.
    assert FEATURES["typos"].values((exchange,), reference) == [1.0, 1.0, 0.0]
    copied = replace(exchange, heard="a yelow one ?")
    assert FEATURES["typos"].values((copied,), reference) == [0.0, 1.0, 0.0]


def test_means_of_conversations_and_what_is_in_those_that_hold_any() -> None:
    first = totals([[1.0, 0.0], [1.0], []])

    assert first.tolist() == [[2.0, 1.0], [1.0, 1.0], [0.0, 0.0]]
    assert mean_difference(first.sum(axis=0)[None], np.array([[4.0, 1.0]]))[0] == pytest.approx(2 / 3 - 1 / 4)
    # Words that are no slips and slips: 2 of the 10 words of the second and third conversation.
    assert part_where_any(np.array([[9.0, 0.0], [3.0, 1.0], [5.0, 1.0]])) == pytest.approx(0.2)
    assert part_where_any(np.array([[9.0, 0.0]])) == 1.0


def test_survival_counts_conversations_for_as_long_as_they_ran() -> None:
    # Turn 0: 3 go on, 1 ends; turn 1: 1 goes on (and is cut), 1 ends.
    counts = np.array([[3.0, 1.0, 1.0, 1.0]])

    assert survivors(counts)[0].tolist() == pytest.approx([0.75, 0.375])
    assert survival(counts, np.array([[4.0, 0.0, 4.0, 0.0]]))[0] == pytest.approx(0.625)
    assert hazard(counts, np.array([[4.0, 0.0, 4.0, 0.0]]))[0] == pytest.approx((4 * 0.25 + 2 * 0.5) / 6)


def test_halves_share_no_conversation_and_a_bootstrap_draws_as_many_as_there_are() -> None:
    first, second = halves(9, half=4, draws=50, seed=1)

    assert (first * second).sum() == 0
    assert set(first.sum(axis=1)) == set(second.sum(axis=1)) == {4.0}
    assert set(resampled(9, draws=50, seed=1).sum(axis=1)) == {9.0}


@pytest.mark.parametrize(
    ("domain", "text", "kind"),
    [("sales", "i want red .", "fact"), ("sales", "haha yes . red please .", "fact"),
     ("sales", "i already told you .", "told_before"), ("sales", "ok , can we go on ?", "small_talk"),
     ("sales", "haha yes . not sure about that yet .", "evasion"), ("sales", "i want a car", "other"),
     ("sales", "one question at a time please .", "several"),
     ("document", "put old harbor .", "fact"), ("document", "put the harbor .", "other"),
     ("document", "my desk is full of paper . i have to look that up .", "evasion"),
     ("document", "one question please .", "several"), ("document", "haha yes .", "small_talk"),
     ("math", "it says 6 boxes .", "fact"), ("math", "i forgot , ask me again .", "evasion"),
     ("math", "there is nothing like that in it .", "not_there"), ("math", "ok , go on .", "right_step"),
     ("math", "that does not look right .", "wrong_step"), ("math", "ok , can we go on ?", "small_talk"),
     ("math", "my teacher is very strict . you asked me that before .", "told_before"),
     ("medical", "well fever yes .", "has"), ("medical", "fever no i do not .", "has_not"),
     ("medical", "fever i am not sure .", "unsure"), ("medical", "fever !", "other"),
     ("medical", "it all began at the market . i can not tell .", "unsure"),
     ("medical", "nice of you , but i feel ill .", "small_talk")],
)  # fmt: skip
def test_the_kinds_of_a_users_messages(domain: str, text: str, kind: str) -> None:
    assert USER_ACTS[domain]("small")(text) == kind


@pytest.mark.parametrize("domain", ENVIRONMENTS)
def test_whatever_a_rule_based_user_says_is_of_a_known_kind(domain: str) -> None:
    act = USER_ACTS[domain]("small")
    spoken = ENVIRONMENTS[domain]("small").logging_policy.conversations(count=20, seed=1)

    kinds = {act(each.said) for it in spoken for each in talk_of(it.messages, it.stop) if each.said}

    assert OTHER not in kinds
    assert len(kinds) >= 3
