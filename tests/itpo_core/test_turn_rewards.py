"""Turn rewards against hand-computed conversations, and the sums that each must keep."""

import math
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from itpo_core import turn_rewards, turn_shares
from itpo_core.turn_batch import BatchScalars, Knobs, TurnBatch

KNOBS = Knobs(temperature=0.4, share=0.5, std_floor=1e-4, scalars=BatchScalars(3.0, 1.0))
SPLITS = (
    "outcome",
    "uniform",
    "dirichlet",
    "dirichlet_matched",
    "judge",
    "norm_itpo",
    "norm_itpo_plain",
    "norm_itpo_share",
)


def make_turns(scores: list[list[float]], *, tokens: list[list[int]], **given: Tensor) -> TurnBatch:
    """Conversations of one group that succeeded at no cost, unless told otherwise."""
    tokens_BK = torch.tensor(tokens)
    rows = len(tokens)
    valid_B = given.get("valid_B", torch.ones(rows, dtype=torch.bool))
    outcome_B = given.get("outcome_B", torch.ones(rows, dtype=torch.float64))
    return TurnBatch(
        group_B=torch.zeros(rows, dtype=torch.int64),
        valid_B=valid_B,
        outcome_B=outcome_B,
        reward_B=given.get("reward_B", outcome_B),
        advantage_B=given.get("advantage_B", torch.ones(rows, dtype=torch.float64)),
        happened_BK=turn_rewards.happened(tokens_BK, valid_B),
        tokens_BK=tokens_BK,
        scores_BK=torch.tensor(scores, dtype=torch.float64),
        draws_BK=given.get("draws_BK", torch.ones(tokens_BK.shape, dtype=torch.float64)),
        oracle_BK=torch.zeros(tokens_BK.shape, dtype=torch.float64),
        values_BK=given.get("values_BK", torch.full(tokens_BK.shape, 0.5, dtype=torch.float64)),
        log_ratios_BK=torch.zeros(tokens_BK.shape, dtype=torch.float64),
        judge_BK=given.get("judge_BK", torch.ones(tokens_BK.shape, dtype=torch.float64)),
        oracle_star_BK=torch.zeros(tokens_BK.shape, dtype=torch.float64),
        token_scores_BT=torch.ones(rows, 4, dtype=torch.float64),
        turn_index_BT=given.get("turn_index_BT", torch.tensor([[-1, 0, 0, 1]] * rows)),
    )


def random_turns(seed: int, *, rows: int = 6, turns: int = 4) -> TurnBatch:
    """Conversations of 0 to 4 turns, some turns empty, with outcomes, costs and scores of every kind."""
    generator = torch.Generator().manual_seed(seed)
    tokens_BK = torch.randint(0, 5, (rows, turns), generator=generator)
    outcome_B = torch.rand(rows, generator=generator, dtype=torch.float64).round(decimals=1)
    cost_B = 0.002 * tokens_BK.sum(dim=1)
    return make_turns(
        torch.randn(rows, turns, generator=generator).tolist(),
        tokens=tokens_BK.tolist(),
        outcome_B=outcome_B,
        reward_B=outcome_B - cost_B,
        advantage_B=torch.randn(rows, generator=generator, dtype=torch.float64),
        draws_BK=torch.empty(rows, turns, dtype=torch.float64).exponential_(generator=generator) + 1e-9,
    )


def test_turn_sums_follow_the_turn_index_and_not_runs_of_a_mask() -> None:
    values_BT = torch.tensor([[9.0, 1.0, 2.0, 4.0, 9.0], [1.0, 9.0, 2.0, 4.0, 8.0]])
    # Row 0: a leading user token, then two turns that touch. Row 1: one user token between, cut at the end.
    turn_BT = torch.tensor([[-1, 0, 0, 1, -1], [0, -1, 1, 1, 1]])

    sums_BK = turn_rewards.turn_sums(values_BT, turn_BT, turns=3)

    assert sums_BK.tolist() == [[3.0, 4.0, 0.0], [1.0, 14.0, 0.0]]


def test_an_empty_row_sums_to_zero() -> None:
    sums_BK = turn_rewards.turn_sums(torch.ones(1, 3), torch.full((1, 3), -1), turns=2)

    assert sums_BK.tolist() == [[0.0, 0.0]]


def test_a_turn_index_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="turn index 2 does not fit 2 turns"):
        turn_rewards.turn_sums(torch.ones(1, 1), torch.tensor([[2]]), turns=2)


