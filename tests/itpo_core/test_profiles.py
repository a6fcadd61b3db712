"""Golden vectors of every profile, derived by hand from the arithmetic that each framework documents.

The cases are those on which frameworks disagree: the deviation of a group, a group of one, a failed row in a
group, leave-one-out with a deviation, REINFORCE++ across a user's turn, GAE with a masked token in the
middle, whitening, and the released ITPO code's baseline over turns.
"""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from itpo_core.credit import CreditMethod, credit
from itpo_core.estimators import released_baseline
from itpo_core.gae import gae_tokens, token_returns
from itpo_core.normalisation import whiten
from itpo_core.profiles import PROFILES, profile
from itpo_core.turn_batch import TurnBatch
from itpo_core.turn_rewards import returns_to_go

FRAMEWORKS = ("verl", "skyrl", "trl", "openrlhf", "nemo_rl")
SQRT_HALF, SQRT_THIRD = math.sqrt(1 / 2), math.sqrt(1 / 3)


def conversations(rewards: list[float], *, groups: list[int], **given: list) -> TurnBatch:
    """Conversations of one turn of one token, unless told otherwise."""
    tokens_BK = torch.tensor(given.get("tokens", [[1]] * len(rewards)))
    valid_B = torch.tensor(given.get("valid", [True] * len(rewards)))
    reward_B = torch.tensor(rewards, dtype=torch.float64)
    zeros_BK = torch.zeros(tokens_BK.shape, dtype=torch.float64)
    return TurnBatch(
        group_B=torch.tensor(groups),
        valid_B=valid_B,
        outcome_B=reward_B,
        reward_B=reward_B,
        advantage_B=torch.zeros_like(reward_B),
        happened_BK=(tokens_BK > 0) & valid_B[:, None],
        tokens_BK=tokens_BK,
        scores_BK=zeros_BK,
        draws_BK=zeros_BK + 1,
        oracle_BK=zeros_BK,
    )


def outcome_of(turns: TurnBatch, name: str, *, advantage: str, std: str = "group") -> list[float]:
    """Advantages of the sparse outcome at the first turn."""
    method = CreditMethod(algorithm="outcome", advantage=advantage, profile=name, std=std)
    return credit(turns, method).advantages_BK[:, 0].tolist()


# One success in four: mean 1/4, sample deviation sqrt((9 + 3) / 16 / 3) = 1/2. NeMo-RL leaves the row itself
# out of both: the success meets three zeros, baseline 0 and deviation 0, and stays undivided; a failure meets
# 1, 0, 0, whose mean is 1/3 and whose sample variance is 2/3 / 2 = 1/3.
ONE_IN_FOUR = {
    "safe": [0.75 / 0.5001, -0.25 / 0.5001],
    "verl": [0.75 / 0.500001, -0.25 / 0.500001],
    "skyrl": [0.75 / 0.500001, -0.25 / 0.500001],
    "trl": [0.75 / 0.5001, -0.25 / 0.5001],
    "openrlhf": [1.5, -0.5],
    "nemo_rl": [1.0, -1 / 3 / (SQRT_THIRD + 1e-6)],
}


@pytest.mark.parametrize("name", ONE_IN_FOUR)
def test_one_success_in_four(name: str) -> None:
    turns = conversations([1, 0, 0, 0], groups=[0] * 4)

    success, *failures = outcome_of(turns, name, advantage="grpo")

    assert success == pytest.approx(ONE_IN_FOUR[name][0], abs=1e-8)
    assert failures == pytest.approx([ONE_IN_FOUR[name][1]] * 3, abs=1e-8)


@pytest.mark.parametrize("name", [*FRAMEWORKS, "safe"])
def test_leave_one_out_never_meets_a_deviation_of_rounding(name: str) -> None:
    # Others of 0.1 each: their computed deviation is not exactly 0; a division by it would be a million.
    turns = conversations([1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1], groups=[0] * 7)

    assert max(map(abs, outcome_of(turns, name, advantage="grpo"))) < 3


@pytest.mark.parametrize("name", ["safe", *FRAMEWORKS])
def test_rloo_is_the_same_everywhere_within_a_group(name: str) -> None:
    turns = conversations([1, 0, 0, 0], groups=[0] * 4)

    assert outcome_of(turns, name, advantage="rloo") == pytest.approx([1, -1 / 3, -1 / 3, -1 / 3])


