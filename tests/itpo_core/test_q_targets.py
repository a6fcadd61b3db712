"""Targets of a Q-function: the raw outcome discounted, TD(lambda) between it and the values, NaN left out."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from itpo_core.q_targets import monte_carlo_targets, td_lambda_targets, turn_weights, unlabelled_turns

HAPPENED = torch.tensor([[True, True, True], [True, False, False], [True, True, False]])
OUTCOMES = torch.tensor([1.0, 0.5, math.nan])


def loop_td(
    outcome: float, happened: list[bool], *, values: list[float], gamma: float, lam: float
) -> list[float]:
    """The definition, one conversation, one turn after the other from the end."""
    targets = [math.nan] * len(happened)
    turns = [turn for turn in range(len(happened)) if happened[turn]]
    for place in reversed(range(len(turns))):
        if place == len(turns) - 1:
            targets[turns[place]] = outcome
        else:
            after = turns[place + 1]
            targets[turns[place]] = gamma * ((1 - lam) * values[after] + lam * targets[after])
    return targets


def random_case(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Outcomes, happened (holes included) and values of six conversations."""
    generator = torch.Generator().manual_seed(seed)
    happened_BK = torch.rand(6, 5, generator=generator) < 0.7
    return torch.rand(6, generator=generator), happened_BK, torch.rand(6, 5, generator=generator)


def test_the_outcome_is_discounted_by_the_turns_that_follow() -> None:
    targets_BK = monte_carlo_targets(OUTCOMES, HAPPENED, gamma=0.5)

    assert targets_BK[0].tolist() == [0.25, 0.5, 1.0]
    assert targets_BK[1, 0] == 0.5
    assert targets_BK[1, 1:].isnan().all()


def test_a_conversation_without_an_outcome_has_no_targets_and_its_turns_are_counted() -> None:
    targets_BK = monte_carlo_targets(OUTCOMES, HAPPENED, gamma=1.0)
    values_BK = torch.full((3, 3), 0.4)

    bootstrapped_BK = td_lambda_targets(OUTCOMES, HAPPENED, values_BK=values_BK, gamma=1.0, lam=0.0)

    assert targets_BK[2].isnan().all()
    assert bootstrapped_BK[2].isnan().all()
    assert unlabelled_turns(targets_BK, HAPPENED) == 2


def test_td_by_hand() -> None:
    values_BK = torch.tensor([[0.1, 0.2, 0.6]] * 3)

    targets_BK = td_lambda_targets(OUTCOMES, HAPPENED, values_BK=values_BK, gamma=0.5, lam=0.25)

    second = 0.5 * (0.75 * 0.6 + 0.25 * 1.0)
    assert targets_BK[0].tolist() == pytest.approx([0.5 * (0.75 * 0.2 + 0.25 * second), second, 1.0])


@given(seed=st.integers(0, 10_000), gamma=st.floats(0.1, 1.0), lam=st.floats(0.0, 1.0))
def test_td_is_the_loop_of_its_definition(seed: int, gamma: float, lam: float) -> None:
    outcome_B, happened_BK, values_BK = random_case(seed)

    found = td_lambda_targets(outcome_B, happened_BK, values_BK=values_BK, gamma=gamma, lam=lam)

    for row in range(6):
        wanted = loop_td(
            float(outcome_B[row]),
            happened_BK[row].tolist(),
            values=values_BK[row].tolist(),
            gamma=gamma,
            lam=lam,
        )
        np.testing.assert_allclose(found[row].numpy(), wanted, rtol=1e-5)


@given(seed=st.integers(0, 10_000), gamma=st.floats(0.1, 1.0))
def test_with_lambda_one_td_is_monte_carlo_whatever_the_values(seed: int, gamma: float) -> None:
    outcome_B, happened_BK, _ = random_case(seed)
    unknown_BK = torch.full(happened_BK.shape, math.nan)

    found = td_lambda_targets(outcome_B, happened_BK, values_BK=unknown_BK, gamma=gamma, lam=1.0)

    torch.testing.assert_close(
        found, monte_carlo_targets(outcome_B, happened_BK, gamma=gamma), equal_nan=True
    )


@given(seed=st.integers(0, 10_000))
def test_targets_follow_their_conversations_when_these_are_shuffled(seed: int) -> None:
    outcome_B, happened_BK, values_BK = random_case(seed)
    order_B = torch.randperm(6, generator=torch.Generator().manual_seed(seed))

    plain = td_lambda_targets(outcome_B, happened_BK, values_BK=values_BK, gamma=0.9, lam=0.5)
    shuffled = td_lambda_targets(
        outcome_B[order_B], happened_BK[order_B], values_BK=values_BK[order_B], gamma=0.9, lam=0.5
    )

    assert torch.equal(plain[order_B].nan_to_num(-1), shuffled.nan_to_num(-1))


def test_weights_by_conversation_give_every_talk_the_same_say() -> None:
    weights_BK = turn_weights(HAPPENED, per_conversation=True)

    assert weights_BK.sum(dim=1).tolist() == pytest.approx([1.0, 1.0, 1.0])
    assert turn_weights(HAPPENED, per_conversation=False).sum() == HAPPENED.sum()


@pytest.mark.parametrize(
    ("outcome", "gamma", "lam", "value", "message"),
    [
        (math.inf, 1.0, 1.0, 0.5, "infinite"),
        (1.0, 0.0, 1.0, 0.5, "gamma 0.0"),
        (1.0, 1.0, 1.5, 0.5, "lambda 1.5"),
        (1.0, 1.0, 0.5, math.nan, "value before a turn"),
    ],
)
def test_what_has_no_meaning_is_refused(
    outcome: float, gamma: float, lam: float, value: float, message: str
) -> None:
    happened_BK = torch.ones(1, 2, dtype=torch.bool)

    with pytest.raises(ValueError, match=message):
        td_lambda_targets(
            torch.tensor([outcome]), happened_BK, values_BK=torch.full((1, 2), value), gamma=gamma, lam=lam
        )
