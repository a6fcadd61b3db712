"""Estimators of the divergence: values and gradients against exact ones, by enumeration of three actions."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from itpo_core.kl import (
    KL_ESTIMATORS,
    NO_LIMITS,
    AdaptiveKl,
    KlLimits,
    adapted_kl_weight,
    k3,
    kl_rewards_to_go,
)

POLICY = torch.tensor([0.7, 0.2, 0.1], dtype=torch.float64)
REFERENCE = torch.tensor([0.4, 0.4, 0.2], dtype=torch.float64)
SAFE = KlLimits()


def logits() -> Tensor:
    """Parameters of a softmax policy over three actions."""
    return POLICY.log().requires_grad_()


def expected_estimate(name: str, logits_A: Tensor) -> Tensor:
    """The mean estimate under the policy, with the samples held fixed as a loss holds them."""
    logprobs_A = logits_A.log_softmax(0)
    return (logprobs_A.detach().exp() * KL_ESTIMATORS[name](logprobs_A - REFERENCE.log(), NO_LIMITS)).sum()


def gradient_of(value: Tensor, logits_A: Tensor) -> list[float]:
    (gradient_A,) = torch.autograd.grad(value, logits_A)
    return gradient_A.tolist()


def reverse(logits_A: Tensor) -> Tensor:
    """KL(policy, reference)."""
    logprobs_A = logits_A.log_softmax(0)
    return (logprobs_A.exp() * (logprobs_A - REFERENCE.log())).sum()


def forward(logits_A: Tensor) -> Tensor:
    """KL(reference, policy)."""
    return (REFERENCE * (REFERENCE.log() - logits_A.log_softmax(0))).sum()


@pytest.mark.parametrize("name", ["k1", "k3", "k3_plus", "k1_score", "k3_score"])
def test_the_expected_value_is_the_divergence(name: str) -> None:
    found = expected_estimate(name, logits())

    assert found.item() == pytest.approx(reverse(logits()).item(), abs=1e-12)


def test_half_the_squared_log_ratio_is_not_the_divergence() -> None:
    exact = sum(
        p * 0.5 * math.log(p / q) ** 2 for p, q in zip(POLICY.tolist(), REFERENCE.tolist(), strict=True)
    )

    assert expected_estimate("k2", logits()).item() == pytest.approx(exact)
    assert exact == pytest.approx(0.1817, abs=1e-4)
    assert reverse(logits()).item() == pytest.approx(0.1838, abs=1e-4)


@pytest.mark.parametrize("name", ["k2", "quadratic", "k3_plus", "k1_score", "k3_score"])
def test_these_pull_along_the_gradient_of_the_reverse_divergence(name: str) -> None:
    logits_A = logits()

    found = gradient_of(expected_estimate(name, logits_A), logits_A)

    assert found == pytest.approx(gradient_of(reverse(logits_A), logits_A), abs=1e-12)


def test_k1_as_a_loss_does_not_pull_at_all() -> None:
    logits_A = logits()

    found = gradient_of(expected_estimate("k1", logits_A), logits_A)

    assert found == pytest.approx([0.0, 0.0, 0.0], abs=1e-12)


def test_k3_pulls_along_the_gradient_of_the_forward_divergence() -> None:
    logits_A = logits()

    found = gradient_of(expected_estimate("k3", logits_A), logits_A)

    assert found == pytest.approx(gradient_of(forward(logits_A), logits_A), abs=1e-12)
    assert found != pytest.approx(gradient_of(reverse(logits_A), logits_A), abs=1e-2)


def test_k3_has_the_value_and_gradient_of_its_formula() -> None:
    log_ratios_N = torch.tensor([0.0, -1.0], dtype=torch.float64, requires_grad=True)

    estimates_N = k3(log_ratios_N, SAFE)
    estimates_N.sum().backward()

    # exp(-x) + x - 1 at x = 0 and x = -1; its derivative is 1 - exp(-x).
    assert estimates_N.tolist() == pytest.approx([0.0, math.e - 2])
    assert log_ratios_N.grad is not None
    assert log_ratios_N.grad.tolist() == pytest.approx([0.0, 1 - math.e])


def test_k3_is_bounded_where_the_policy_killed_a_token() -> None:
    log_ratios_N = torch.tensor([-40.0], requires_grad=True)

    estimates_N = k3(log_ratios_N, SAFE)
    estimates_N.sum().backward()

    assert estimates_N.item() == pytest.approx(math.exp(5) - 6)
    assert log_ratios_N.grad is not None
    assert log_ratios_N.grad.item() == 0


def test_the_quadratic_penalty_has_light_tails_and_still_pulls_there() -> None:
    log_ratios_N = torch.tensor([-10.0], requires_grad=True)

    penalty_N = KL_ESTIMATORS["quadratic"](log_ratios_N, SAFE)
    penalty_N.sum().backward()

    assert penalty_N.item() == 50.0
    assert log_ratios_N.grad is not None
    assert log_ratios_N.grad.item() == -10.0


@pytest.mark.parametrize("name", sorted(KL_ESTIMATORS))
def test_an_output_limit_bounds_every_estimate(name: str) -> None:
    found_N = KL_ESTIMATORS[name](torch.tensor([-30.0, 30.0, 0.0]), KlLimits(input=20.0, output=10.0))

    assert float(found_N.abs().max()) == pytest.approx(10.0)
    assert found_N[2].item() == 0.0


@given(log_ratio=st.floats(-30, 30))
def test_k3_is_never_negative(log_ratio: float) -> None:
    assert k3(torch.tensor([log_ratio]), SAFE).item() >= -1e-6


@pytest.mark.parametrize("name", sorted(KL_ESTIMATORS))
@given(log_ratio=st.floats(-4, 4))
def test_near_the_reference_a_gradient_is_the_log_ratio_up_to_a_constant(name: str, log_ratio: float) -> None:
    log_ratios_N = torch.tensor([log_ratio * 1e-3], dtype=torch.float64, requires_grad=True)

    KL_ESTIMATORS[name](log_ratios_N, SAFE).sum().backward()

    slope = 1.0 if name == "k1" else log_ratio * 1e-3 + (1.0 if name == "k1_score" else 0.0)
    assert log_ratios_N.grad is not None
    assert log_ratios_N.grad.item() == pytest.approx(slope, abs=2e-5)


def test_divergence_as_a_reward_charges_a_token_for_itself_and_all_later_ones() -> None:
    divergences_BT = torch.tensor([[9.0, 1.0, 9.0, 2.0], [0.5, 9.0, 9.0, 9.0]])
    is_policy_BT = torch.tensor([[False, True, False, True], [True, False, False, False]])

    rewards_BT = kl_rewards_to_go(divergences_BT, is_policy_BT)

    assert rewards_BT.tolist() == [[0.0, -3.0, 0.0, -2.0], [-0.5, 0.0, 0.0, 0.0]]


@pytest.mark.parametrize(
    ("divergence", "expected"),
    [(0.1, 0.01), (0.11, 0.0101), (0.5, 0.0102), (0.0, 0.0098)],  # error 0, 0.1, bounded at 0.2 and -0.2
)
def test_the_weight_follows_the_divergence(divergence: float, expected: float) -> None:
    found = adapted_kl_weight(0.01, divergence, adaptive=AdaptiveKl(0.1, horizon=1000), conversations=100)

    assert found == pytest.approx(expected)


@pytest.mark.parametrize(("target", "horizon"), [(0.0, 10), (-1.0, 10), (float("nan"), 10), (0.1, 0)])
def test_a_target_or_horizon_that_cannot_be_is_refused(target: float, horizon: int) -> None:
    with pytest.raises(ValueError, match="both must lie above 0"):
        AdaptiveKl(target, horizon)
