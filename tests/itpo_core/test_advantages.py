"""Advantages against hand-computed groups: ragged, failed, lonely and all alike."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from itpo_core.advantages import (
    ALGORITHMS,
    ESTIMATORS,
    GroupFacts,
    group_facts,
    grpo_baseline,
    grpo_per_turn,
    rloo_baseline,
    rloo_per_turn,
    whiten,
)
from itpo_core.turn_rewards import BatchScalars, Knobs, TurnBatch, happened

KNOBS = Knobs(temperature=0.4, share=0.5, std_floor=1e-4, scalars=BatchScalars(3.0, 1.0))
SPLIT_ALGORITHMS = ("outcome", "uniform", "dirichlet", "norm_itpo", "norm_itpo_plain", "norm_itpo_share")
GRPO, RLOO = ESTIMATORS["grpo"], ESTIMATORS["rloo"]


def all_valid(rewards: Tensor) -> Tensor:
    return torch.ones(len(rewards), dtype=torch.bool)


def make_batch(seed: int, *, turns: int, rows: int = 8, estimator: str = "rloo") -> TurnBatch:
    """Two interleaved groups of random rewards without token cost."""
    generator = torch.Generator().manual_seed(seed)
    group_B = torch.arange(rows) % 2
    tokens_BK = torch.randint(1, 5, (rows, turns), generator=generator)
    reward_B = torch.rand(rows, generator=generator, dtype=torch.float64)
    valid_B = torch.ones(rows, dtype=torch.bool)
    return TurnBatch(
        group_B=group_B,
        valid_B=valid_B,
        outcome_B=reward_B,
        reward_B=reward_B,
        advantage_B=ESTIMATORS[estimator].whole(reward_B, group_B, valid_B=valid_B, std_floor=1e-4),
        happened_BK=happened(tokens_BK, valid_B),
        tokens_BK=tokens_BK,
        scores_BK=torch.randn(rows, turns, generator=generator, dtype=torch.float64),
        draws_BK=torch.empty(rows, turns, dtype=torch.float64).exponential_(generator=generator) + 1e-9,
        oracle_BK=torch.randn(rows, turns, generator=generator, dtype=torch.float64),
    )


def test_grpo_divides_by_the_sample_deviation_plus_the_floor() -> None:
    rewards_B = torch.tensor([1.0, 0.0, 0.0, 0.0], dtype=torch.float64)

    advantages_B = grpo_baseline(rewards_B, torch.zeros(4), valid_B=all_valid(rewards_B), std_floor=0.5)

    # Mean 1/4, sample variance (9 + 3) / 16 / 3 = 1/4, so 3/4 over 1/2 + 1/2.
    assert advantages_B.tolist() == pytest.approx([0.75, -0.25, -0.25, -0.25])


def test_rloo_subtracts_the_mean_of_the_others() -> None:
    rewards_B = torch.tensor([1.0, 0.0, 0.5])

    advantages_B = rloo_baseline(rewards_B, torch.zeros(3), valid_B=all_valid(rewards_B), std_floor=1e-4)

    assert advantages_B.tolist() == pytest.approx([0.75, -0.75, 0.0])


@pytest.mark.parametrize("estimator", [GRPO, RLOO])
def test_an_invalid_member_never_votes(estimator) -> None:
    rewards_B = torch.tensor([1.0, 0.0, math.nan])
    valid_B = torch.tensor([True, True, False])

    whole = estimator.whole(rewards_B, torch.zeros(3), valid_B=valid_B, std_floor=1e-4)
    alone = estimator.whole(rewards_B[:2], torch.zeros(2), valid_B=valid_B[:2], std_floor=1e-4)

    assert whole.tolist() == [*alone.tolist(), 0.0]


@pytest.mark.parametrize("estimator", [GRPO, RLOO])
def test_a_group_of_one_and_a_group_of_equals_learn_exactly_nothing(estimator) -> None:
    rewards_B = torch.tensor([1.0, 0.1, 0.1, 0.1], dtype=torch.float64)

    advantages_B = estimator.whole(
        rewards_B, torch.tensor([0, 1, 1, 1]), valid_B=all_valid(rewards_B), std_floor=1e-12
    )

    assert advantages_B.tolist() == [0, 0, 0, 0]


def test_groups_without_a_lesson_are_counted_by_rule() -> None:
    rewards_B = torch.tensor([1.0, math.nan, 0.5, 0.5, 0.0, 1.0])
    valid_B = torch.tensor([True, False, True, True, True, True])

    facts = group_facts(rewards_B, torch.tensor([0, 0, 1, 1, 2, 2]), valid_B=valid_B)

    assert facts == GroupFacts(groups=3, too_few_valid=1, zero_variance=1)


def test_a_valid_reward_that_is_no_number_is_refused_with_its_row() -> None:
    with pytest.raises(ValueError, match="row 1, turn 0: reward nan"):
        rloo_baseline(
            torch.tensor([1.0, math.nan]),
            torch.zeros(2),
            valid_B=torch.ones(2, dtype=torch.bool),
            std_floor=1e-4,
        )


def test_returns_are_compared_turn_by_turn_with_the_siblings_that_got_there() -> None:
    rewards_BK = torch.tensor([[1.0, 2.0], [3.0, 0.0], [5.0, 4.0]])
    happened_BK = torch.tensor([[True, True], [True, False], [True, True]])

    advantages_BK = rloo_per_turn(
        rewards_BK, happened_BK, group_B=torch.zeros(3), valid_B=all_valid(rewards_BK), std_floor=1e-4
    )

    # Returns 3, 3, 9 at turn 0 and 2, -, 4 at turn 1.
    assert advantages_BK.tolist() == [[-3.0, -2.0], [-3.0, 0.0], [6.0, 2.0]]


def test_a_turn_that_no_sibling_reached_is_neutral() -> None:
    rewards_BK = torch.tensor([[0.0, 5.0], [0.0, 0.0]])
    happened_BK = torch.tensor([[True, True], [True, False]])

    advantages_BK = grpo_per_turn(
        rewards_BK, happened_BK, group_B=torch.zeros(2), valid_B=all_valid(rewards_BK), std_floor=1e-4
    )

    assert advantages_BK[0, 1] == 0
    assert advantages_BK[0, 0] == pytest.approx(math.sqrt(0.5), abs=1e-4)


def test_equal_outcomes_favour_neither_short_nor_long_conversations() -> None:
    # The released estimator gives the one-turn conversation +0.67 and the three-turn one -2.0 here.
    rewards_BK = torch.tensor([[1.0, 0.0, 0.0], [1 / 3, 1 / 3, 1 / 3]], dtype=torch.float64)
    happened_BK = torch.tensor([[True, False, False], [True, True, True]])

    advantages_BK = rloo_per_turn(
        rewards_BK, happened_BK, group_B=torch.zeros(2), valid_B=all_valid(rewards_BK), std_floor=1e-4
    )

    assert advantages_BK.abs().max() < 1e-12


@given(seed=st.integers(0, 10_000), rows=st.integers(2, 12), groups=st.integers(1, 4))
@pytest.mark.parametrize("name", ["grpo", "rloo"])
def test_advantages_of_a_group_sum_to_zero_and_ignore_order_and_a_constant(
    name: str, seed: int, rows: int, groups: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    rewards_B = torch.rand(rows, generator=generator, dtype=torch.float64)
    group_B = torch.randint(0, groups, (rows,), generator=generator)
    order_B = torch.randperm(rows, generator=generator)
    valid_B = torch.rand(rows, generator=generator) < 0.8

    def whole(rewards: Tensor, group: Tensor, valid: Tensor) -> Tensor:
        return ESTIMATORS[name].whole(rewards, group, valid_B=valid, std_floor=1e-4)

    advantages_B = whole(rewards_B, group_B, valid_B)

    sums_G = torch.zeros(groups, dtype=torch.float64).index_add(0, group_B, advantages_B)
    torch.testing.assert_close(sums_G, torch.zeros_like(sums_G), atol=1e-9, rtol=0)
    torch.testing.assert_close(
        whole(rewards_B[order_B], group_B[order_B], valid_B[order_B]), advantages_B[order_B]
    )
    torch.testing.assert_close(whole(rewards_B + 3, group_B, valid_B), advantages_B)


@given(seed=st.integers(0, 10_000), padding=st.integers(1, 3))
@pytest.mark.parametrize("name", ["grpo", "rloo"])
def test_padded_turns_change_nothing(name: str, seed: int, padding: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    rewards_BK = torch.randn(6, 3, generator=generator)
    happened_BK = torch.rand(6, 3, generator=generator) < 0.7
    kwargs = {"group_B": torch.arange(6) % 2, "valid_B": all_valid(rewards_BK), "std_floor": 1e-4}

    plain_BK = ESTIMATORS[name].per_turn(rewards_BK, happened_BK, **kwargs)
    padded_BK = ESTIMATORS[name].per_turn(
        torch.nn.functional.pad(rewards_BK, (0, padding), value=math.nan),
        torch.nn.functional.pad(happened_BK, (0, padding)),
        **kwargs,
    )

    assert padded_BK[:, :3].tolist() == plain_BK.tolist()
    assert padded_BK[:, 3:].abs().sum() == 0


@given(seed=st.integers(0, 10_000))
@pytest.mark.parametrize("estimator", ["grpo", "rloo"])
@pytest.mark.parametrize("name", SPLIT_ALGORITHMS)
def test_with_one_turn_every_split_is_the_whole_conversations_advantage(
    name: str, estimator: str, seed: int
) -> None:
    turns = make_batch(seed, turns=1, estimator=estimator)

    advantages_BK = ALGORITHMS[name](turns, KNOBS, estimator=ESTIMATORS[estimator])

    torch.testing.assert_close(advantages_BK[:, 0], turns.advantage_B)


def test_one_turn_and_rloo_is_n_over_n_minus_one_times_the_distance_to_the_mean() -> None:
    turns = make_batch(5, turns=1)

    advantages_BK = ALGORITHMS["norm_itpo"](turns, KNOBS, estimator=RLOO)

    group = turns.reward_B[::2]
    torch.testing.assert_close(advantages_BK[::2, 0], 4 / 3 * (group - group.mean()))


@given(seed=st.integers(0, 10_000))
@pytest.mark.parametrize("name", ["dirichlet", "norm_itpo_share"])
def test_split_advantages_keep_the_mean_over_turns(name: str, seed: int) -> None:
    turns = make_batch(seed, turns=4)

    advantages_BK = ALGORITHMS[name](turns, KNOBS, estimator=RLOO)

    torch.testing.assert_close(advantages_BK.mean(dim=1), turns.advantage_B)


@given(seed=st.integers(0, 10_000))
def test_signed_shares_never_turn_the_sign_of_the_advantage(seed: int) -> None:
    turns = make_batch(seed, turns=4)

    advantages_BK = ALGORITHMS["norm_itpo_share"](turns, KNOBS, estimator=RLOO)

    assert (advantages_BK * turns.advantage_B[:, None] >= 0).all()


def test_without_share_the_signed_shares_are_the_outcome_exactly() -> None:
    turns = make_batch(3, turns=4)
    knobs = Knobs(temperature=0.4, share=0.0, std_floor=1e-4, scalars=BatchScalars(3.0, 1.0))

    shared_BK = ALGORITHMS["norm_itpo_share"](turns, knobs, estimator=RLOO)

    assert torch.equal(shared_BK, ALGORITHMS["outcome"](turns, knobs, estimator=RLOO))


def test_whitening_weighs_turns_by_their_tokens() -> None:
    values = torch.tensor([[1.0, 4.0, 99.0]])
    weights = torch.tensor([[3, 1, 0]])

    whitened = whiten(values, weights)

    # Mean 7/4, population variance (3 * 9/16 + 81/16) / 4 = 27/16.
    deviation = math.sqrt(27 / 16)
    torch.testing.assert_close(whitened, torch.tensor([[-0.75 / deviation, 2.25 / deviation, 0.0]]))


@given(seed=st.integers(0, 10_000), scale=st.floats(0.1, 1000))
def test_whitening_erases_the_scale_of_a_reward(seed: int, scale: float) -> None:
    values = torch.randn(5, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    weights = torch.ones(5, 3)

    torch.testing.assert_close(whiten(scale * values, weights), whiten(values, weights), atol=1e-4, rtol=1e-4)


def test_whitening_a_constant_or_nothing_gives_zeros() -> None:
    assert whiten(torch.full((2, 2), 3.0), torch.ones(2, 2)).tolist() == [[0, 0], [0, 0]]
    assert whiten(torch.ones(2, 2), torch.zeros(2, 2)).tolist() == [[0, 0], [0, 0]]


def test_the_oracle_of_an_invalid_conversation_moves_nobody() -> None:
    turns = make_batch(1, turns=2)
    broken = turns.oracle_BK.clone()
    broken[0] = math.nan
    tokens_BK = turns.tokens_BK.clone()
    tokens_BK[0] = 0
    changed = TurnBatch(
        group_B=turns.group_B,
        valid_B=turns.valid_B,
        outcome_B=turns.outcome_B,
        reward_B=turns.reward_B,
        advantage_B=turns.advantage_B,
        happened_BK=tokens_BK > 0,
        tokens_BK=tokens_BK,
        scores_BK=turns.scores_BK,
        draws_BK=turns.draws_BK,
        oracle_BK=broken,
    )

    advantages_BK = ALGORITHMS["oracle_pi"](changed, KNOBS, estimator=RLOO)

    assert advantages_BK[0].tolist() == [0, 0]
    torch.testing.assert_close(advantages_BK[1:], whiten(turns.oracle_BK[1:], turns.tokens_BK[1:]))
