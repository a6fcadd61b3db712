"""Policy losses by value and by gradient, and what is read off them."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from itpo_core.policy_losses import (
    POLICY_LOSSES,
    Clip,
    PolicyTokens,
    clipped_losses,
    decayed,
    ratio_facts,
    stopped_tokens,
    token_objectives,
)
from itpo_core.sequences import Sequences

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


def test_the_objective_adds_the_divergence_and_takes_off_the_entropy() -> None:
    losses, divergences, entropies = torch.tensor([[1.0, 2.0], [0.0, 4.0], [3.0, 1.0]])

    objectives_N = token_objectives(
        losses, divergences, entropies_N=entropies, kl_weight=0.5, entropy_weight=0.1
    )

    assert objectives_N.tolist() == pytest.approx([0.7, 3.9])


def test_ratio_facts_count_what_the_clip_really_stopped() -> None:
    ratios_N = torch.tensor([1.0, 4.0, 4.0, 0.25])
    advantages_N = torch.tensor([1.0, 1.0, -1.0, -1.0])

    stopped_N = stopped_tokens(ratios_N.log(), advantages_N, clip=Clip(0.5, 1.0))
    facts = ratio_facts(ratios_N.log(), stopped_N)

    assert facts.ratio_mean == pytest.approx(9.25 / 4)
    assert facts.ratio_median == pytest.approx(2.5)
    assert facts.clip_fraction == 0.5
    assert facts.moved_fraction == 0.75
    assert facts.moved_clip_fraction == pytest.approx(2 / 3)


def test_ratio_facts_of_a_policy_that_did_not_move() -> None:
    facts = ratio_facts(torch.zeros(3), torch.zeros(3, dtype=torch.bool))

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


TWO_AND_ONE = Sequences(index_N=torch.tensor([0, 0, 1]), tokens_S=torch.tensor([2, 1]))
WIDE = Clip(low=0.5, high=1.0)


def losses_and_gradients(name: str, *, ratios: list[float], advantages: list[float]) -> list[list[float]]:
    """Losses of a sequence of two tokens and one of a single token, and the gradients of their sum.

    The start is probability 1, so that the log-probabilities are the log-ratios.
    """
    logprobs_N = torch.tensor(ratios, dtype=torch.float64).log().requires_grad_()
    advantages_N = torch.tensor(advantages, dtype=torch.float64)
    tokens = PolicyTokens(logprobs_N, torch.zeros_like(advantages_N), advantages_N, TWO_AND_ONE)

    losses_N = POLICY_LOSSES[name].losses(tokens, WIDE)
    losses_N.sum().backward()

    assert logprobs_N.grad is not None
    return [losses_N.tolist(), logprobs_N.grad.tolist()]


def test_gspo_gives_a_sequence_the_geometric_mean_and_a_gradient_through_it() -> None:
    losses, gradients = losses_and_gradients("gspo", ratios=[4.0, 0.5625, 1.0], advantages=[1.0, 3.0, -2.0])

    # s = sqrt(4 * 0.5625) = 1.5; d s / d log p = s / 2 at both tokens, for the advantages of both.
    assert losses == pytest.approx([-1.5, -4.5, 2.0])
    assert gradients == pytest.approx([-3.0, -3.0, 2.0])


def test_gspo_with_token_gradients_keeps_each_token_its_own_advantage() -> None:
    losses, gradients = losses_and_gradients(
        "gspo_token", ratios=[4.0, 0.5625, 1.0], advantages=[1.0, 3.0, -2.0]
    )

    assert losses == pytest.approx([-1.5, -4.5, 2.0])
    assert gradients == pytest.approx([-1.5, -4.5, 2.0])


@given(first=st.floats(0.3, 3), second=st.floats(0.3, 3), advantage=st.floats(-3, 3))
def test_both_forms_of_gspo_agree_where_a_sequence_has_one_advantage(
    first: float, second: float, advantage: float
) -> None:
    arguments = {"ratios": [first, second, 1.0], "advantages": [advantage, advantage, 1.0]}

    through, own = (losses_and_gradients(name, **arguments) for name in ("gspo", "gspo_token"))

    assert through[0] == pytest.approx(own[0])
    assert through[1] == pytest.approx(own[1])


def test_gspo_stops_a_whole_sequence_or_none_of_it() -> None:
    _, gradients = losses_and_gradients("gspo", ratios=[9.0, 1.0, 1.0], advantages=[1.0, 1.0, 1.0])

    assert gradients == pytest.approx([0.0, 0.0, -1.0])  # sqrt(9) = 3 lies above 1 + 1


def test_cispo_caps_the_weight_and_keeps_the_gradient() -> None:
    losses, gradients = losses_and_gradients("cispo", ratios=[4.0, 0.25, 1.0], advantages=[1.0, -1.0, 3.0])

    # Weights 2, 0.5 and 1; the gradient is -weight * advantage, the value carries the log-probability.
    assert gradients == pytest.approx([-2.0, 0.5, -3.0])
    assert losses == pytest.approx([-2 * math.log(4), 0.5 * math.log(0.25), 0.0])


def test_a_capped_weight_counts_whatever_the_advantage() -> None:
    log_ratios_N = torch.tensor([4.0, 0.25, 1.0]).log()
    tokens = PolicyTokens(log_ratios_N, torch.zeros(3), torch.tensor([-1.0, 1.0, 1.0]), TWO_AND_ONE)

    assert POLICY_LOSSES["cispo"].clipped_tokens(tokens, WIDE).tolist() == [True, True, False]
    assert POLICY_LOSSES["ppo"].clipped_tokens(tokens, WIDE).tolist() == [False, False, False]


@pytest.mark.parametrize("name", sorted(POLICY_LOSSES))
def test_at_the_start_every_loss_has_the_policy_gradient(name: str) -> None:
    _, gradients = losses_and_gradients(name, ratios=[1.0, 1.0, 1.0], advantages=[2.0, 2.0, -3.0])

    assert gradients == pytest.approx([-2.0, -2.0, 3.0])


def test_without_a_dual_clip_a_rising_loss_is_not_bounded() -> None:
    log_ratios_N = torch.tensor([math.log(100.0), 0.0], requires_grad=True)
    advantages_N = torch.tensor([-1.0, 0.0])
    one = Sequences(torch.tensor([0, 1]), torch.tensor([1, 1]))

    losses_N = POLICY_LOSSES["ppo"].losses(
        PolicyTokens(log_ratios_N, torch.zeros(2), advantages_N, one), Clip(0.2, 0.2)
    )
    losses_N.sum().backward()

    assert losses_N.tolist() == pytest.approx([100.0, 0.0])
    assert log_ratios_N.grad is not None
    assert log_ratios_N.grad.tolist() == pytest.approx([100.0, 0.0])