# A group of one that scored 0.7, beside a group of two.
ALONE = {
    ("safe", "grpo"): 0.0,
    ("verl", "grpo"): 0.7 / 1.000001,
    ("skyrl", "grpo"): 0.7 / 1.000001,
    ("nemo_rl", "grpo"): 0.0,
    ("safe", "rloo"): 0.0,
    ("verl", "rloo"): 0.7,
    ("skyrl", "rloo"): 0.0,
    ("nemo_rl", "rloo"): 0.0,
}


@pytest.mark.parametrize(("name", "advantage"), ALONE)
def test_a_group_of_one(name: str, advantage: str) -> None:
    turns = conversations([0.7, 1, 0], groups=[0, 1, 1])

    found = outcome_of(turns, name, advantage=advantage)

    assert found[0] == pytest.approx(ALONE[name, advantage], abs=1e-12)


@pytest.mark.parametrize("advantage", ["grpo", "rloo"])
@pytest.mark.parametrize("name", ["trl", "openrlhf"])
def test_a_group_of_one_is_refused_where_the_framework_does(name: str, advantage: str) -> None:
    turns = conversations([0.7, 1, 0], groups=[0, 1, 1])

    with pytest.raises(ValueError, match="row 0, turn 0: it has no sibling"):
        outcome_of(turns, name, advantage=advantage)


# 1 and 0 with a failed row of score 0. It votes: mean 1/3, sample deviation sqrt((4 + 1 + 1) / 9 / 2) =
# sqrt(1/3). It does not: mean 1/2, deviation sqrt(1/2). NeMo-RL's success meets 0, 0; its failure 1, 0.
MASKED = {
    "safe": [0.5 / (SQRT_HALF + 1e-4), -0.5 / (SQRT_HALF + 1e-4)],
    "verl": [2 / 3 / (SQRT_THIRD + 1e-6), -1 / 3 / (SQRT_THIRD + 1e-6)],
    "skyrl": [2 / 3 / (SQRT_THIRD + 1e-6), -1 / 3 / (SQRT_THIRD + 1e-6)],
    "trl": [0.5 / (SQRT_HALF + 1e-4), -0.5 / (SQRT_HALF + 1e-4)],
    "openrlhf": [2 / 3 / SQRT_THIRD, -1 / 3 / SQRT_THIRD],
    "nemo_rl": [1.0, -0.5 / (SQRT_HALF + 1e-6)],
}


@pytest.mark.parametrize("name", MASKED)
def test_a_failed_row_in_a_group(name: str) -> None:
    turns = conversations([1, 0, 0], groups=[0] * 3, valid=[True, True, False])

    found = outcome_of(turns, name, advantage="grpo")

    assert found == pytest.approx([*MASKED[name], 0.0], abs=1e-8)


def test_a_failed_row_that_votes_must_have_a_number() -> None:
    turns = conversations([1, 0, math.nan], groups=[0] * 3, valid=[True, True, False])

    assert outcome_of(turns, "safe", advantage="grpo")[2] == 0
    with pytest.raises(ValueError, match="row 2, turn 0: reward nan"):
        outcome_of(turns, "verl", advantage="grpo")


# Two groups, 1 and 0, 1 and 1: batch mean 3/4, sample deviation 1/2.
@pytest.mark.parametrize(("std", "success"), [("batch", 0.5 / 0.5001), ("none", 0.5)])
def test_the_deviation_of_a_batch_or_none(std: str, success: float) -> None:
    turns = conversations([1, 0, 1, 1], groups=[0, 0, 1, 1])

    found = outcome_of(turns, "trl", advantage="grpo", std=std)

    assert found == pytest.approx([success, -success, 0, 0], abs=1e-12)


# REINFORCE++ with a group baseline on the same groups: 1/2, -1/2, 0, 0. Sample variance 1/6, population 1/8;
# `safe` leaves out the group without a lesson: population variance 1/4 of the two that remain.
GROUP_VARIANT = {
    "safe": 0.5 / (0.5 + 1e-6),
    "verl": 0.5 / math.sqrt(1 / 6 + 1e-8),
    "skyrl": 0.5 / math.sqrt(1 / 6 + 1e-8),
    "openrlhf": 0.5 / math.sqrt(1 / 8),
    "nemo_rl": 0.5 / math.sqrt(1 / 8),
}


@pytest.mark.parametrize("name", GROUP_VARIANT)
def test_reinforce_pp_with_a_group_baseline(name: str) -> None:
    turns = conversations([1, 0, 1, 1], groups=[0, 0, 1, 1])

    found = outcome_of(turns, name, advantage="reinforce_pp_baseline")

    expected = GROUP_VARIANT[name]
    assert found == pytest.approx([expected, -expected, 0, 0], abs=1e-9)


