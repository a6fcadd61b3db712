"""Scenarios, the hold-out, the outcome rule, and the identity of the simulator."""

from collections import Counter
from dataclasses import fields, replace
from itertools import product

import pytest

from itpo_core.envs.sales import SalesEnvironment
from itpo_core.envs.sales_logs import ScriptedSalesperson
from itpo_core.envs.sales_need import Need, need_of, split_of, unseen_combinations
from itpo_core.envs.sales_shop import SHOPS, VERSION, CustomerPhrases, Habits, definition_digest
from itpo_core.identifiers import stable_id
from itpo_core.types import Scored, Split, Unscored
from tests.itpo_core.envs.sales_scenes import LAPTOP, SMALL, laptop_scenario, said

ENVIRONMENT = SalesEnvironment("small")
RIGHT = "i recommend a laptop with budget cheap use work ."
WRONG = "i recommend a laptop with budget cheap use sport ."


def outcome_after(*texts: str) -> float:
    outcome = ENVIRONMENT.outcome(laptop_scenario(), said(*texts))
    assert isinstance(outcome, Scored)
    return outcome.value


def test_the_first_recommendation_decides() -> None:
    assert outcome_after(RIGHT) == 1.0
    assert outcome_after(WRONG) == 0.0
    assert outcome_after(WRONG, "haha yes .", RIGHT) == 0.0
    assert outcome_after("what use ?", "work please .", RIGHT) == 1.0


def test_without_a_recommendation_nothing_was_achieved() -> None:
    assert outcome_after("lovely day") == 0.0


def test_a_recommendation_after_the_turn_limit_does_not_count() -> None:
    chat = ["lovely day", "haha yes ."]

    assert outcome_after(*chat * 5, RIGHT) == 1.0
    assert outcome_after(*chat * 6, RIGHT) == 0.0


def test_a_conversation_in_which_the_assistant_said_nothing_is_unscored() -> None:
    assert isinstance(ENVIRONMENT.outcome(laptop_scenario(), said()), Unscored)


@pytest.mark.parametrize("preset", SHOPS)
def test_a_fifth_of_all_needs_of_each_product_is_unseen(preset: str) -> None:
    shop = SHOPS[preset]
    names = [slot.name for slot in shop.slots]
    splits = Counter(
        (each.name, split_of(Need(each.name, dict(zip(names, values, strict=True))), shop))
        for each in shop.products
        for values in product(*(slot.values for slot in shop.slots))
    )

    for each in shop.products:
        unseen = splits[each.name, Split.UNSEEN]
        assert unseen / (unseen + splits[each.name, Split.SEEN]) == pytest.approx(0.2, abs=0.003)


def test_the_split_never_changes() -> None:
    assert (
        stable_id(*("|".join(each) for each in sorted(unseen_combinations(SMALL))))
        == "219f11c291875e514f6b19efc7cac256"
    )


def test_scenario_ids_never_change() -> None:
    (seen,) = ENVIRONMENT.scenarios(Split.SEEN, count=1, seed=0)
    (unseen,) = ENVIRONMENT.scenarios(Split.UNSEEN, count=1, seed=0)

    assert seen.scenario_id == "sales-small-laptop-24bc2cb6c1191e97"
    assert unseen.scenario_id == "sales-small-laptop-e2d5817c7ece3cc0"


def test_the_split_depends_on_the_facts_not_on_what_was_said() -> None:
    assert laptop_scenario("hi").split is laptop_scenario("hello").split
    assert laptop_scenario("hi").scenario_id != laptop_scenario("hello").scenario_id


def test_the_customer_opens_with_the_product_and_at_most_one_needed_fact() -> None:
    scenarios = ENVIRONMENT.scenarios(Split.SEEN, count=400, seed=1)
    needs = [need_of(scenario, SMALL) for scenario in scenarios]

    volunteering = [need for need in needs if need.volunteered]

    assert all(
        each.product in scenario.opening[0].content for each, scenario in zip(needs, scenarios, strict=True)
    )
    assert all(
        set(each.volunteered) <= {s.name for s in SMALL.needs_of(each.product)} for each in volunteering
    )
    assert max(len(each.volunteered) for each in needs) == 1
    assert len(volunteering) / 400 == pytest.approx(0.3, abs=0.092)  # 4 standard errors


def test_the_hidden_facts_are_canonical_json() -> None:
    assert laptop_scenario().latent_json == (
        '{"product":"laptop","values":{"budget":"cheap","color":"red","size":"large","use":"work"},"volunteered":[]}'
    )
    assert need_of(laptop_scenario(), SMALL) == LAPTOP


def test_a_scenario_of_another_preset_or_domain_is_refused() -> None:
    hard = SalesEnvironment("hard").scenarios(Split.SEEN, count=1, seed=0)[0]

    with pytest.raises(ValueError, match="not of preset 'small'"):
        ENVIRONMENT.user(hard, seed=0)
    with pytest.raises(ValueError, match="domain 'chess'"):
        ENVIRONMENT.user(replace(hard, domain="chess"), seed=0)


def test_an_unknown_preset_is_named_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="'medium'; choose one of small, hard"):
        SalesEnvironment("medium")


def test_every_change_of_the_definition_changes_the_digest() -> None:
    phrases, habits = CustomerPhrases(), Habits()
    longer = [replace(phrases, **{field.name: ("ok .",)}) for field in fields(phrases)]
    moodier = [replace(habits, **{field.name: 7}) for field in fields(habits)]
    shops = [
        SMALL,
        SHOPS["hard"],
        replace(SMALL, preset="other"),
        replace(SMALL, products=SMALL.products[:1]),
        replace(SMALL, slots=SMALL.slots[:3]),
        *(replace(SMALL, phrases=each) for each in longer),
        *(replace(SMALL, habits=each) for each in moodier),
    ]

    digests = {definition_digest(shop) for shop in shops} | {definition_digest(SMALL, version="next")}

    assert len(digests) == len(shops) + 1
    assert ENVIRONMENT.digest in digests


def test_customers_behave_as_their_version_says() -> None:
    """Red after a change of behaviour: then raise VERSION, so that old rows are not taken for new ones."""
    spoken = ScriptedSalesperson("hard").conversations(count=40, seed=0)

    transcript = [message.content for each in spoken for message in each.messages]

    assert (VERSION, stable_id(*transcript)) == ("1", "66fedc92b333e9d4b819435acc9472ca")
