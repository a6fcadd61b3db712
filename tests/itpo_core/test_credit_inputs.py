"""What may enter credit: refused, left out with a counted cause, or taken."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from itpo_core.credit import CreditMethod, credit
from itpo_core.credit_inputs import checked_turns, logprob_fault, outcomes_of, refuse_shapes
from tests.itpo_core.credit_batches import random_batch, taken


def test_a_conversation_with_a_bad_outcome_is_left_out_and_counted_once() -> None:
    turns = random_batch(1, failures=0.0)
    turns.outcome_B[:5] = torch.tensor([math.nan, math.inf, -0.1, 1.1, 0.5])
    turns.reward_B[:2] = math.nan

    checked = checked_turns(turns)

    assert checked.left_out == {"outcome_not_finite": 2, "outcome_out_of_range": 2}
    assert checked.turns.valid_B.tolist() == [False] * 4 + [True] * 8
    assert not checked.turns.happened_BK[:4].any()


def test_scores_rewards_and_conversations_without_a_policy_token_have_causes_of_their_own() -> None:
    turns = random_batch(1, failures=0.0)
    turns.reward_B[0] = math.nan
    turns.scores_BK[1, 0] = math.nan
    turns.tokens_BK[2] = 0

    checked = checked_turns(replace(turns, happened_BK=turns.tokens_BK > 0))

    assert checked.left_out == {"reward_not_finite": 1, "score_not_finite": 1, "no_policy_token": 1}


@pytest.mark.parametrize(
    ("value", "cause"),
    [(0.1, "logprob_positive"), (-math.inf, "logprob_not_finite"), (math.nan, "logprob_not_finite")],
)
def test_log_probabilities_that_are_none_leave_their_conversation_out(value: float, cause: str) -> None:
    turns = random_batch(1, failures=0.0)
    assert turns.turn_index_BT is not None
    logprobs_BT = torch.full(turns.turn_index_BT.shape, -1.0)
    logprobs_BT[3, 1] = value
    # What stands on a user's token was never a probability of the policy.
    logprobs_BT[5, 0] = value

    assert checked_turns(turns, logprobs_BT=logprobs_BT).left_out == {cause: 1}


def test_log_probabilities_of_another_length_are_refused() -> None:
    with pytest.raises(ValueError, match=r"log-probabilities of shape \(12, 2\) for tokens of shape"):
        checked_turns(random_batch(1), logprobs_BT=torch.zeros(12, 2))


@settings(max_examples=40)
@given(
    seed=st.integers(0, 10_000),
    row=st.integers(0, 11),
    junk=st.sampled_from([math.nan, math.inf, -3.0]),
    algorithm=st.sampled_from(["outcome", "itpo", "norm_itpo_share", "oracle_pi", "prime_token"]),
)
def test_one_bad_row_never_changes_another_rows_advantage(
    seed: int, row: int, junk: float, algorithm: str
) -> None:
    turns = random_batch(seed, failures=0.0)
    spoilt = replace(turns, outcome_B=turns.outcome_B.clone(), reward_B=turns.reward_B.clone())
    spoilt.outcome_B[row] = spoilt.reward_B[row] = junk
    others_B = torch.arange(12) != row

    found = credit(checked_turns(spoilt).turns, CreditMethod(algorithm=algorithm))

    without = credit(taken(turns, others_B), CreditMethod(algorithm=algorithm))
    torch.testing.assert_close(found.advantages_BK[others_B], without.advantages_BK, rtol=1e-9, atol=1e-9)
    assert found.advantages_BK[row].abs().sum() == 0


def test_a_batch_that_is_well_is_left_alone() -> None:
    turns = random_batch(3)

    checked = checked_turns(turns)

    assert checked.left_out == {}
    assert checked.turns.valid_B.equal(turns.valid_B)


@pytest.mark.parametrize(
    ("name", "shape"), [("reward_B", (3,)), ("scores_BK", (12, 5)), ("token_scores_BT", (12, 2))]
)
def test_a_tensor_of_another_shape_is_named(name: str, shape: tuple[int, ...]) -> None:
    turns = replace(random_batch(1), **{name: torch.zeros(shape)})

    with pytest.raises(ValueError, match=f"{name} has shape"):
        refuse_shapes(turns)


def test_outcomes_are_numbers_and_nobodys_score_is_not_a_zero() -> None:
    outcomes_B = outcomes_of([1, 0.25, None])

    assert outcomes_B[:2].tolist() == [1.0, 0.25]
    assert outcomes_B[2].isnan()


@pytest.mark.parametrize("value", ["1.0", True, [1.0], b"1"])
def test_an_outcome_that_is_no_number_is_refused_with_its_row(value: object) -> None:
    with pytest.raises(ValueError, match=r"row 1: outcome .* is no number"):
        outcomes_of([0.5, value])


@pytest.mark.parametrize(
    ("logprobs", "fault"),
    [
        ([-0.5, 0.0], None),
        ([-0.5], "1 log-probabilities for 2 tokens"),
        ([-0.5, -math.inf], "log-probability -inf of token 1 is not finite"),
        ([0.5, -1.0], "log-probability 0.5 of token 0 is positive"),
    ],
)
def test_a_turns_log_probabilities_are_usable_or_the_reason_is_said(
    logprobs: list[float], fault: str | None
) -> None:
    assert logprob_fault(logprobs, tokens=2) == fault