# REINFORCE++ on 1 with two tokens and 0 with one: token mean 2/3, population variance 2/9, sample 1/3.
WHITENED = {
    "safe": math.sqrt(2 / 9) + 1e-6,
    "verl": math.sqrt(1 / 3 + 1e-8),
    "skyrl": math.sqrt(1 / 3 + 1e-8),
    "trl": math.sqrt(1 / 3) + 1e-4,
    "openrlhf": math.sqrt(2 / 9),
    "nemo_rl": math.sqrt(2 / 9),
}


@pytest.mark.parametrize("name", WHITENED)
def test_reinforce_pp_whitens_over_tokens(name: str) -> None:
    turns = conversations([1, 0], groups=[0, 0], tokens=[[2], [1]])

    found = outcome_of(turns, name, advantage="reinforce_pp")

    assert found == pytest.approx([1 / 3 / WHITENED[name], -2 / 3 / WHITENED[name]], abs=1e-9)


# Two assistant tokens, two of a user, two of the assistant; reward 1 on the last. First token's return with
# gamma 1, and with gamma 1/2: over 3 steps, over 5 where a user's tokens are time, never where it is reset.
ACROSS_A_USER = {
    "safe": (1, 1 / 8),
    "verl": (1, 1 / 8),
    "skyrl": (0, 0),
    "openrlhf": (1, 1 / 32),
    "nemo_rl": (1, 1 / 8),
    "itpo_reference": (0, 0),
}


@pytest.mark.parametrize("name", ACROSS_A_USER)
def test_reinforce_pp_across_a_users_turn(name: str) -> None:
    is_policy_BT = torch.tensor([[True, True, False, False, True, True]])
    reward_BT = torch.tensor([[0.0, 0, 0, 0, 0, 1]])
    rule = PROFILES[name].user_tokens_returns

    for gamma, expected in zip((1.0, 0.5), ACROSS_A_USER[name], strict=True):
        returns_BT = token_returns(reward_BT, is_policy_BT=is_policy_BT, gamma=gamma, user_tokens=rule)
        assert returns_BT[0, [0, 5]].tolist() == [expected, 1]


# Rewards 1, 2, 3, values .5, 1, 1.5, the middle token not spoken by the policy. Skipped: A_2 = 1.5 and
# A_0 = 1 + 1.5 - .5 + lambda 1.5. Counted: A_1 = 2 + 1.5 - 1 + lambda 1.5, A_0 = 1 + 1 - .5 + lambda A_1.
# Silent: A_1 = 1.5 + lambda 1.5, A_0 = 1 - .5 + lambda A_1. Columns: lambda 1 and lambda .9.
MIDDLE_MASKED = {
    "safe": (3.5, 3.35),
    "verl": (3.5, 3.35),
    "nemo_rl": (3.5, 3.35),
    "skyrl": (5.5, 4.965),
    "openrlhf": (3.5, 3.065),
}


@pytest.mark.parametrize("name", MIDDLE_MASKED)
def test_gae_with_a_masked_token_in_the_middle(name: str) -> None:
    own, is_policy_BT = PROFILES[name], torch.tensor([[True, False, True]])
    # Where a masked token is no time step its reward is refused, not dropped.
    rewards_BT = torch.tensor([[1.0, 0.0 if own.user_tokens_gae == "skip" else 2.0, 3.0]])

    for lam, expected in zip((1.0, 0.9), MIDDLE_MASKED[name], strict=True):
        found = gae_tokens(
            rewards_BT,
            torch.tensor([[0.5, 1.0, 1.5]]),
            is_policy_BT=is_policy_BT,
            gamma=1.0,
            lam=lam,
            user_tokens=own.user_tokens_gae,
        )
        torch.testing.assert_close(found.advantages, torch.tensor([[expected, 0.0, 1.5]]))


def released_returns(rewards: list[list[float]], happened: list[list[bool]]) -> Tensor:
    """The released form before its whitening, for one group."""
    happened_BK = torch.tensor(happened)
    centred_BK = released_baseline(
        torch.tensor(rewards, dtype=torch.float64),
        torch.zeros(len(rewards), dtype=torch.int64),
        counts=happened_BK,
        votes_B=torch.ones(len(rewards), dtype=torch.bool),
    )
    return returns_to_go(centred_BK, happened_BK)


def test_the_released_baseline_favours_short_conversations() -> None:
    # Mean turn rewards 1 and 1/3; 2 * 1 - 4/3 at the only turn, 2/3 - 4/3 at each of three.
    returns_BK = released_returns([[1, 0, 0], [1 / 3] * 3], [[True, False, False], [True] * 3])

    assert returns_BK[:, 0].tolist() == pytest.approx([2 / 3, -2.0])


