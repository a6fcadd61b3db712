"""What holds for every algorithm and estimator, on random batches with ragged groups and failed rows."""

import math
from dataclasses import replace
from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from itpo_core.credit import SIGNALS, Credited, CreditMethod, credit
from itpo_core.estimators import NAMES
from itpo_core.profiles import PROFILES, Deviation
from itpo_core.turn_batch import Knobs, TurnBatch
from itpo_core.turn_rewards import TURN_REWARDS
from itpo_core.turn_shares import matched_weights, turn_counts, weights_of
from tests.itpo_core.credit_batches import padded, random_batch, taken

SEEDS = st.integers(0, 10_000)
ALGORITHMS = st.sampled_from(sorted(TURN_REWARDS))
ESTIMATORS = st.sampled_from(NAMES)
SPLITS = ("outcome", "uniform", "dirichlet", "dirichlet_matched", "judge", "norm_itpo_share")
# Profiles that neither refuse a ragged batch nor know one estimator alone.
OPEN_PROFILES = st.sampled_from(["safe", "verl", "skyrl", "nemo_rl"])
# Every example credits two batches or more.
FEW = settings(max_examples=40, deadline=None)
FINE = {"rtol": 1e-9, "atol": 1e-9}


def methods(**fixed) -> st.SearchStrategy[CreditMethod]:
    """Any algorithm by any estimator, under what is fixed."""
    free = {
        "algorithm": ALGORITHMS,
        "advantage": ESTIMATORS,
        "std": st.sampled_from(["group", "batch", "none"]),
        "score_scale": st.sampled_from(["auto", "none", "batch_max", "running_std"]),
        "gae_lambda": st.sampled_from([0.0, 0.9, 1.0]),
    }
    return st.builds(CreditMethod, **{**free, **{name: st.just(value) for name, value in fixed.items()}})


def assert_same(found: Credited, expected: Credited) -> None:
    """Rewards and advantages, of tokens too."""
    torch.testing.assert_close(found.rewards_BK, expected.rewards_BK, **FINE)
    torch.testing.assert_close(found.advantages_BK, expected.advantages_BK, **FINE)
    assert (found.token_advantages_BT is None) == (expected.token_advantages_BT is None)
    if found.token_advantages_BT is not None and expected.token_advantages_BT is not None:
        torch.testing.assert_close(found.token_advantages_BT, expected.token_advantages_BT, **FINE)


def rows_of(found: Credited, rows: torch.Tensor) -> Credited:
    """The credit of these rows."""
    tokens_BT = found.token_advantages_BT
    return replace(
        found,
        rewards_BK=found.rewards_BK[rows],
        advantages_BK=found.advantages_BK[rows],
        token_advantages_BT=None if tokens_BT is None else tokens_BT[rows],
    )


@FEW
@given(seed=SEEDS, method=methods(), profile=OPEN_PROFILES)
def test_the_order_of_the_rows_means_nothing(seed: int, method: CreditMethod, profile: str) -> None:
    turns, method = random_batch(seed), replace(method, profile=profile)
    order_B = torch.randperm(12, generator=torch.Generator().manual_seed(seed))

    found = credit(taken(turns, order_B), method)

    assert_same(found, rows_of(credit(turns, method), order_B))


@FEW
@given(seed=SEEDS, method=methods())
def test_the_names_of_the_groups_mean_nothing(seed: int, method: CreditMethod) -> None:
    turns = random_batch(seed)
    renamed = replace(turns, group_B=torch.tensor([70, 3, 41])[turns.group_B])

    assert_same(credit(renamed, method), credit(turns, method))


@FEW
@given(seed=SEEDS, method=methods(), profile=OPEN_PROFILES)
def test_padding_means_nothing(seed: int, method: CreditMethod, profile: str) -> None:
    turns, method = random_batch(seed), replace(method, profile=profile)

    found = credit(padded(turns, turns_more=2, tokens_more=3), method)

    expected = credit(turns, method)
    torch.testing.assert_close(found.advantages_BK[:, :4], expected.advantages_BK, **FINE)
    assert found.advantages_BK[:, 4:].abs().sum() == 0


