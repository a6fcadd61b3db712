"""Scripted logs: whole, truthful, seen scenarios only, as good and as long as they should be."""

from collections import Counter
from statistics import fmean

import pytest

from itpo_core.envs.sales_logs import SalesHabits, ScriptedSalesperson
from itpo_core.envs.sales_need import need_of, split_of
from itpo_core.envs.sales_shop import SHOPS
from itpo_core.types import Conversation, Role, Scored, Split, StopReason, TurnTruth

SALESPERSON = ScriptedSalesperson("small")


def success(conversation: Conversation) -> float:
    assert isinstance(conversation.outcome, Scored)
    return conversation.outcome.value


def truths(conversation: Conversation) -> list[TurnTruth]:
    return [turn.truth for turn in conversation.turns if turn.truth is not None]


@pytest.mark.parametrize("preset", SHOPS)
def test_logs_never_contain_an_unseen_need(preset: str) -> None:
    salesperson = ScriptedSalesperson(preset)
    spoken = salesperson.conversations(count=300, seed=0) + salesperson.direct_requests(count=300, seed=0)

    needs = [need_of(each.scenario, SHOPS[preset]) for each in spoken]

    assert {split_of(need, SHOPS[preset]) for need in needs} == {Split.SEEN}


def test_a_conversation_has_one_turn_with_truth_per_assistant_message() -> None:
    for each in SALESPERSON.conversations(count=50, seed=1):
        texts = [message.content for message in each.messages if message.role is Role.ASSISTANT]

        assert [turn.text for turn in each.turns] == texts
        assert [turn.turn_index for turn in each.turns] == list(range(len(texts)))
        assert len(truths(each)) == len(texts)


def test_why_a_conversation_ended_agrees_with_its_last_turn() -> None:
    for each in SALESPERSON.conversations(count=200, seed=2):
        last = truths(each)[-1]

        assert (each.stop is StopReason.COMPLETED) == (last.kind == "recommend")
        if each.stop is StopReason.TURN_LIMIT:
            assert last.turns_left == 1


def test_what_was_won_was_recommended_rightly() -> None:
    for each in SALESPERSON.conversations(count=200, seed=3):
        chance = truths(each)[-1].success_if_final or 0.0

        assert success(each) in (0.0, 1.0)
        assert not (success(each) and chance == 0.0)
        assert not (success(each) == 0.0 and chance == 1.0)


def test_conversations_of_one_scenario_are_numbered_siblings() -> None:
    spoken = SALESPERSON.conversations(count=400, seed=4)

    places = Counter((each.group_id, each.sample_index) for each in spoken)
    groups = Counter(each.group_id for each in spoken)

    assert max(places.values()) == 1
    assert len({each.conversation_id for each in spoken}) == 400
    assert len(groups) == len({each.scenario.scenario_id for each in spoken}) < 400
    assert all((group, index) in places for group, size in groups.items() for index in range(size))


def test_logs_depend_on_the_seed_alone() -> None:
    again = ScriptedSalesperson("small")

    assert SALESPERSON.conversations(count=20, seed=5) == again.conversations(count=20, seed=5)
    assert SALESPERSON.conversations(count=20, seed=5) == again.conversations(count=30, seed=5)[:20]
    assert SALESPERSON.conversations(count=20, seed=5) != again.conversations(count=20, seed=6)


def test_a_direct_request_says_all_that_is_needed_and_is_answered_rightly() -> None:
    for each in SALESPERSON.direct_requests(count=200, seed=0):
        (truth,) = truths(each)

        assert (truth.kind, truth.missing, truth.success_if_final) == ("recommend", 0, 1.0)
        assert success(each) == 1.0
        assert each.stop is StopReason.COMPLETED


def test_three_requests_in_ten_say_one_fact_more() -> None:
    requests = SALESPERSON.direct_requests(count=400, seed=1)

    told = Counter(len(need_of(each.scenario, SHOPS["small"]).volunteered) for each in requests)

    assert set(told) == {2, 3}
    assert told[3] / 400 == pytest.approx(0.3, abs=0.092)  # 4 standard errors


def test_facts_of_requests_come_in_any_order() -> None:
    orders = {
        need_of(each.scenario, SHOPS["small"]).volunteered
        for each in SALESPERSON.direct_requests(count=100, seed=2)
    }

    assert {("budget", "use"), ("use", "budget"), ("size", "color"), ("color", "size")} <= orders


def test_a_perfect_salesperson_who_never_forgets_asks_nothing_twice() -> None:
    habits = SalesHabits(recommends=1.0, recommends_early=0.0, chats=0.0, remembers=1.0)

    spoken = ScriptedSalesperson("small", habits).conversations(count=100, seed=0)

    kinds = Counter(truth.kind for each in spoken for truth in truths(each))
    assert set(kinds) == {"ask", "irrelevant", "recommend"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("preset", "rate", "turns", "words", "start"),
    [("small", 0.59, 4.06, 32.8, 0.9967), ("hard", 0.414, 4.46, 36.3, 0.9835)],
)
def test_logs_are_as_good_and_as_long_as_designed(
    preset: str, rate: float, turns: float, words: float, start: float
) -> None:
    spoken = ScriptedSalesperson(preset).conversations(count=5000, seed=0)

    lengths = [sum(len(turn.text.split()) + 1 for turn in each.turns) for each in spoken]

    assert fmean(map(success, spoken)) == pytest.approx(rate, abs=0.04)  # two samples, 4 standard errors
    assert fmean(len(each.turns) for each in spoken) == pytest.approx(turns, abs=0.12)
    assert fmean(lengths) == pytest.approx(words, abs=1.0)
    assert fmean(truths(each)[0].optimal_value for each in spoken) == pytest.approx(start, abs=0.001)
