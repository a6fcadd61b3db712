"""The business person of the shop: how often he takes a suggestion, and what he makes of it."""

from collections import Counter

import pytest

from itpo_core.envs.acts import Question
from itpo_core.envs.catalogue import ENVIRONMENTS, with_sales_business
from itpo_core.envs.sales_business import BusinessHabits, BusinessPerson, SalesBusinesses
from itpo_core.envs.sales_language import Recommendation, parse_in
from itpo_core.envs.sales_need import Need, scenario_of
from itpo_core.envs.sales_shop import SHOPS
from itpo_core.types import Acceptance, Message, Role, Scored

SHOP = SHOPS["small"]
NEED = Need("bike", {"budget": "cheap", "size": "large", "color": "red", "use": "work"})
HELLO = [Message(Role.USER, "hi i need a bike .")]
TOLD = [*HELLO, Message(Role.ASSISTANT, "which color do you prefer ?"), Message(Role.USER, "red please .")]
ALL_TOLD = [*TOLD, Message(Role.ASSISTANT, "what size do you want ?"), Message(Role.USER, "large i think .")]
EDITS, IGNORES = BusinessHabits(accepts=0.0, edits=1.0), BusinessHabits(accepts=0.0, edits=0.0)


def person(habits: BusinessHabits, seed: int = 0) -> BusinessPerson:
    scenario = scenario_of(NEED, SHOP, opening=HELLO[0].content)
    return SalesBusinesses("small", habits).person(scenario, seed=seed)


def test_suggestions_are_taken_edited_and_ignored_as_often_as_said() -> None:
    habits = BusinessHabits(accepts=0.5, edits=0.3)

    found = Counter(
        person(habits, seed).send(HELLO, "what size do you want ?").acceptance for seed in range(900)
    )

    assert found[Acceptance.VERBATIM] / 900 == pytest.approx(0.5, abs=0.05)
    assert found[Acceptance.EDITED] / 900 == pytest.approx(0.3, abs=0.05)
    assert found[Acceptance.IGNORED] / 900 == pytest.approx(0.2, abs=0.05)


def test_an_accepted_suggestion_is_sent_as_it_is_even_when_it_is_silly() -> None:
    sent = person(BusinessHabits(accepts=1.0, edits=0.0)).send(HELLO, "color color size ?")

    assert (sent.text, sent.acceptance) == ("color color size ?", Acceptance.VERBATIM)


def test_an_edited_question_asks_for_the_same_in_other_words() -> None:
    sent = [person(EDITS, seed).send(HELLO, "size size ?") for seed in range(20)]

    assert {parse_in(SHOP, each.text) for each in sent} == {Question("size")}


def test_an_edited_recommendation_has_the_told_facts_right_and_keeps_the_suggested_others() -> None:
    sent = person(EDITS).send(TOLD, "i recommend a laptop with color blue size small .")

    act = parse_in(SHOP, sent.text)
    assert isinstance(act, Recommendation)
    assert {"bike", "red", "small"} <= act.words
    assert not {"laptop", "blue"} & act.words


def test_whoever_ignores_a_suggestion_asks_what_he_was_not_told_and_recommends_when_he_knows() -> None:
    asked = [parse_in(SHOP, person(IGNORES, seed).send(TOLD, "nice day").text) for seed in range(30)]
    final = parse_in(SHOP, person(IGNORES).send(ALL_TOLD, "nice day").text)

    assert all(isinstance(act, Question) and act.slot != "color" for act in asked)
    assert isinstance(final, Recommendation)
    assert {"bike", "large", "red"} <= final.words


@pytest.mark.parametrize(("accepts", "edits"), [(0.8, 0.3), (-0.1, 0.5)])
def test_chances_that_are_none_are_refused(accepts: float, edits: float) -> None:
    with pytest.raises(ValueError, match=f"accepts {accepts} and edits {edits}"):
        BusinessHabits(accepts=accepts, edits=edits)


def test_habits_are_in_the_digest_of_who_was_simulated_and_notes_in_the_vocabulary() -> None:
    plain = ENVIRONMENTS["sales"]("small")
    rare, often = (
        with_sales_business(plain, "small", habits=BusinessHabits(edits, 0.1)) for edits in (0.1, 0.9)
    )

    assert len({each.simulator_digest for each in (plain, rare, often)}) == 3
    assert plain.simulator_digest == plain.environment.digest
    assert set(often.vocabulary) - set(plain.vocabulary) == {"sent", ":"}


def test_logs_of_a_shop_with_business_people_keep_what_was_suggested_and_what_was_sent() -> None:
    domain = with_sales_business(ENVIRONMENTS["sales"]("small"), "small", habits=BusinessHabits(0.5, 0.3))
    assert domain.logging_policy is not None

    logs = domain.logging_policy.conversations(count=200, seed=0)

    for each in logs:
        heard = [message.content for message in each.messages if message.role is Role.ASSISTANT]
        assert [turn.sent_text for turn in each.turns] == heard
        assert each.outcome == domain.environment.outcome(each.scenario, each.messages)
        assert isinstance(each.outcome, Scored)
    assert {turn.acceptance for each in logs for turn in each.turns} == set(Acceptance) - {
        Acceptance.AUTONOMOUS
    }