@FEW
@given(seed=SEEDS, method=methods())
def test_a_failed_row_moves_nobody(seed: int, method: CreditMethod) -> None:
    turns = random_batch(seed)
    broken_B = ~turns.valid_B
    spoilt = replace(
        turns,
        reward_B=turns.reward_B.masked_fill(broken_B, math.nan),
        outcome_B=turns.outcome_B.masked_fill(broken_B, math.inf),
        scores_BK=turns.scores_BK.masked_fill(broken_B[:, None], math.nan),
        values_BK=None if turns.values_BK is None else turns.values_BK.masked_fill(broken_B[:, None], 1e9),
        oracle_BK=turns.oracle_BK.masked_fill(broken_B[:, None], math.nan),
    )

    found, without = credit(spoilt, method), credit(taken(turns, turns.valid_B), method)

    assert_same(rows_of(found, turns.valid_B), without)
    assert found.advantages_BK[broken_B].abs().sum() == 0


@FEW
@given(seed=SEEDS, method=methods())
def test_other_groups_move_nobody_where_nothing_is_whitened(seed: int, method: CreditMethod) -> None:
    turns = random_batch(seed)
    method = replace(method, algorithm="norm_itpo_share", advantage="rloo", score_scale="none")
    mine_B = turns.group_B == turns.group_B[0]

    alone = credit(taken(turns, mine_B), method)

    assert_same(rows_of(credit(turns, method), mine_B), alone)


@FEW
@given(seed=SEEDS, method=methods())
def test_what_a_turn_that_did_not_happen_holds_means_nothing(seed: int, method: CreditMethod) -> None:
    turns = random_batch(seed)
    away_BK = ~turns.happened_BK
    spoilt = replace(
        turns,
        scores_BK=turns.scores_BK.masked_fill(away_BK, math.nan),
        draws_BK=turns.draws_BK.masked_fill(away_BK, -1.0),
        oracle_BK=turns.oracle_BK.masked_fill(away_BK, math.inf),
    )

    assert_same(credit(spoilt, method), credit(turns, method))


@FEW
@given(seed=SEEDS, method=methods(algorithm="prime_token"))
def test_what_a_users_token_holds_means_nothing(seed: int, method: CreditMethod) -> None:
    turns = random_batch(seed)
    assert turns.token_scores_BT is not None
    assert turns.turn_index_BT is not None
    user_BT = turns.turn_index_BT < 0
    spoilt = replace(turns, token_scores_BT=turns.token_scores_BT.masked_fill(user_BT, math.nan))

    found = credit(spoilt, method)

    assert_same(found, credit(turns, method))
    assert found.token_advantages_BT is not None
    assert found.token_advantages_BT[user_BT].abs().sum() == 0


@FEW
@given(seed=SEEDS, estimator=ESTIMATORS, algorithm=st.sampled_from(SPLITS))
def test_with_one_turn_every_split_is_the_outcome(seed: int, estimator: str, algorithm: str) -> None:
    turns = random_batch(seed, turns=1)

    found = credit(turns, CreditMethod(algorithm=algorithm, advantage=estimator))

    sparse = credit(turns, CreditMethod(algorithm="outcome", advantage=estimator))
    torch.testing.assert_close(found.advantages_BK, sparse.advantages_BK, **FINE)


@FEW
@given(seed=SEEDS, estimator=ESTIMATORS, profile=OPEN_PROFILES)
def test_without_share_the_shares_are_the_outcome_to_the_bit(seed: int, estimator: str, profile: str) -> None:
    turns = random_batch(seed)
    sparse = CreditMethod(algorithm="outcome", advantage=estimator, profile=profile)

    found = credit(turns, replace(sparse, algorithm="norm_itpo_share", share=0.0))

    assert found.advantages_BK.equal(credit(turns, sparse).advantages_BK)


@FEW
@given(seed=SEEDS, estimator=ESTIMATORS, score=st.floats(-50, 50))
def test_equal_scores_are_the_outcome_to_the_bit(seed: int, estimator: str, score: float) -> None:
    turns = random_batch(seed)
    turns = replace(turns, scores_BK=torch.full_like(turns.scores_BK, score))
    sparse = CreditMethod(algorithm="outcome", advantage=estimator)

    for algorithm in ("norm_itpo_share", "dirichlet_matched"):
        found = credit(turns, replace(sparse, algorithm=algorithm, share=1.0))
        assert found.advantages_BK.equal(credit(turns, sparse).advantages_BK)


