"""Figures of the credit lab by hand, and planted methods whose fault it must show."""

import math
from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from itpo_core import credit_lab
from itpo_core.credit import CreditMethod, credit
from itpo_core.credit_lab import Given, Method
from itpo_core.turn_batch import TurnBatch
from tests.itpo_core.credit_batches import random_batch

NAMES = ("outcome", "itpo", "norm_itpo", "norm_itpo_share", "immediate_plus_outcome", "oracle_pi")


def small(**changes: Tensor) -> TurnBatch:
    """Two groups of two conversations of two turns, the last one of a single turn; two tokens a turn."""
    happened_BK = torch.tensor([[True, True], [True, True], [True, True], [True, False]])
    zeros_BK = torch.zeros(4, 2, dtype=torch.float64)
    plain = TurnBatch(
        group_B=torch.tensor([0, 0, 1, 1]),
        valid_B=torch.ones(4, dtype=torch.bool),
        outcome_B=torch.tensor([1.0, 0.0, 1.0, 0.0], dtype=torch.float64),
        reward_B=torch.tensor([1.0, 0.0, 1.0, 0.0], dtype=torch.float64),
        advantage_B=torch.zeros(4, dtype=torch.float64),
        happened_BK=happened_BK,
        tokens_BK=2 * happened_BK.long(),
        scores_BK=torch.tensor([[1.0, 0.0], [0.0, 2.0], [0.5, 0.0], [1.0, 0.0]], dtype=torch.float64),
        draws_BK=zeros_BK + 1,
        oracle_BK=torch.tensor([[3.0, 1.0], [2.0, -1.0], [4.0, 0.0], [9.0, 0.0]], dtype=torch.float64),
    )
    return replace(plain, **changes)


def by(algorithm: str) -> Method:
    """The product's own credit."""

    def method(turns: TurnBatch) -> Given:
        found = credit(turns, CreditMethod(algorithm=algorithm))
        return Given(found.rewards_BK, found.advantages_BK)

    return method


def compared(turns: TurnBatch, **planted: Method) -> credit_lab.Comparison:
    methods: Mapping[str, Method] = {**{name: by(name) for name in NAMES}, **planted}
    return credit_lab.compare(turns, methods, has_oracle=True, deepest=12)


