"""Credit on its way into OpenRLHF."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from itpo_core.trainers.base import TrainingBatch
from itpo_core.trainers.openrlhf_credit import (
    CommittedRow,
    TurnRewards,
    committed_row,
    rewards_on_places,
    shaped_rewards,
    stage_batch,
    turn_rewards,
    whitened,
)


def batch() -> TrainingBatch:
    """Two conversations; the second is shorter and its padding must not come over."""
    is_policy = torch.tensor([[False, False, True, True], [False, True, True, False]])
    return TrainingBatch(
        tokens_BT=torch.tensor([[1, 2, 3, 4], [5, 6, 7, 0]]),
        is_policy_BT=is_policy,
        behaviour_logprobs_BT=torch.where(is_policy, -0.5, 0.0),
        advantages_BT=torch.where(is_policy, 2.0, 0.0),
        lengths_B=torch.tensor([4, 3]),
        policy_versions=frozenset({"sales-0000"}),
        reward_B=torch.tensor([1.0, 0.0]),
    )


def test_a_staged_row_is_read_by_place_and_without_padding(tmp_path: Path) -> None:
    stage_batch(batch(), tmp_path)

    row = committed_row(CommittedRow(str(tmp_path / "batch.safetensors"), 1).label())

    assert row.tokens_T.tolist() == [5, 6, 7]
    assert row.is_policy_A.tolist() == [True, True]
    assert row.advantages_A.tolist() == [2.0, 2.0]
    assert row.behaviour_logprobs_A.tolist() == [-0.5, -0.5]
    assert row.reward == 0.0


def test_numbers_of_tokens_that_are_not_the_policys_do_not_reach_openrlhf(tmp_path: Path) -> None:
    clean, elsewhere = batch(), torch.where(batch().is_policy_BT, 0.0, 7.0)
    noisy = replace(
        clean,
        advantages_BT=clean.advantages_BT + elsewhere,
        behaviour_logprobs_BT=clean.behaviour_logprobs_BT + elsewhere,
    )

    stage_batch(clean, tmp_path / "clean")
    stage_batch(noisy, tmp_path / "noisy")

    files = [(tmp_path / name / "batch.safetensors").read_bytes() for name in ("clean", "noisy")]
    assert files[0] == files[1]


def test_a_reward_that_is_not_known_is_no_number_and_never_a_zero(tmp_path: Path) -> None:
    stage_batch(replace(batch(), reward_B=None), tmp_path)

    row = committed_row(CommittedRow(str(tmp_path / "batch.safetensors"), 1).label())

    assert row.reward != row.reward


def test_credit_that_is_no_number_is_not_staged(tmp_path: Path) -> None:
    broken = batch().advantages_BT.clone()
    broken[1, 1] = torch.nan

    with pytest.raises(ValueError, match=r"conversations \[1\]"):
        stage_batch(replace(batch(), advantages_BT=broken), tmp_path)


def test_a_turns_reward_lies_where_its_last_token_is_predicted() -> None:
    mask = torch.tensor([[1, 1, 0, 1]])

    found = rewards_on_places([TurnRewards((0.5, 2.0), (3, 5))], mask)

    assert found.tolist() == [[0.0, 0.5, 0.0, 2.0]]


@pytest.mark.parametrize("ends", [(1,), (6,)])
def test_a_turn_that_ends_outside_is_refused(ends: tuple[int]) -> None:
    with pytest.raises(ValueError, match="outside of what was kept"):
        rewards_on_places([TurnRewards((1.0,), ends)], torch.ones(1, 4))


def test_a_turn_that_ends_on_a_users_token_is_refused() -> None:
    with pytest.raises(ValueError, match="not all on the policy's tokens"):
        rewards_on_places([TurnRewards((1.0,), (4,))], torch.tensor([[1, 1, 0, 1]]))


def test_a_label_gives_its_rewards_back() -> None:
    given_rewards = TurnRewards((0.25, -1.0), (3, 7), (2, 3), (0.5, -2.0), 1.0)

    assert turn_rewards(given_rewards.label()) == given_rewards


@pytest.mark.parametrize("label", ["{}", "[1]", '{"batch": "x", "row": 0}'])
def test_another_label_is_refused(label: str) -> None:
    with pytest.raises(ValueError, match="no rewards by turn"):
        turn_rewards(label)


def test_turns_are_rewarded_by_what_they_changed() -> None:
    assert shaped_rewards([0.5, 0.75, 0.9], 1.0) == pytest.approx((0.5, 0.25, 0.25))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6), st.floats(0, 1))
def test_rewards_by_turn_always_sum_to_the_outcome(values: list[float], outcome: float) -> None:
    assert sum(shaped_rewards(values, outcome)) == pytest.approx(outcome, abs=1e-9)


def test_whitened_advantages_have_mean_zero_and_variance_one_on_the_policys_places() -> None:
    mask = torch.tensor([[1.0, 1.0, 0.0], [1.0, 0.0, 1.0]])

    found = whitened(torch.tensor([[1.0, 3.0, 99.0], [5.0, 99.0, 7.0]]), mask)[mask.bool()]

    assert float(found.mean()) == pytest.approx(0, abs=1e-6)
    assert float(found.square().mean()) == pytest.approx(1, abs=1e-5)


def test_rows_that_fill_the_last_minibatch_say_nothing(tmp_path: Path) -> None:
    prompts = stage_batch(batch(), tmp_path, multiple_of=3)

    labels = [json.loads(line)["label"] for line in prompts.read_text().splitlines()]
    filler = committed_row(labels[2])
    assert len(labels) == 3
    assert (filler.tokens_T.tolist(), filler.is_policy_A.tolist()) == ([0, 0], [False])
    assert filler.advantages_A.tolist() == [0.0]