@FEW
@given(seed=SEEDS, estimator=ESTIMATORS, algorithm=st.sampled_from(sorted(SIGNALS)))
def test_without_signal_a_signal_beside_the_outcome_is_the_outcome(
    seed: int, estimator: str, algorithm: str
) -> None:
    turns = random_batch(seed)
    sparse = CreditMethod(algorithm="outcome", advantage=estimator)

    found = credit(turns, replace(sparse, algorithm=algorithm, outcome_weight=1.0, signal_weight=0.0))

    torch.testing.assert_close(found.advantages_BK, credit(turns, sparse).advantages_BK, **FINE)


@FEW
@given(seed=SEEDS, algorithm=st.sampled_from(SPLITS), share=st.floats(0, 1))
def test_splits_keep_the_mean_over_the_turns_of_a_conversation(
    seed: int, algorithm: str, share: float
) -> None:
    turns = random_batch(seed)

    found = credit(turns, CreditMethod(algorithm=algorithm, advantage="rloo", share=share))

    sparse = credit(turns, CreditMethod(algorithm="outcome", advantage="rloo"))
    torch.testing.assert_close(found.advantages_BK.sum(1), sparse.advantages_BK.sum(1), **FINE)
    torch.testing.assert_close(
        found.rewards_BK.sum(1), torch.where(turns.happened_BK.any(1), turns.reward_B, 0), **FINE
    )


@FEW
@given(seed=SEEDS, share=st.floats(0, 1))
def test_the_matched_placebo_has_the_weights_of_the_shares_in_another_order(seed: int, share: float) -> None:
    turns = random_batch(seed)
    knobs_of = credit(turns, CreditMethod(share=share)).facts.scalars
    turns = replace(turns, advantage_B=turns.reward_B - 0.5)

    knobs = Knobs(temperature=0.4, share=share, std_floor=1e-4, scalars=knobs_of)

    moved_BK, weights_BK = matched_weights(turns, knobs), weights_of(turns, knobs)

    assert moved_BK.sort(dim=1).values.equal(weights_BK.sort(dim=1).values)
    assert ((moved_BK != 0) <= turns.happened_BK).all()


