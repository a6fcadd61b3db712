"""The outcome loss of the implicit reward model, by value and by gradient."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from itpo_core.reward_losses import conversation_logits, outcome_loss


def test_logits_are_beta_times_the_summed_log_ratio_of_each_conversation() -> None:
    logits_B = conversation_logits(
        torch.tensor([1.0, 2.0, 5.0]),
        torch.tensor([0.0, 0.5, 1.0]),
        row_N=torch.tensor([0, 0, 2]),
        rows=3,
        beta=0.2,
    )

    torch.testing.assert_close(logits_B, torch.tensor([0.5, 0.0, 0.8]))


@given(label=st.floats(0, 1))
def test_a_model_equal_to_its_reference_has_loss_ln_two_whatever_the_label(label: float) -> None:
    loss = outcome_loss(torch.zeros(3), torch.full((3,), label))

    assert loss.item() == pytest.approx(math.log(2), abs=1e-6)


def test_a_soft_label_is_not_rounded() -> None:
    loss = outcome_loss(torch.tensor([math.log(3.0)]), torch.tensor([0.25]))

    # The prediction is 3/4.
    assert loss.item() == pytest.approx(-0.25 * math.log(0.75) - 0.75 * math.log(0.25))


def test_the_gradient_of_the_loss_is_prediction_minus_label_times_beta() -> None:
    logprobs_N = torch.zeros(2, requires_grad=True)

    logits_B = conversation_logits(logprobs_N, torch.zeros(2), row_N=torch.tensor([0, 1]), rows=2, beta=0.2)
    outcome_loss(logits_B, torch.tensor([1.0, 0.0])).backward()

    assert logprobs_N.grad is not None
    torch.testing.assert_close(logprobs_N.grad, torch.tensor([-0.05, 0.05]))


def test_an_enormous_logit_stays_finite() -> None:
    assert outcome_loss(torch.tensor([200.0]), torch.tensor([0.0])).item() == pytest.approx(200.0)


@pytest.mark.parametrize("label", [-0.1, 1.5, math.nan])
def test_a_label_that_is_no_outcome_is_refused(label: float) -> None:
    with pytest.raises(ValueError, match=r"is not in \[0, 1\]"):
        outcome_loss(torch.zeros(2), torch.tensor([1.0, label]))
