"""Shares and weights beyond the signed ones: the matched placebo, a judge's, and how even they are."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from itpo_core.turn_batch import BatchScalars, Knobs
from itpo_core.turn_shares import (
    judged_shares,
    masked_softmax,
    matched_weights,
    share_entropy,
    share_weights,
)
from tests.itpo_core.test_turn_rewards import make_turns

KNOBS = Knobs(temperature=0.4, share=1.0, std_floor=1e-4, scalars=BatchScalars(1.0, 1.0))


def test_the_matched_placebo_hands_the_weights_out_in_the_order_of_the_draws() -> None:
    scores = [[0.4 * math.log(6), 0.4 * math.log(3), 9.0, 0.0]]
    turns = make_turns(scores, tokens=[[1, 1, 0, 1]], draws_BK=torch.tensor([[3.0, 1.0, 0.1, 2.0]]))

    weights_BK = matched_weights(turns, KNOBS)

    # Weights 1.8, .9, -, .3; the draws say second, fourth, first.
    assert weights_BK[0].tolist() == pytest.approx([0.9, 0.3, 0, 1.8])


def test_a_judge_is_taken_at_its_word_over_the_turns_that_happened() -> None:
    judge_BK = torch.tensor([[1.0, 3.0, 99.0], [0.0, 0.0, 0.0], [1.0, math.nan, 1.0]])
    turns = make_turns([[0.0] * 3] * 3, tokens=[[1, 1, 0], [1, 1, 0], [1, 1, 1]], judge_BK=judge_BK)

    assert judged_shares(turns).tolist() == [[0.25, 0.75, 0], [0.5, 0.5, 0], [pytest.approx(1 / 3)] * 3]


def test_an_infinite_weight_of_a_judge_is_refused() -> None:
    turns = make_turns([[0.0]], tokens=[[1]], judge_BK=torch.tensor([[math.inf]]))

    with pytest.raises(ValueError, match="negative or infinite"):
        judged_shares(turns)


def test_entropy_is_one_for_even_shares_and_zero_for_a_single_winner() -> None:
    happened_BK = torch.tensor([[True, True], [True, False]])

    assert share_entropy(torch.tensor([[0.5, 0.5], [1.0, 0]]), happened_BK) == pytest.approx(1.0)
    assert share_entropy(torch.tensor([[1.0, 0.0], [1.0, 0]]), happened_BK) == 0
    assert share_entropy(torch.tensor([[1.0, 0.0]]), torch.tensor([[True, False]])) is None


@given(seed=st.integers(0, 10_000), temperature=st.floats(1e-6, 1e3))
def test_a_thousand_turns_share_one_whole(seed: int, temperature: float) -> None:
    draw = torch.Generator().manual_seed(seed)
    scores_BK = 1e3 * torch.randn(2, 1000, generator=draw)
    happened_BK = torch.rand(2, 1000, generator=draw) < 0.8

    shares_BK = masked_softmax(scores_BK / temperature, happened_BK)

    assert shares_BK.isfinite().all()
    assert shares_BK.sum(1).tolist() == pytest.approx([1, 1], abs=1e-4)


@pytest.mark.parametrize("temperature", [0.0, -1.0, 1e-9, math.inf, math.nan])
def test_a_temperature_that_nothing_can_be_divided_by_is_refused(temperature: float) -> None:
    with pytest.raises(ValueError, match=r"temperature .*: it must be finite and at least 1e-06"):
        share_weights(
            torch.ones(1, 2),
            torch.ones(1, 2, dtype=torch.bool),
            sign_B=torch.ones(1),
            temperature=temperature,
            share=1.0,
        )