@FEW
@given(seed=SEEDS)
def test_the_matched_placebo_knows_nothing_of_the_scores(seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    turns = random_batch(seed, rows=400, failures=0.0)
    turns = replace(turns, draws_BK=torch.rand(400, 4, generator=draw, dtype=torch.float64) + 1e-9)
    method = CreditMethod(algorithm="dirichlet_matched", advantage="rloo", share=1.0)

    found, shares = credit(turns, method), credit(turns, replace(method, algorithm="norm_itpo_share"))

    sparse = credit(turns, replace(method, algorithm="outcome"))
    several_B = turn_counts(turns.happened_BK) > 1
    both = (found.advantages_BK - sparse.advantages_BK) * (shares.advantages_BK - sparse.advantages_BK)
    own = (shares.advantages_BK - sparse.advantages_BK).square()
    assert abs(float(both[several_B].sum())) < 0.25 * float(own[several_B].sum())


@FEW
@given(
    seed=SEEDS, shift=st.floats(-20, 20), algorithm=st.sampled_from(["norm_itpo_share", "norm_itpo_plain"])
)
def test_a_constant_on_all_scores_of_a_conversation_means_nothing(
    seed: int, shift: float, algorithm: str
) -> None:
    turns = random_batch(seed)
    moved = replace(turns, scores_BK=turns.scores_BK + shift)
    method = CreditMethod(algorithm=algorithm)

    torch.testing.assert_close(
        credit(moved, method).advantages_BK, credit(turns, method).advantages_BK, rtol=1e-7, atol=1e-7
    )


@FEW
@given(
    seed=SEEDS,
    factor=st.floats(0.1, 100),
    algorithm=st.sampled_from(["immediate_plus_outcome", "itpo_plus_outcome", "prime_token"]),
)
def test_the_scale_of_a_whitened_signal_means_nothing(seed: int, factor: float, algorithm: str) -> None:
    turns = random_batch(seed)
    assert turns.token_scores_BT is not None
    scaled = replace(
        turns, scores_BK=factor * turns.scores_BK, token_scores_BT=factor * turns.token_scores_BT
    )
    method = CreditMethod(algorithm=algorithm, advantage="rloo")

    torch.testing.assert_close(
        credit(scaled, method).advantages_BK, credit(turns, method).advantages_BK, rtol=1e-3, atol=1e-3
    )


@FEW
@given(seed=SEEDS, estimator=st.sampled_from(["grpo", "rloo", "reinforce_pp", "reinforce_pp_baseline"]))
def test_a_constant_on_every_reward_means_nothing(seed: int, estimator: str) -> None:
    turns = random_batch(seed)
    method = CreditMethod(algorithm="outcome", advantage=estimator)
    lifted = replace(turns, reward_B=turns.reward_B + 3)

    torch.testing.assert_close(
        credit(lifted, method).advantages_BK, credit(turns, method).advantages_BK, **FINE
    )


@FEW
@given(seed=SEEDS, sizes=st.lists(st.integers(1, 9), min_size=1, max_size=4))
def test_groups_of_any_size_sum_to_zero(seed: int, sizes: list[int]) -> None:
    turns = random_batch(seed, rows=sum(sizes))
    group_B = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    turns = replace(turns, group_B=group_B)

    for estimator in ("grpo", "rloo"):
        found = credit(turns, CreditMethod(algorithm="outcome", advantage=estimator))
        rows_B = torch.where(turns.happened_BK.any(1), found.advantages_BK.sum(1) / turn_counts_of(turns), 0)
        sums_G = torch.zeros(len(sizes), dtype=torch.float64).index_add(0, group_B, rows_B)
        torch.testing.assert_close(sums_G, torch.zeros_like(sums_G), rtol=0, atol=1e-8)


def turn_counts_of(turns: TurnBatch) -> torch.Tensor:
    """How many turns happened, at least 1."""
    return turn_counts(turns.happened_BK).clamp(min=1)


@FEW
@given(seed=SEEDS, deviation=st.sampled_from(get_args(Deviation)), profile=st.sampled_from(sorted(PROFILES)))
def test_no_convention_makes_a_number_that_is_none(seed: int, deviation: str, profile: str) -> None:
    turns = random_batch(seed, groups=2, rows=16, failures=0.0)
    std = deviation if deviation in ("group", "batch", "none") else "group"

    for algorithm in ("outcome", "norm_itpo", "prime_token"):
        found = credit(turns, CreditMethod(algorithm=algorithm, advantage="rloo", std=std, profile=profile))
        assert found.advantages_BK.isfinite().all()


@settings(max_examples=15, deadline=None)
@given(
    seed=SEEDS,
    temperature=st.sampled_from([1e-6, 1e-4, 1e6]),
    algorithm=st.sampled_from(["norm_itpo", "norm_itpo_plain", "norm_itpo_signed", "norm_itpo_share"]),
)
def test_a_thousand_turns_and_temperatures_near_zero_stay_numbers(
    seed: int, temperature: float, algorithm: str
) -> None:
    turns = random_batch(seed, rows=4, turns=1000, groups=1, failures=0.0)
    turns = replace(turns, scores_BK=100 * turns.scores_BK)

    found = credit(turns, CreditMethod(algorithm=algorithm, advantage="rloo", temperature=temperature))

    assert found.advantages_BK.isfinite().all()
    assert found.rewards_BK.isfinite().all()
    if algorithm != "norm_itpo_signed":
        torch.testing.assert_close(found.rewards_BK.sum(1), turns.reward_B, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("algorithm", sorted(TURN_REWARDS))
def test_a_batch_in_which_nothing_happened_gives_zeros(algorithm: str) -> None:
    turns = random_batch(1)
    nobody_B = torch.zeros_like(turns.valid_B)
    turns = replace(turns, valid_B=nobody_B, happened_BK=torch.zeros_like(turns.happened_BK))

    for estimator in NAMES:
        found = credit(turns, CreditMethod(algorithm=algorithm, advantage=estimator))
        assert found.advantages_BK.abs().sum() == 0
        assert found.rewards_BK.abs().sum() == 0
