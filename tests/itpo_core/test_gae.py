"""Returns and GAE against recursions done by hand, with users between the turns."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from itpo_core.gae import RETURN_RULES, at_turn_ends, gae_tokens, gae_turns, token_returns

# Two assistant tokens, two user tokens, two assistant tokens; success on the last one.
ACROSS = torch.tensor([[True, True, False, False, True, True]])
SUCCESS = torch.tensor([[0.0, 0.0, 0.0, 0.0, 0.0, 1.0]])
# Three tokens of which the policy did not speak the middle one.
MIDDLE = torch.tensor([[True, False, True]])
REWARDS, VALUES = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[0.5, 1.0, 1.5]])
SPOKEN = torch.tensor([[1.0, 0.0, 3.0]])


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("skip", [1, 1, 0, 0, 1, 1]),
        ("count", [1, 1, 0, 0, 1, 1]),
        ("silent", [1, 1, 0, 0, 1, 1]),
        ("reset", [0, 0, 0, 0, 1, 1]),
    ],
)
def test_a_success_reaches_the_turn_before_the_users_reply(rule: str, expected: list[float]) -> None:
    returns_BT = token_returns(SUCCESS, is_policy_BT=ACROSS, user_tokens=rule)

    assert returns_BT.tolist() == [expected]


def test_a_users_tokens_are_no_time_steps_unless_they_are_counted() -> None:
    skipped_BT = token_returns(SUCCESS, is_policy_BT=ACROSS, gamma=0.5, user_tokens="skip")
    counted_BT = token_returns(SUCCESS, is_policy_BT=ACROSS, gamma=0.5, user_tokens="silent")

    # Three steps of discount to the first token, or five.
    assert skipped_BT.tolist() == [[0.125, 0.25, 0, 0, 0.5, 1]]
    assert counted_BT.tolist() == [[0.03125, 0.0625, 0, 0, 0.5, 1]]


def test_gae_that_skips_a_masked_token_goes_from_value_to_value() -> None:
    found = gae_tokens(SPOKEN, VALUES, is_policy_BT=MIDDLE, gamma=1.0, lam=1.0)

    # A_2 = 3 - 1.5; A_0 = 1 + 1.5 - 0.5 + A_2.
    assert found.advantages.tolist() == [[3.5, 0.0, 1.5]]
    assert found.returns.tolist() == [[4.0, 0.0, 3.0]]


def test_gae_that_counts_a_masked_token_takes_its_reward_and_value() -> None:
    found = gae_tokens(REWARDS, VALUES, is_policy_BT=MIDDLE, gamma=1.0, lam=1.0, user_tokens="count")

    assert found.returns.tolist() == [[6.0, 0.0, 3.0]]


def test_gae_that_silences_a_masked_token_still_lets_time_pass() -> None:
    found = gae_tokens(REWARDS, VALUES, is_policy_BT=MIDDLE, gamma=1.0, lam=0.9, user_tokens="silent")

    # A_2 = 1.5; A_1 = 1.5 + 0.9 * 1.5 = 2.85; A_0 = 1 - 0.5 + 0.9 * 2.85.
    torch.testing.assert_close(found.advantages, torch.tensor([[3.065, 0.0, 1.5]]))


@pytest.mark.parametrize("of", [token_returns, lambda r, **k: gae_tokens(r, VALUES, lam=1.0, **k)])
def test_a_reward_on_a_users_token_is_refused_where_nobody_would_get_it(of) -> None:
    with pytest.raises(ValueError, match=r"row 0, token 1: a reward of 2\.0"):
        of(REWARDS, is_policy_BT=MIDDLE, gamma=1.0)


def test_a_rule_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="'forget': GAE knows"):
        gae_tokens(SPOKEN, VALUES, is_policy_BT=MIDDLE, gamma=1.0, lam=1.0, user_tokens="forget")
    with pytest.raises(ValueError, match="'forget': returns know"):
        token_returns(SPOKEN, is_policy_BT=MIDDLE, user_tokens="forget")


def test_turns_discount_once_each_and_pass_over_an_empty_one() -> None:
    happened_BK = torch.tensor([[True, False, True]])

    found = gae_turns(torch.tensor([[0.0, 9.0, 1.0]]), VALUES, happened_BK=happened_BK, gamma=0.5, lam=1.0)

    # A_2 = 1 - 1.5; A_0 = 0.5 * 1.5 - 0.5 + 0.5 * A_2.
    assert found.advantages.tolist() == [[0.0, 0.0, -0.5]]
    assert found.returns.tolist() == [[0.5, 0.0, 1.0]]


@given(seed=st.integers(0, 10_000))
def test_lambda_one_is_the_return_minus_the_value_and_lambda_zero_the_one_step_error(seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    rewards_BK, values_BK = torch.randn(2, 5, 4, generator=draw, dtype=torch.float64)
    happened_BK = torch.rand(5, 4, generator=draw) < 0.7
    kept_BK = torch.where(happened_BK, rewards_BK, 0)

    long = gae_turns(rewards_BK, values_BK, happened_BK=happened_BK, gamma=1.0, lam=1.0)
    short = gae_turns(rewards_BK, values_BK, happened_BK=happened_BK, gamma=1.0, lam=0.0)

    to_go_BK = torch.where(happened_BK, kept_BK.flip(1).cumsum(1).flip(1), 0)
    torch.testing.assert_close(long.returns, to_go_BK)
    first_B = torch.where(happened_BK & (happened_BK.cumsum(1) == 1), values_BK, 0).sum(1)
    torch.testing.assert_close(short.advantages.sum(1), kept_BK.sum(1) - first_B)


@given(seed=st.integers(0, 10_000), rule=st.sampled_from(["skip", "silent"]))
def test_what_stands_on_a_users_token_changes_nothing(seed: int, rule: str) -> None:
    draw = torch.Generator().manual_seed(seed)
    rewards_BT, values_BT = torch.randn(2, 4, 6, generator=draw)
    is_policy_BT = torch.rand(4, 6, generator=draw) < 0.6
    rewards_BT = torch.where(is_policy_BT, rewards_BT, 0)
    other_BT = torch.where(is_policy_BT, values_BT, 1e9)

    kept = gae_tokens(rewards_BT, values_BT, is_policy_BT=is_policy_BT, gamma=0.9, lam=0.8, user_tokens=rule)
    changed = gae_tokens(
        rewards_BT, other_BT, is_policy_BT=is_policy_BT, gamma=0.9, lam=0.8, user_tokens=rule
    )

    assert kept.advantages.equal(changed.advantages)
    assert kept.advantages[~is_policy_BT].abs().sum() == 0


@given(seed=st.integers(0, 10_000), rule=st.sampled_from(sorted(RETURN_RULES)))
def test_without_users_every_rule_gives_the_same_returns(seed: int, rule: str) -> None:
    rewards_BT = torch.randn(3, 5, generator=torch.Generator().manual_seed(seed))
    everywhere_BT = torch.ones(3, 5, dtype=torch.bool)

    found_BT = token_returns(rewards_BT, is_policy_BT=everywhere_BT, gamma=0.7, user_tokens=rule)

    assert found_BT.equal(token_returns(rewards_BT, is_policy_BT=everywhere_BT, gamma=0.7))


def test_a_turns_reward_stands_on_its_last_token_also_where_turns_touch() -> None:
    turn_BT = torch.tensor([[-1, 0, 0, 1, -1], [0, -1, 1, 1, 1]])

    rewards_BT = at_turn_ends(torch.tensor([[2.0, 3.0], [4.0, 5.0]]), turn_BT)

    assert rewards_BT.tolist() == [[0, 0, 2, 3, 0], [4, 0, 0, 0, 5]]
