"""The gate opens for a Q that is surely better than the base rate, and closes on planted useless ones."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from itpo_core.q_fit import fit_q
from itpo_core.q_gate import (
    Gate,
    HeldOutQ,
    calibration_of_turns,
    explained_variance,
    gate,
    held_out_q,
    ranking_within,
)
from itpo_core.reward_fit import Judging
from tests.itpo_core.q_cases import SETTINGS, TURNS, data_of, fresh_q, spoken

JUDGING = Judging(confidence=0.95, draws=500, seed=0)


def drawn(rows: int, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """True logits of two turns and outcomes drawn from them."""
    generator = torch.Generator().manual_seed(seed)
    logit_B = 1.5 * torch.randn(rows, generator=generator)
    outcome_B = (torch.rand(rows, generator=generator) < logit_B.sigmoid()).float()
    return logit_B[:, None].expand(-1, 2), outcome_B[:, None].expand(-1, 2)


def judged(logits_BK: Tensor, targets_BK: Tensor) -> HeldOutQ:
    """Each row its own scenario."""
    found = held_out_q(logits_BK, targets_BK, clusters=range(len(targets_BK)), judging=JUDGING)
    assert found is not None
    return found


def test_held_out_figures_by_hand() -> None:
    logits_BK = torch.tensor([[0.0, math.log(3)], [-math.log(3), 5.0]])
    targets_BK = torch.tensor([[1.0, 1.0], [0.0, math.nan]])

    found = judged(logits_BK, targets_BK)

    assert (found.conversations, found.turns) == (2, 3)
    assert found.cross_entropy == pytest.approx(-(math.log(0.5) + 2 * math.log(0.75)) / 3)
    assert found.base_rate_entropy == pytest.approx(-(2 * math.log(2 / 3) + math.log(1 / 3)) / 3)
    assert found.improvement.mean == pytest.approx(found.base_rate_entropy - found.cross_entropy)
    assert found.brier == pytest.approx((0.25 + 0.0625 + 0.0625) / 3)
    assert found.auc is not None
    assert found.auc.mean == 1.0
    errors = np.array([0.5, 0.25, -0.25])
    assert found.explained_variance == pytest.approx(1 - errors.var() / (2 / 9))


def test_calibration_is_told_turn_by_turn() -> None:
    first, second = calibration_of_turns(
        torch.tensor([[0.2, 0.9], [0.4, 0.5]]), torch.tensor([[0.0, 1.0], [1.0, math.nan]])
    )

    assert (first.conversations, first.predicted, first.observed) == (2, pytest.approx(0.3), 0.5)
    assert (second.conversations, second.predicted, second.observed) == (1, pytest.approx(0.9), 1.0)


def test_a_q_that_knows_opens_the_gate_and_says_by_how_much() -> None:
    decision = gate(judged(*drawn(400)))

    assert decision.open
    assert "0.5162 against" in decision.reason


@pytest.mark.parametrize("seed", range(5))
def test_a_planted_useless_q_closes_the_gate(seed: int) -> None:
    logits_BK, targets_BK = drawn(400, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    shuffled_B = torch.randperm(400, generator=generator)

    random_head = gate(judged(torch.randn(400, 2, generator=generator), targets_BK))
    shuffled_labels = gate(judged(logits_BK, targets_BK[shuffled_B]))
    base_rate = gate(judged(targets_BK.mean().logit().expand(400, 2), targets_BK))

    assert not random_head.open
    assert not shuffled_labels.open
    assert not base_rate.open
    assert "not clearly better" in base_rate.reason


def test_a_q_that_may_be_better_by_luck_alone_stays_closed() -> None:
    # Right about 110 of 200 with logits of .1: better by .004 nats, with a standard error of about the same.
    targets_BK = (torch.arange(200) % 2).float()[:, None]
    right_B1 = (torch.arange(200) < 110)[:, None]
    logits_BK = 0.1 * torch.where(right_B1, 1, -1) * (2 * targets_BK - 1)

    found = judged(logits_BK, targets_BK)

    assert found.improvement.mean == pytest.approx(0.0037, abs=5e-4)
    assert found.improvement.lower < 0 < found.improvement.upper
    assert not gate(found).open


def test_no_constant_passes_because_the_held_out_talks_happened_to_go_better() -> None:
    targets_BK = (torch.arange(400) % 10 < 6).float()[:, None]
    constant_BK = torch.full((400, 1), 0.2)

    found = held_out_q(constant_BK, targets_BK, clusters=range(400), judging=JUDGING, known_rate=0.3)

    assert found is not None
    assert found.improvement.lower > 0
    assert not gate(found).open


def test_a_shift_of_the_base_rate_does_not_drown_what_q_knows() -> None:
    # Fitted where 35 of 100 succeed, judged where the same Q meets better luck.
    logits_BK, targets_BK = drawn(400)
    unlucky_BK = logits_BK - 0.5

    own = judged(unlucky_BK, targets_BK).improvement
    known = held_out_q(unlucky_BK, targets_BK, clusters=range(400), judging=JUDGING, known_rate=0.35)

    assert known is not None
    assert known.improvement.mean > own.mean
    assert gate(known).open


def test_a_good_q_on_too_few_conversations_stays_closed() -> None:
    logits_BK, targets_BK = drawn(199)

    few = gate(judged(logits_BK, targets_BK))
    enough = gate(judged(logits_BK, targets_BK), min_conversations=199)

    assert not few.open
    assert "199 held-out conversations, 200 are needed" in few.reason
    assert enough.open


def test_a_gate_may_ask_for_more_than_any_improvement_or_for_less() -> None:
    found = judged(*drawn(400))

    asked = [gate(found, min_improvement=improvement).open for improvement in (0.0, 10.0)]
    useless = gate(judged(torch.zeros_like(drawn(400)[0]), drawn(400)[1]), min_improvement=-10.0)

    assert asked == [True, False]
    assert useless.open


def test_nothing_held_out_is_a_closed_gate() -> None:
    nothing = held_out_q(torch.zeros(2, 2), torch.full((2, 2), math.nan), clusters="ab", judging=JUDGING)

    assert nothing is None
    assert gate(nothing).open is False


def test_when_all_ended_alike_there_is_no_ranking_and_nothing_to_beat() -> None:
    found = judged(torch.zeros(300, 2), torch.ones(300, 2))

    assert found.auc is None
    assert found.explained_variance is None
    assert found.base_rate_entropy == pytest.approx(0.0, abs=1e-9)
    assert not gate(found).open


def test_a_target_outside_its_range_is_refused() -> None:
    with pytest.raises(ValueError, match=r"target 2\.0"):
        held_out_q(torch.zeros(2, 1), torch.tensor([[2.0], [1.0]]), clusters="ab", judging=JUDGING)


def test_turns_of_one_scenario_count_as_one_in_the_interval() -> None:
    logits_BK, targets_BK = drawn(60)
    copies = [part.repeat_interleave(20, dim=0) for part in (logits_BK, targets_BK)]
    clusters = [row // 20 for row in range(1200)]

    alone = judged(logits_BK, targets_BK).improvement
    copied = held_out_q(copies[0], copies[1], clusters=clusters, judging=JUDGING)

    assert copied is not None
    assert copied.improvement.lower == pytest.approx(alone.lower, abs=1e-6)


def test_explained_variance_of_a_shifted_truth_is_one_and_of_a_constant_is_zero() -> None:
    targets_N = torch.tensor([0.0, 1.0, 1.0, 0.0])

    assert explained_variance(targets_N + 0.3, targets_N) == pytest.approx(1.0)
    assert explained_variance(torch.zeros(4), targets_N) == pytest.approx(0.0)


def test_ranking_looks_inside_histories_only() -> None:
    # Between the histories everything is upside down, inside each of them right.
    found = ranking_within([1.0, 2.0, -5.0, -4.0], [0.0, 0.1, 5.0, 5.1], histories="aabb")
    reversed_ = ranking_within([2.0, 1.0, -4.0, -5.0], [0.0, 0.1, 5.0, 5.1], histories="aabb")

    assert (found.histories, found.pairs, found.pair_accuracy) == (2, 2, 1.0)
    assert found.spearman == pytest.approx(1.0)
    assert reversed_.spearman == pytest.approx(-1.0)
    assert reversed_.pair_accuracy == 0.0


def test_ranking_counts_ties_half_and_leaves_close_pairs_out() -> None:
    found = ranking_within([1.0, 1.0, 0.0], [0.0, 1.0, 0.95], histories="aaa", min_difference=0.5)

    # Of 1-0 (tied) and 2-0 (wrong); 2-1 is too close.
    assert (found.pairs, found.pair_accuracy) == (2, 0.25)


def test_without_two_candidates_a_history_says_nothing() -> None:
    found = ranking_within([1.0, 2.0], [0.0, 1.0], histories="ab")

    assert (found.histories, found.spearman, found.pair_accuracy) == (0, None, None)


@given(seed=st.integers(0, 10_000), shift=st.floats(-5, 5))
def test_what_a_history_is_worth_as_a_whole_does_not_change_its_ranking(seed: int, shift: float) -> None:
    generator = np.random.default_rng(seed)
    predicted, truth = generator.normal(size=12), generator.normal(size=12)
    histories = [place % 3 for place in range(12)]

    plain = ranking_within(predicted.tolist(), truth.tolist(), histories=histories)
    shifted = ranking_within(
        (predicted + shift * np.array(histories)).tolist(), truth.tolist(), histories=histories
    )

    assert plain.spearman == pytest.approx(shifted.spearman)
    assert plain.pair_accuracy == shifted.pair_accuracy


def test_a_q_fitted_on_shuffled_outcomes_closes_the_gate_where_the_true_one_opens_it() -> None:
    conversations, outcome_B = spoken(480)
    order_B = torch.randperm(480, generator=torch.Generator().manual_seed(2))
    held_out_B = torch.arange(480) >= 240
    settings = replace(SETTINGS, epochs=4)

    def decision(taught_B: Tensor) -> Gate:
        q, data = fresh_q(), data_of(conversations, taught_B)
        fit_q(q, data, settings=settings, held_out_B=held_out_B)
        scores = q.score(conversations, reference_logprobs_BT=data.reference_logprobs_BT, turns=TURNS)
        last_BK = torch.stack([torch.full((480,), torch.nan), outcome_B], dim=1)
        return gate(
            held_out_q(
                scores.logits_BK[held_out_B], last_BK[held_out_B], clusters=range(240), judging=JUDGING
            )
        )

    assert decision(outcome_B).open
    assert not decision(outcome_B[order_B]).open
