"""Customers of different personas: other habits, the same needs, and a truth that knows whom it was."""

from dataclasses import asdict, replace

import pytest

from itpo_core.envs.base import Reply
from itpo_core.envs.sales import SalesEnvironment
from itpo_core.envs.sales_oracle import SalesOracle
from itpo_core.envs.sales_shop import PERSONAS, SHOPS, shop_for
from itpo_core.types import Message, Role, Scenario, Split, StopReason, TurnTruth

ENVIRONMENT, ORACLE = SalesEnvironment("small"), SalesOracle("small")
(SCENARIO,) = ENVIRONMENT.scenarios(Split.SEEN, count=1, seed=0)
CHAT = [*SCENARIO.opening, Message(Role.ASSISTANT, "what a lovely day today !")]


def of(persona: str) -> Scenario:
    return replace(SCENARIO, persona_id=persona)


def share_that_leaves(persona: str) -> float:
    replies = [ENVIRONMENT.user(of(persona), seed=seed).reply(CHAT) for seed in range(2000)]
    return sum(isinstance(each, Reply) and each.stop is StopReason.USER_LEFT for each in replies) / 2000


@pytest.mark.parametrize(("persona", "leaves"), [("default", 0.1), ("hurried", 0.3), ("patient", 0.02)])
def test_a_persona_leaves_as_often_as_it_is_defined_to(persona: str, leaves: float) -> None:
    assert share_that_leaves(persona) == pytest.approx(leaves, abs=0.025)


def test_whoever_has_no_habits_of_his_own_is_like_everybody() -> None:
    shop = SHOPS["small"]

    assert shop_for(shop, "direct_request") is shop_for(shop, "default") is shop


def test_a_persona_changes_two_habits_and_nothing_else() -> None:
    shop = SHOPS["small"]

    for name, own in PERSONAS.items():
        assert asdict(shop_for(shop, name)) == {**asdict(shop), "habits": {**asdict(shop.habits), **own}}


def test_useless_turns_cost_more_with_a_customer_who_soon_leaves() -> None:
    cost = {
        name: ORACLE.truths(of(name), CHAT)[0].optimal_value
        - ORACLE.truths(of(name), CHAT)[0].optimal_action_value
        for name in PERSONAS
    }

    assert cost["patient"] < cost["default"] < cost["hurried"]


def test_advantages_are_those_of_the_customers_own_persona() -> None:
    chats, asks = (TurnTruth(kind, 2, 6, 0.9, 0.8, None) for kind in ("chat", "ask"))
    ends = TurnTruth("recommend", 0, 5, 1.0, 1.0, 1.0)
    spoken = [[chats, ends], [asks, ends]] * 2

    whose = ORACLE.policy_advantages(spoken, personas=["hurried", "hurried", "patient", "patient"])

    assert whose[0][0] < whose[2][0] < 0
    assert ORACLE.policy_advantages(spoken) == ORACLE.policy_advantages(spoken, personas=["default"] * 4)