@given(seed=st.integers(0, 10_000), beta=st.floats(0.01, 2.0))
def test_scores_sum_to_beta_times_the_conversations_log_ratio(seed: int, beta: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    policy_BT, reference_BT = torch.randn(2, 3, 7, generator=generator, dtype=torch.float64)
    turn_BT = torch.randint(-1, 3, (3, 7), generator=generator)

    scores_BK = turn_rewards.implicit_scores(
        policy_BT, reference_BT, turn_index_BT=turn_BT, beta=beta, turns=3
    )

    whole_B = beta * ((policy_BT - reference_BT) * (turn_BT >= 0)).sum(dim=1)
    torch.testing.assert_close(scores_BK.sum(dim=1), whole_B)


def test_user_tokens_change_no_score_and_get_no_gradient() -> None:
    logprobs_BT = torch.zeros(1, 4, requires_grad=True)
    turn_BT = torch.tensor([[-1, 0, -1, 1]])

    scores_BK = turn_rewards.implicit_scores(
        logprobs_BT, torch.tensor([[5.0, 0.0, 7.0, 0.0]]), turn_index_BT=turn_BT, beta=0.2, turns=2
    )
    scores_BK.sum().backward()

    assert scores_BK.tolist() == [[0.0, 0.0]]
    assert logprobs_BT.grad is not None
    torch.testing.assert_close(logprobs_BT.grad, torch.tensor([[0.0, 0.2, 0.0, 0.2]]))


def test_the_last_token_of_a_conversation_counts() -> None:
    scores_BK = turn_rewards.implicit_scores(
        torch.tensor([[0.0, 0.0, 3.0]]),
        torch.zeros(1, 3),
        turn_index_BT=torch.tensor([[-1, 0, 0]]),
        beta=1.0,
        turns=1,
    )

    assert scores_BK.tolist() == [[3.0]]


def test_the_sparse_reward_stands_at_the_last_turn_that_happened() -> None:
    turns = make_turns([[0, 0, 0], [0, 0, 0]], tokens=[[2, 2, 0], [2, 0, 3]])

    rewards_BK = turn_rewards.outcome_at_end(turns, KNOBS)

    assert rewards_BK.tolist() == [[0, 1, 0], [0, 0, 1]]


def test_norm_itpo_as_published_divides_by_the_turns_length_and_the_batchs_extreme() -> None:
    turns = make_turns([[2.0, 1.0]], tokens=[[4, 1]])
    knobs = Knobs(temperature=0.5, share=0.5, std_floor=1e-4, scalars=BatchScalars(2.5, 10.0))

    rewards_BK = turn_rewards.norm_itpo(turns, knobs)

    # Logits: 2/10/4 * 2.5/.5 = .25 and 1/10/1 * 2.5/.5 = .5.
    assert rewards_BK[0, 0] == pytest.approx(1 / (1 + math.exp(0.25)))


def test_the_plain_form_is_a_softmax_of_scores_over_temperature() -> None:
    turns = make_turns([[0.4, 0.0]], tokens=[[4, 1]])

    rewards_BK = turn_rewards.norm_itpo_plain(turns, KNOBS)

    assert rewards_BK[0, 0] == pytest.approx(1 / (1 + math.exp(-1)))


def test_the_batch_scalars_are_the_mean_length_and_the_largest_return_of_turns_that_happened() -> None:
    scores_BK = torch.tensor([[1.0, -3.0], [0.5, 99.0]])
    tokens_BK = torch.tensor([[2, 4], [3, 0]])

    scalars = turn_rewards.batch_scalars(scores_BK, tokens_BK, happened_BK=tokens_BK > 0)

    assert scalars == BatchScalars(mean_turn_tokens=3.0, largest_return=3.0 + 1e-6)


def test_the_same_conversation_gets_the_same_published_share_when_its_scalars_are_kept() -> None:
    alone = make_turns([[0.3, -0.1]], tokens=[[2, 3]])
    among = make_turns([[0.3, -0.1], [8.0, 1.0]], tokens=[[2, 3], [9, 9]])

    kept, crowd = turn_rewards.norm_itpo(alone, KNOBS), turn_rewards.norm_itpo(among, KNOBS)

    assert kept[0].tolist() == crowd[0].tolist()


def test_the_token_cost_lies_on_the_turns_that_spent_the_tokens() -> None:
    cost_BK = turn_rewards.token_costs(
        torch.tensor([1.0]),
        torch.tensor([0.92]),
        tokens_BK=torch.tensor([[3, 0, 1]]),
        happened_BK=torch.tensor([[True, False, True]]),
    )

    torch.testing.assert_close(cost_BK, torch.tensor([[0.06, 0.0, 0.02]]))


@given(seed=st.integers(0, 10_000))
@pytest.mark.parametrize("name", SPLITS)
def test_every_split_sums_to_the_reward(name: str, seed: int) -> None:
    turns = random_turns(seed)

    rewards_BK = turn_rewards.TURN_REWARDS[name](turns, KNOBS)

    expected_B = torch.where(turns.happened_BK.any(dim=1), turns.reward_B, 0)
    torch.testing.assert_close(rewards_BK.sum(dim=1), expected_B)
    assert rewards_BK[~turns.happened_BK].abs().sum() == 0


@given(seed=st.integers(0, 10_000), shift=st.floats(-5, 5))
def test_shares_sum_to_one_and_ignore_a_constant(seed: int, shift: float) -> None:
    turns = random_turns(seed)
    shares = partial(turn_shares.signed_shares, sign_B=turns.advantage_B, temperature=0.4)

    shares_BK = shares(turns.scores_BK, turns.happened_BK)
    shifted_BK = shares(turns.scores_BK + shift, turns.happened_BK)

    torch.testing.assert_close(shares_BK.sum(dim=1), turns.happened_BK.any(dim=1).double())
    torch.testing.assert_close(shares_BK, shifted_BK)


@given(seed=st.integers(0, 10_000), share=st.floats(0, 1))
def test_weights_have_mean_one_and_are_never_negative(seed: int, share: float) -> None:
    turns = random_turns(seed)

    weights_BK = turn_shares.share_weights(
        turns.scores_BK, turns.happened_BK, sign_B=turns.advantage_B, temperature=0.4, share=share
    )

    assert (weights_BK >= 0).all()
    torch.testing.assert_close(weights_BK.sum(dim=1), turn_shares.turn_counts(turns.happened_BK).double())


def test_a_failure_is_charged_to_the_turn_that_scored_lowest() -> None:
    scores_BK, happened_BK = torch.tensor([[0.4, 0.0]] * 2), torch.ones(2, 2, dtype=torch.bool)

    weights_BK = turn_shares.share_weights(
        scores_BK, happened_BK, sign_B=torch.tensor([1.0, -1.0]), temperature=0.4, share=1.0
    )

    high = 2 / (1 + math.exp(-1))
    torch.testing.assert_close(weights_BK, torch.tensor([[high, 2 - high], [2 - high, high]]))


@pytest.mark.parametrize("turns", [1, 3, 6, 49])
@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 1.0])
def test_weights_are_exactly_one_for_equal_scores(turns: int, share: float) -> None:
    happened_BK = torch.ones(1, turns, dtype=torch.bool)

    weights_BK = turn_shares.share_weights(
        torch.full((1, turns), 0.37), happened_BK, sign_B=torch.ones(1), temperature=0.4, share=share
    )

    assert (weights_BK == 1).all()


