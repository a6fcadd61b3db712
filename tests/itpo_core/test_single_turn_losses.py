"""Advantages of sampled turns and the loss of a step, by hand and at the known optimum."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from itpo_core.single_turn_losses import (
    StepTokens,
    logged_advantages,
    scaled_advantages,
    single_turn_terms,
    spread,
    without_profit_from_cuts,
)


def rewards(seed: int, *, histories: int = 5, draws: int = 4) -> torch.Tensor:
    return torch.randn(histories, draws, generator=torch.Generator().manual_seed(seed))


def test_advantages_are_centred_per_history_and_divided_by_one_spread() -> None:
    rewards_HM = torch.tensor([[1.0, 3.0], [10.0, 10.0]])

    scale = spread(rewards_HM)
    advantages_HM = scaled_advantages(rewards_HM, scale=scale, limit=4.0)

    assert scale == pytest.approx(0.5**0.5)
    assert advantages_HM[0].tolist() == pytest.approx([-(2**0.5), 2**0.5])
    assert advantages_HM[1].tolist() == [0, 0]


def test_advantages_stay_within_the_limit() -> None:
    rewards_HM = torch.zeros(100, 2)
    rewards_HM[0] = torch.tensor([5.0, -5.0])

    advantages_HM = scaled_advantages(rewards_HM, scale=spread(rewards_HM), limit=4.0)

    assert advantages_HM[0].tolist() == [4.0, -4.0]


def test_a_spread_of_mere_rounding_gives_no_advantage() -> None:
    rewards_HM = 1e-6 * rewards(0)

    advantages_HM = scaled_advantages(rewards_HM, scale=spread(rewards_HM), limit=4.0)

    assert advantages_HM.abs().max() == 0


def test_a_cut_turn_gets_the_worst_reward_less_half_a_spread() -> None:
    rewards_HM = torch.tensor([[1.0, 3.0], [0.0, 0.0]])
    is_closed_HM = torch.tensor([[True, False], [True, True]])

    found_HM = without_profit_from_cuts(rewards_HM, is_closed_HM, margin=0.5)

    assert found_HM[0].tolist() == pytest.approx([1.0, 1 - 0.5 * 0.5**0.5])
    assert found_HM[1].tolist() == [0, 0]


@given(seed=st.integers(0, 10_000), share=st.floats(0, 1))
def test_a_cut_turn_never_profits(seed: int, share: float) -> None:
    rewards_HM = rewards(seed)
    generator = torch.Generator().manual_seed(seed + 1)
    is_closed_HM = torch.rand(rewards_HM.shape, generator=generator) >= share

    found_HM = without_profit_from_cuts(rewards_HM, is_closed_HM, margin=0.5)
    advantages_HM = scaled_advantages(found_HM, scale=spread(found_HM), limit=4.0)

    assert (advantages_HM[~is_closed_HM] <= 1e-6).all()
    worst_H1 = advantages_HM.min(dim=1, keepdim=True).values
    assert torch.where(is_closed_HM, 0.0, advantages_HM - worst_H1).abs().max() < 1e-6


@given(seed=st.integers(0, 10_000), shift=st.floats(-50, 50))
def test_what_all_turns_of_a_history_share_changes_nothing(seed: int, shift: float) -> None:
    rewards_HM = rewards(seed)
    shifted_HM = rewards_HM + shift * torch.arange(5.0)[:, None]

    plain_HM = scaled_advantages(rewards_HM, scale=spread(rewards_HM), limit=4.0)
    found_HM = scaled_advantages(shifted_HM, scale=spread(shifted_HM), limit=4.0)

    torch.testing.assert_close(found_HM, plain_HM, atol=1e-3, rtol=1e-3)


def test_a_logged_turn_weighs_as_much_as_all_that_were_sampled() -> None:
    found_N = logged_advantages(torch.tensor([1.0, 0.0]), torch.tensor([0.75, 0.5]), draws=4, scale=0.5)

    assert found_N.tolist() == [2.0, -4.0]


def test_a_token_loses_the_clipped_surrogate_and_the_quadratic_penalty() -> None:
    tokens = StepTokens(
        logprobs_N=torch.log(torch.tensor([0.9, 0.2])),
        drawn_N=torch.log(torch.tensor([0.3, 0.2])),
        reference_N=torch.log(torch.tensor([0.9, 0.2])) - torch.tensor([1.0, 0.0]),
        advantages_N=torch.tensor([2.0, -1.0]),
    )

    found = single_turn_terms(tokens, clip_low=0.5, clip_high=0.5, kl_weight=0.6)

    # The first ratio is 3: clipped at 1.5, so -3; the second is 1: +1. Penalty of the first: 0.5.
    assert found.policy_losses_N.tolist() == pytest.approx([-3.0, 1.0])
    assert found.divergences_N.tolist() == pytest.approx([0.5, 0.0])
    assert found.clipped_N.tolist() == [True, False]
    assert found.losses_N.tolist() == pytest.approx([-3 + 0.6 * 0.5, 1.0])


def test_a_falling_ratio_is_clipped_on_a_loss_and_never_on_a_gain() -> None:
    tokens = StepTokens(
        logprobs_N=torch.tensor([math.log(0.1), math.log(0.1)]),
        drawn_N=torch.tensor([math.log(0.4), math.log(0.4)]),
        reference_N=torch.tensor([math.log(0.1), math.log(0.1)]),
        advantages_N=torch.tensor([-1.0, 1.0]),
    )

    found = single_turn_terms(tokens, clip_low=0.5, clip_high=0.5, kl_weight=0.6)

    assert found.policy_losses_N.tolist() == pytest.approx([0.5, -0.25])
    assert found.clipped_N.tolist() == [True, False]


def test_with_the_log_ratio_as_reward_the_optimum_is_phi_itself() -> None:
    # pi = phi = (1/2, 1/4, 1/4), met by four draws in just these shares; pi_i is uniform.
    beta, ids_N = 0.7, torch.tensor([0, 0, 1, 2])
    logits_V = torch.log(torch.tensor([0.5, 0.25, 0.25])).requires_grad_()
    logprobs_N = logits_V.log_softmax(dim=-1)[ids_N]
    reference_N = torch.full((4,), math.log(1 / 3))
    tokens = StepTokens(
        logprobs_N,
        drawn_N=logprobs_N.detach(),
        reference_N=reference_N,
        advantages_N=beta * (logprobs_N.detach() - reference_N),
    )

    single_turn_terms(tokens, clip_low=0.5, clip_high=0.5, kl_weight=beta).losses_N.mean().backward()

    assert logits_V.grad is not None
    assert logits_V.grad.tolist() == pytest.approx([0, 0, 0], abs=1e-7)