def advantages(rows: list[list[float]]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def test_variance_and_its_part_inside_conversations() -> None:
    found = credit_lab.variance_figures(
        advantages([[2.0, 0.0], [-1.0, 9.0]]), torch.tensor([[True, True], [True, False]])
    )

    assert found["variance"] == pytest.approx(14 / 9)
    assert found["variance_inside"] == pytest.approx((2 / 3) / (14 / 9))


def test_an_advantage_that_tells_no_turns_apart_has_nothing_inside() -> None:
    found = credit_lab.variance_figures(advantages([[1.0, 1.0], [-1.0, -1.0]]), torch.ones(2, 2).bool())

    assert (found["variance"], found["variance_inside"]) == (1.0, 0.0)


def test_turn_rewards_that_miss_the_reward_are_measured() -> None:
    found = credit_lab.conservation_figures(
        advantages([[0.5, 0.5], [0.25, 0.0], [2.0, 0.0], [0.0, 7.0]]), small()
    )

    assert found["reward_sum"] == pytest.approx(3.25 / 4)
    assert found["reward_sum_off"] == pytest.approx((0 + 0.25 + 1 + 0) / 4)
    assert found["reward_sum_most_off"] == pytest.approx(1.0)


def test_flips_are_counted_among_turns_that_the_outcome_judges() -> None:
    outcome_BK = advantages([[1.0, 1.0], [-1.0, -1.0], [0.0, 0.0]])
    happened_BK = torch.tensor([[True, True], [True, False], [True, True]])

    found = credit_lab.flip_figures(
        advantages([[-1.0, 2.0], [-1.0, 5.0], [-1.0, 1.0]]), outcome_BK, happened_BK=happened_BK
    )

    assert found["sign_flips"] == pytest.approx(1 / 3)


def test_the_last_turn_counts_in_one_correlation_with_the_truth_and_not_in_the_other() -> None:
    turns = small()
    last_wrong_BK = advantages([[3.0, 30.0], [2.0, 20.0], [4.0, 10.0], [9.0, 0.0]])

    found = credit_lab.oracle_figures(last_wrong_BK, turns)

    assert found["oracle_not_last"] == pytest.approx(1.0)
    assert found["oracle"] < 0.5


def test_gradient_weight_by_depth_is_advantage_times_tokens_of_who_got_there() -> None:
    first, second = credit_lab.depths(
        advantages([[1.0, -2.0], [1.0, 0.0], [1.0, 1.0], [-3.0, 9.0]]), small(), deepest=12
    )

    assert (first.turn_index, first.weight, first.part) == (0, 3.0, pytest.approx(12 / 18))
    assert (second.turn_index, second.weight, second.part) == (1, 2.0, pytest.approx(6 / 18))


def test_a_thousand_turns_share_the_last_column() -> None:
    turns = random_batch(0, rows=2, turns=1000, groups=1, failures=0.0)

    found = credit_lab.depths(torch.ones(2, 1000, dtype=torch.float64), turns, deepest=3)

    assert [each.turn_index for each in found] == [0, 1, 2, 3]
    assert math.fsum(each.part for each in found) == pytest.approx(1.0)


def test_agreement_is_a_symmetric_matrix_without_the_methods_that_rank_nothing() -> None:
    happened_BK = torch.ones(1, 3).bool()
    given_by = {
        "up": advantages([[1.0, 2.0, 3.0]]),
        "down": advantages([[9.0, 4.0, 1.0]]),
        "flat": advantages([[1.0, 1.0, 1.0]]),
    }

    found = credit_lab.agreement(given_by, happened_BK)

    assert set(found) == {(one, two) for one in ("up", "down") for two in ("up", "down")}
    assert found["up", "down"] == found["down", "up"] == pytest.approx(-1.0)
    assert found["up", "up"] == pytest.approx(1.0)


def test_norm_itpo_as_published_depends_on_its_batch_and_the_others_do_not() -> None:
    turns = random_batch(3, rows=24, turns=4, groups=6)

    found = compared(turns).figures

    moved = {name for name, figures in found.items() if figures["batch_moves_rewards"] > 1e-9}
    assert moved == {"norm_itpo"}
    assert found["norm_itpo_share"]["batch_moves_advantages"] < 1e-12
    assert found["oracle_pi"]["batch_moves_advantages"] > 1e-3


def leaking(turns: TurnBatch) -> Given:
    """Turn rewards less the mean of the whole batch."""
    found = by("itpo")(turns)
    return Given(found.rewards_BK - found.rewards_BK[turns.happened_BK].mean(), found.advantages_BK)


def turned_round(turns: TurnBatch) -> Given:
    """The outcome's advantage with the sign of every first turn turned round."""
    found = by("outcome")(turns)
    sign_K = torch.ones(turns.tokens_BK.shape[1], dtype=torch.float64)
    sign_K[0] = -1
    return Given(found.rewards_BK, found.advantages_BK * sign_K)


def spendthrift(turns: TurnBatch) -> Given:
    """The sparse outcome paid out again at every turn."""
    found = by("outcome")(turns)
    again_BK = torch.where(turns.happened_BK, turns.reward_B[:, None], 0)
    return Given(again_BK, found.advantages_BK)


def test_planted_methods_are_shown_for_what_they_do() -> None:
    found = compared(small(), leaking=leaking, turned_round=turned_round, spendthrift=spendthrift).figures

    assert found["leaking"]["batch_moves_rewards"] > 0.01
    assert found["turned_round"]["sign_flips"] == pytest.approx(4 / 7)
    assert found["outcome"]["sign_flips"] == 0.0
    assert found["spendthrift"]["reward_sum_most_off"] == pytest.approx(1.0)


def test_a_method_that_refuses_the_batch_is_named_with_its_reason() -> None:
    found = compared(small(), prefix=by("prefix_value"))

    assert "values_BK" in found.refused["prefix"]
    assert "prefix" not in found.figures


def test_without_the_sparse_outcome_nothing_is_compared() -> None:
    broken = small(reward_B=torch.tensor([math.nan, 0.0, 1.0, 0.0], dtype=torch.float64))

    with pytest.raises(ValueError, match="the sparse outcome cannot be scored"):
        compared(broken)


def test_the_oracle_agrees_with_itself() -> None:
    found = compared(small()).figures

    assert found["oracle_pi"]["oracle"] == pytest.approx(1.0)
    assert found["oracle_pi"]["oracle_not_last"] == pytest.approx(1.0)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.randoms())
def test_no_figure_depends_on_the_order_of_the_conversations(seed: int, random) -> None:
    turns = random_batch(seed, rows=16, turns=3, groups=4)
    order = torch.tensor(random.sample(range(16), 16))

    first, second = compared(turns), compared(credit_lab.rows_of(turns, order))

    for name, figures in first.figures.items():
        assert second.figures[name] == pytest.approx(figures, rel=1e-6, abs=1e-9)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_halves_put_back_are_the_batch_again(seed: int) -> None:
    turns = random_batch(seed, rows=12, groups=5)

    def itself(some: TurnBatch) -> Given:
        return Given(some.scores_BK, some.draws_BK)

    found = credit_lab.scored_in_halves(turns, itself)

    assert torch.equal(found.rewards_BK, turns.scores_BK)
    assert torch.equal(found.advantages_BK, turns.draws_BK)
