"""How texts become acts and facts, and when a recommendation is right."""

import pytest

from itpo_core.envs.acts import Question, SeveralQuestions, SmallTalk
from itpo_core.envs.sales_language import (
    Recommendation,
    parse_in,
    success_chance,
    told_slots,
    vocabulary,
)
from itpo_core.envs.sales_shop import SHOPS
from tests.itpo_core.envs.sales_scenes import LAPTOP, SMALL, said

NEEDS = SMALL.needs_of("laptop")


def chance(text: str, known: dict[str, str] | None = None) -> float:
    act = parse_in(SMALL, text)
    assert isinstance(act, Recommendation)
    return success_chance(act, "laptop", needs=NEEDS, known=dict(LAPTOP.values) if known is None else known)


@pytest.mark.parametrize(
    ("text", "act"),
    [
        ("what size do you want ?", Question("size")),
        ("size or no size ?", Question("size")),
        ("what size and color ?", SeveralQuestions()),
        ("what a lovely day today !", SmallTalk()),
        ("", SmallTalk()),
        ("what size?", SmallTalk()),
        ("which brand do you prefer ?", SmallTalk()),  # the small shop knows no brands
    ],
)
def test_slot_names_that_stand_alone_make_the_act(text: str, act: object) -> None:
    assert parse_in(SMALL, text) == act


def test_the_word_recommend_wins_over_slot_names() -> None:
    act = parse_in(SMALL, "what size ? i recommend a bike")

    assert act == Recommendation(frozenset({"recommend", "a", "bike"}))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("i recommend a laptop with budget cheap use work .", 1.0),
        ("recommend work cheap laptop", 1.0),  # order and slot names do not matter
        ("i recommend a laptop cheap work size small color blue", 1.0),  # nor do slots that are not needed
        ("i recommend a laptop cheap cheap work", 1.0),
        ("i recommend a bike with cheap work", 0.0),  # wrong product
        ("i recommend a laptop with cheap", 0.0),  # a needed value is not named
        ("i recommend a laptop with cheap premium work", 0.0),  # two values of one slot
        ("i recommend a laptop with cheap sport", 0.0),  # a wrong value
        ("a cheap laptop for work i recommend", 0.0),  # only what comes after the word counts
    ],
)
def test_a_recommendation_is_right_only_with_product_and_each_needed_value(
    text: str, expected: float
) -> None:
    assert chance(text) == expected


def test_every_unknown_needed_fact_is_a_guess_among_three() -> None:
    text = "i recommend a laptop with budget cheap use work ."

    assert chance(text, {"budget": "cheap"}) == pytest.approx(1 / 3)
    assert chance(text, {}) == pytest.approx(1 / 9)
    assert chance(text, {"budget": "premium"}) == 0.0


def test_an_unnamed_or_doubled_unknown_fact_has_no_chance() -> None:
    assert chance("i recommend a laptop with cheap", {"budget": "cheap"}) == 0.0
    assert chance("i recommend a laptop with cheap work sport", {"budget": "cheap"}) == 0.0


def test_only_the_customer_tells_facts() -> None:
    messages = said("is it cheap ?", "work please .", opening="hi i need a laptop . i want red .")

    assert told_slots(messages, SMALL.slots) == {"color", "use"}


def test_no_phrase_of_a_customer_tells_a_fact_by_accident() -> None:
    phrases = SMALL.phrases
    harmless = (
        *phrases.opening,
        *phrases.evasion,
        *phrases.told_before,
        *phrases.several,
        *phrases.small_talk,
    )

    assert told_slots(said(*harmless, opening=""), SHOPS["hard"].slots) == frozenset()


@pytest.mark.parametrize(("preset", "words"), [("small", 86), ("hard", 92)])
def test_the_vocabulary_has_every_word_once(preset: str, words: int) -> None:
    listed = vocabulary(preset)

    assert len(listed) == len(set(listed)) == words
    assert list(listed) == sorted(listed)


def test_values_are_distinct_over_slots_and_three_a_slot() -> None:
    values = [value for slot in SHOPS["hard"].slots for value in slot.values]

    assert len(values) == len(set(values)) == 15