def test_the_released_baseline_punishes_late_turns_of_a_success() -> None:
    returns_BK = released_returns([[0.8, 0.1, 0.1]] * 4 + [[0, 0, 0]] * 4, [[True] * 3] * 8)

    # Sum of mean turn rewards 4/3, over 7: 0.190 off every turn; 0.8 * 8/7 - 0.190 and so on.
    assert returns_BK[0].tolist() == pytest.approx([0.5714, -0.1524, -0.0762], abs=1e-4)
    assert returns_BK[7].tolist() == pytest.approx([-0.5714, -0.3810, -0.1905], abs=1e-4)


def test_the_released_norm_itpo_from_scores_to_whitened_advantages() -> None:
    turns = replace(
        conversations([1, 0], groups=[0, 0], tokens=[[1, 1], [1, 1]]),
        scores_BK=torch.tensor([[0.4 * math.log(3), 0.0], [0.0, 0.0]], dtype=torch.float64),
    )
    method = CreditMethod(
        algorithm="norm_itpo", advantage="rloo", profile="itpo_reference", score_scale="none"
    )

    found = credit(turns, method)

    # Shares 3/4 and 1/4; mean turn rewards 1/2 and 0, so twice the reward less 1/2 at every turn: 1, 0 and
    # -1/2, -1/2; to go 1, 0 and -1, -1/2. Mean -1/8, squares (81 + 1 + 49 + 9) / 64 = 35/16, sample variance
    # 35/48.
    deviation = math.sqrt(35 / 48 + 1e-8)
    expected = torch.tensor([[9 / 8, 1 / 8], [-7 / 8, -3 / 8]], dtype=torch.float64) / deviation
    torch.testing.assert_close(found.rewards_BK[0], torch.tensor([0.75, 0.25], dtype=torch.float64))
    torch.testing.assert_close(found.advantages_BK, expected)


def test_the_released_outcome_is_leave_one_out_then_whitened() -> None:
    turns = conversations([1, 0, 0, 0], groups=[0] * 4)

    found = outcome_of(turns, "itpo_reference", advantage="rloo")

    # 1 and three times -1/3: sample variance 4/9.
    assert found == pytest.approx([1.5, -0.5, -0.5, -0.5], abs=1e-6)


def test_the_released_form_has_no_other_estimator() -> None:
    with pytest.raises(ValueError, match="advantage 'grpo', to_go 'auto': the released ITPO code has rloo"):
        outcome_of(conversations([1, 0], groups=[0, 0]), "itpo_reference", advantage="grpo")


def test_what_the_released_form_turns_into_nan_is_refused() -> None:
    empty = conversations([1, 0], groups=[0, 0], tokens=[[1], [0]])
    method = CreditMethod(algorithm="norm_itpo", advantage="rloo", profile="itpo_reference")

    with pytest.raises(ValueError, match="row 1: no policy token"):
        credit(empty, method)


# Documented defaults of the losses: clip below and above, dual clip, place and weight of the KL term.
LOSSES = {
    "verl": (0.2, 0.2, 3.0, "none", 0.001),
    "skyrl": (0.2, 0.2, None, "loss", 0.001),
    "trl": (0.2, 0.2, None, "none", 0.0),
    "openrlhf": (0.2, 0.2, None, "reward", 0.01),
    "nemo_rl": (0.2, 0.2, None, "loss", 0.01),
    "itpo_reference": (0.2, 0.2, 3.0, "loss", 0.001),
    "safe": (0.6, 1.5, 3.0, "loss", 0.005),
}


@pytest.mark.parametrize("name", PROFILES)
def test_the_documented_numbers_of_the_losses(name: str) -> None:
    own = profile(name)

    found = (own.clip_low, own.clip_high, own.dual_clip, own.kl_place, own.kl_weight)

    assert found == LOSSES[name]
    assert own.aggregation == "token_mean"


def test_a_profile_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="profile 'slime' does not exist: choose one of safe, verl"):
        profile("slime")


def test_the_safe_whitening_is_that_of_the_sql() -> None:
    values = torch.tensor([1.0, 2.0, 5.0], dtype=torch.float64)
    own = PROFILES["safe"]

    by_profile = whiten(
        values, torch.ones(3), form=own.whiten_form, ddof=own.whiten_ddof, floor=own.whiten_floor
    )

    assert by_profile.equal(whiten(values, torch.ones(3)))
