"""Groups without a lesson, and the price of excessive length."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from itpo_core.dapo import overlong_penalties, varied_groups


def test_only_groups_whose_rewards_differ_teach() -> None:
    rewards_B = torch.tensor([1.0, 0.0, 1.0, 1.0, 0.5])
    group_B = torch.tensor([7, 3, 7, 3, 9])  # 7 is all ones, 9 is alone

    assert varied_groups(rewards_B, group_B).tolist() == [False, True, False, True, False]


def test_differences_within_the_tolerance_do_not_count() -> None:
    rewards_B = torch.tensor([1.0, 1.0 + 1e-4, 0.0, 1.0])

    kept_B = varied_groups(rewards_B, torch.tensor([0, 0, 1, 1]), tolerance=1e-3)

    assert kept_B.tolist() == [False, False, True, True]


@given(order=st.permutations(range(6)))
def test_the_order_of_conversations_does_not_matter(order: list[int]) -> None:
    rewards_B, group_B = torch.tensor([0.0, 1, 1, 1, 0, 0]), torch.tensor([0, 0, 1, 1, 2, 2])

    kept_B = varied_groups(rewards_B[order], group_B[order])

    assert kept_B.tolist() == [group_B[index] == 0 for index in order]


def test_the_penalty_starts_at_the_buffer_and_stays_at_the_limit() -> None:
    penalties = overlong_penalties(torch.tensor([[10, 80], [90, 100], [150, 85]]), limit=100, buffer=20)

    assert penalties.tolist() == [[0.0, 0.0], [-0.5, -1.0], [-1.0, -0.25]]


@given(length=st.integers(0, 300), buffer=st.integers(1, 100))
def test_the_penalty_never_rises_with_length(length: int, buffer: int) -> None:
    shorter, longer = overlong_penalties(
        torch.tensor([length, length + 1]), limit=100, buffer=buffer
    ).tolist()

    assert -1.0 <= longer <= shorter <= 0.0


@pytest.mark.parametrize("buffer", [0, -1, 101])
def test_a_buffer_that_does_not_fit_the_limit_is_refused(buffer: int) -> None:
    with pytest.raises(ValueError, match="give 0 < buffer <= limit"):
        overlong_penalties(torch.tensor([1]), limit=100, buffer=buffer)
