"""Turns laid end to end keep their tokens, their masks and their credit where they belong."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from itpo_core.streams import TurnTokens, spread_over_tokens, streams, turn_token_counts

TWO_TURNS = [TurnTokens([1, 2], [3, 4], [-0.5, -1.0]), TurnTokens([5], [6], [-2.0])]
ONE_TURN = [TurnTokens([7], [8])]


def test_two_turns_lie_end_to_end_with_only_their_own_tokens_marked():
    of = streams({"a": TWO_TURNS, "b": ONE_TURN})

    assert of.tokens_BT.tolist() == [[1, 2, 3, 4, 5, 6], [7, 8, 0, 0, 0, 0]]
    assert of.turn_BT.tolist() == [[-1, -1, 0, 0, -1, 1], [-1, 0, -1, -1, -1, -1]]
    assert of.behaviour_logprobs_BT.tolist() == [[0, 0, -0.5, -1.0, 0, -2.0], [0, 0, 0, 0, 0, 0]]
    assert of.lengths_B.tolist() == [6, 2]


def test_every_policy_token_carries_its_turns_value_and_no_other_token_does():
    of = streams({"a": TWO_TURNS, "b": ONE_TURN})

    spread_BT = spread_over_tokens([[0.25, -0.5], [2.0]], of)

    assert spread_BT.tolist() == [[0, 0, 0.25, 0.25, 0, -0.5], [0, 2.0, 0, 0, 0, 0]]


def test_policy_tokens_are_counted_by_turn():
    assert turn_token_counts(streams({"a": TWO_TURNS, "b": ONE_TURN})).tolist() == [[2, 1], [1, 0]]


def test_a_turn_without_tokens_of_its_own_is_refused_by_name():
    with pytest.raises(ValueError, match="conversation a, turn 1: no token ids"):
        streams({"a": [TWO_TURNS[0], TurnTokens([1], [])]})


@given(lengths=st.lists(st.lists(st.integers(1, 5), min_size=1, max_size=4), min_size=1, max_size=5))
def test_the_sum_over_tokens_is_value_times_length(lengths: list[list[int]]):
    of = streams({str(i): [TurnTokens([9], [1] * n) for n in row] for i, row in enumerate(lengths)})
    values = [[float(k + 1) for k in range(len(row))] for row in lengths]

    spread_BT = spread_over_tokens(values, of)

    expected = [sum((k + 1) * n for k, n in enumerate(row)) for row in lengths]
    assert spread_BT.sum(dim=1).tolist() == expected
    assert torch.equal(spread_BT != 0, of.is_policy_BT)
