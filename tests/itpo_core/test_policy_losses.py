"""Clipped losses and the KL estimate, by value and by gradient."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from itpo_core.policy_losses import clipped_losses, decayed, k3_divergences, policy_objective, ratio_facts

CLIP = {"clip_low": 0.5, "clip_high": 1.0, "dual_clip": 3.0}


def value_and_gradient(log_ratio: float, advantage: float) -> tuple[float, float]:
    """Loss of one token and its derivative by the log-probability."""
    log_ratios_N = torch.tensor([log_ratio], dtype=torch.float64, requires_grad=True)
    losses_N = clipped_losses(log_ratios_N, torch.tensor([advantage], dtype=torch.float64), **CLIP)
    losses_N.sum().backward()
    assert log_ratios_N.grad is not None
    return losses_N.item(), log_ratios_N.grad.item()


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "gradient"),
    [
        (1.0, 2.0, -2.0, -2.0),  # at the start: minus the advantage
        (1.5, 2.0, -3.0, -3.0),  # inside the clip
        (2.5, 2.0, -4.0, 0.0),  # risen too far on a gain: held at 1 + clip_high
        (0.25, 2.0, -0.5, -0.5),  # fallen on a gain: may always come back
        (0.25, -2.0, 1.0, 0.0),  # fallen too far on a loss: held at 1 - clip_low
        (2.5, -2.0, 5.0, 5.0),  # risen on a loss: pushed back
        (4.0, -2.0, 6.0, 0.0),  # risen far on a loss: bounded by the dual clip
    ],
)
def test_the_clipped_loss_and_its_gradient(
    ratio: float, advantage: float, loss: float, gradient: float
) -> None:
    found = value_and_gradient(math.log(ratio), advantage)

    assert found == (pytest.approx(loss), pytest.approx(gradient))


def test_an_absurd_ratio_stays_a_number() -> None:
    losses_N = clipped_losses(torch.tensor([500.0, -500.0]), torch.tensor([-1.0, -1.0]), **CLIP)

    assert losses_N.tolist() == [3.0, 0.5]


def test_a_dual_clip_that_would_cut_ordinary_losses_is_refused() -> None:
    with pytest.raises(ValueError, match=r"dual_clip 1\.0"):
        clipped_losses(torch.zeros(1), torch.ones(1), clip_low=0.2, clip_high=0.2, dual_clip=1.0)


@given(log_ratio=st.floats(-6, 6), advantage=st.floats(-5, 5))
def test_a_bad_turn_never_costs_more_than_the_dual_clip(log_ratio: float, advantage: float) -> None:
    losses_N = clipped_losses(torch.tensor([log_ratio]), torch.tensor([advantage]), **CLIP)

    assert losses_N.item() <= 3.0 * abs(advantage) + 1e-5
    assert losses_N.item() >= -2.0 * abs(advantage) - 1e-5


def test_k3_has_the_value_and_gradient_of_its_formula() -> None:
    logprobs_N = torch.tensor([0.0, -1.0], dtype=torch.float64, requires_grad=True)

    k3_N = k3_divergences(logprobs_N, torch.tensor([0.0, 0.0], dtype=torch.float64))
    k3_N.sum().backward()

    # d = 0 and d = 1; the derivative by the log-probability is 1 - exp(d).
    assert k3_N.tolist() == pytest.approx([0.0, math.e - 2])
    assert logprobs_N.grad is not None
    assert logprobs_N.grad.tolist() == pytest.approx([0.0, 1 - math.e])


def test_k3_is_bounded_where_the_policy_killed_a_token() -> None:
    logprobs_N = torch.tensor([-40.0], requires_grad=True)

    k3_N = k3_divergences(logprobs_N, torch.zeros(1))
    k3_N.sum().backward()

    assert k3_N.item() == pytest.approx(math.exp(5) - 6)
    assert logprobs_N.grad is not None
    assert logprobs_N.grad.item() == 0


def test_the_mean_of_k3_under_the_policy_is_the_divergence() -> None:
    policy = torch.tensor([0.7, 0.2, 0.1], dtype=torch.float64)
    reference = torch.tensor([0.4, 0.4, 0.2], dtype=torch.float64)

    mean = (policy * k3_divergences(policy.log(), reference.log())).sum()

    torch.testing.assert_close(mean, (policy * (policy.log() - reference.log())).sum())


@given(first=st.floats(-30, 0), second=st.floats(-30, 0))
def test_k3_is_never_negative(first: float, second: float) -> None:
    assert k3_divergences(torch.tensor([first]), torch.tensor([second])).item() >= -1e-6


def test_the_objective_is_a_mean_over_tokens() -> None:
    losses, divergences, entropies = torch.tensor([[1.0, 2.0], [0.0, 4.0], [3.0, 1.0]])

    objective = policy_objective(
        losses, divergences, entropies_N=entropies, kl_weight=0.5, entropy_weight=0.1
    )

    assert objective.item() == pytest.approx(1.5 + 0.5 * 2.0 - 0.1 * 2.0)


def test_ratio_facts_count_what_the_clip_really_stopped() -> None:
    ratios_N = torch.tensor([1.0, 4.0, 4.0, 0.25])
    advantages_N = torch.tensor([1.0, 1.0, -1.0, -1.0])

    facts = ratio_facts(ratios_N.log(), advantages_N, clip_low=0.5, clip_high=1.0)

    assert facts.ratio_mean == pytest.approx(9.25 / 4)
    assert facts.ratio_median == pytest.approx(2.5)
    assert facts.clip_fraction == 0.5
    assert facts.moved_fraction == 0.75
    assert facts.moved_clip_fraction == pytest.approx(2 / 3)


def test_ratio_facts_of_a_policy_that_did_not_move() -> None:
    facts = ratio_facts(torch.zeros(3), torch.ones(3), clip_low=0.2, clip_high=0.2)

    assert (facts.ratio_mean, facts.clip_fraction, facts.moved_clip_fraction) == (1.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("value", "floor", "iteration", "expected"),
    [
        (0.6, 0.2, 0, 0.6),
        (0.6, 0.2, 1, 0.5),
        (1.5, 0.2, 2, 0.93125),
        (1e-3, 0.0, 2, 5.625e-4),
        (0.1, 0.2, 3, 0.1),
    ],
)
def test_the_excess_over_the_floor_decays(
    value: float, floor: float, iteration: int, expected: float
) -> None:
    assert decayed(value, floor, decay=0.75, iteration=iteration) == pytest.approx(expected)


def test_inputs_are_not_written_to() -> None:
    log_ratios_N: Tensor = torch.tensor([3.0])

    clipped_losses(log_ratios_N, torch.tensor([-1.0]), **CLIP)

    assert log_ratios_N.tolist() == [3.0]
