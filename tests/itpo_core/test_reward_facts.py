"""Figures about scores: moments by turn, entropy of shares, stability of ranks; numbers by hand."""

import math

import pytest
import torch

from itpo_core.reward_facts import moments_by_turn, rank_stability, share_entropy, token_lists

HAPPENED = torch.tensor([[True, True], [True, False]])


def test_moments_count_only_who_reached_the_turn() -> None:
    first, second = moments_by_turn(torch.tensor([[1.0, 5.0], [3.0, math.nan]]), HAPPENED)

    assert (first.conversations, first.mean, first.std) == (2, 2.0, 1.0)
    assert (second.conversations, second.mean, second.std) == (1, 5.0, 0.0)


def test_equal_scores_have_entropy_one_and_an_extreme_one_takes_all() -> None:
    whole = torch.ones(1, 3, dtype=torch.bool)

    even = share_entropy(torch.zeros(1, 3), whole, temperature=0.4)
    extreme = share_entropy(torch.tensor([[0.0, 0.0, 1000.0]]), whole, temperature=0.4)

    assert even == pytest.approx(1.0)
    assert extreme == pytest.approx(0.0)


def test_two_to_one_shares_have_their_entropy_and_a_lone_turn_none() -> None:
    scores_BK = torch.tensor([[0.4 * math.log(2.0), 0.0], [7.0, 0.0]])

    found = share_entropy(scores_BK, HAPPENED, temperature=0.4)

    assert found == pytest.approx((math.log(3) - 2 / 3 * math.log(2)) / math.log(2))
    assert share_entropy(scores_BK[1:], HAPPENED[1:], temperature=0.4) is None


def test_a_thousand_turns_share_one_softmax() -> None:
    scores_BK = torch.linspace(-500, 500, 1000)[None, :]

    found = share_entropy(scores_BK, torch.ones(1, 1000, dtype=torch.bool), temperature=0.4)

    assert found is not None
    assert 0 <= found < 1


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan])
def test_shares_need_a_temperature_above_zero(temperature: float) -> None:
    with pytest.raises(ValueError, match="temperature"):
        share_entropy(torch.zeros(2, 2), HAPPENED, temperature=temperature)


def test_stability_is_a_rank_correlation_over_the_probe_alone() -> None:
    before, after = torch.tensor([[1.0, 2.0], [3.0, 9.0]]), torch.tensor([[10.0, 30.0], [20.0, -9.0]])

    found = rank_stability(before, after, among=HAPPENED)

    assert found == pytest.approx(0.5)


def test_a_version_that_scores_all_alike_has_no_ranking() -> None:
    assert rank_stability(torch.zeros(2, 2), torch.rand(2, 2), among=HAPPENED) is None


def test_token_lists_follow_the_turns() -> None:
    values_BT = torch.tensor([[9.0, 1.0, 2.0, 9.0, 3.0], [9.0, 4.0, 9.0, 9.0, 9.0]])
    turn_BT = torch.tensor([[-1, 0, 0, -1, 1], [-1, 0, -1, -1, -1]])

    assert token_lists(values_BT, turn_BT, turns_B=[2, 1]) == [[[1.0, 2.0], [3.0]], [[4.0]]]