def test_weights_are_exactly_one_without_share_and_for_a_single_turn() -> None:
    scores_BK = torch.tensor([[3.0, -1.0], [2.0, 0.0]])
    happened_BK = torch.tensor([[True, True], [True, False]])

    none_BK = turn_shares.share_weights(
        scores_BK, happened_BK, sign_B=torch.ones(2), temperature=0.1, share=0.0
    )
    full_BK = turn_shares.share_weights(
        scores_BK, happened_BK, sign_B=torch.ones(2), temperature=0.1, share=1.0
    )

    assert none_BK.tolist() == [[1, 1], [1, 0]]
    assert full_BK[1].tolist() == [1, 0]


def test_an_advantage_of_rounding_noise_has_the_sign_of_zero() -> None:
    sign_B = torch.tensor([0.0, -1e-17], dtype=torch.float64)

    shares_BK = turn_shares.signed_shares(
        torch.tensor([[1.0, 0.0]] * 2), torch.ones(2, 2, dtype=torch.bool), sign_B=sign_B, temperature=0.4
    )

    assert shares_BK[0].tolist() == shares_BK[1].tolist()


def test_an_empty_turn_is_counted_nowhere() -> None:
    turns = make_turns([[0.1, 50.0, 0.3]], tokens=[[2, 0, 2]])

    weights_BK = turn_shares.weights_of(turns, KNOBS)
    uniform_BK = turn_rewards.uniform(turns, KNOBS)

    assert weights_BK[0, 1] == 0
    assert weights_BK.sum() == pytest.approx(2.0)
    assert uniform_BK.tolist() == [[0.5, 0, 0.5]]


@pytest.mark.parametrize("name", list(turn_rewards.TURN_REWARDS))
def test_a_conversation_without_turns_gives_zeros_and_no_nan(name: str) -> None:
    turns = make_turns([[math.nan, math.nan], [0.1, 0.2]], tokens=[[0, 0], [1, 2]])

    rewards_BK = turn_rewards.TURN_REWARDS[name](turns, KNOBS)

    assert rewards_BK[0].tolist() == [0, 0]
    assert rewards_BK.isfinite().all()


def test_an_invalid_conversation_has_no_turns() -> None:
    happened_BK = turn_rewards.happened(torch.tensor([[2, 1], [2, 0]]), torch.tensor([False, True]))

    assert happened_BK.tolist() == [[False, False], [True, False]]


def test_a_sharp_temperature_gives_all_to_the_best_turn_without_overflow() -> None:
    shares_BK = turn_shares.signed_shares(
        torch.tensor([[90.0, 89.0]]),
        torch.ones(1, 2, dtype=torch.bool),
        sign_B=torch.ones(1),
        temperature=1e-3,
    )

    assert shares_BK.tolist() == [[1.0, 0.0]]


def test_a_placebo_draw_of_zero_is_refused() -> None:
    turns = make_turns([[0.0, 0.0]], tokens=[[1, 1]], draws_BK=torch.zeros(1, 2))

    with pytest.raises(ValueError, match="must be above 0"):
        turn_rewards.dirichlet(turns, KNOBS)
