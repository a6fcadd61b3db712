"""Enumerated conversations: their chances, their batches without noise, and what regression on them finds."""

import pytest
import torch
from torch import Tensor

from itpo_core.q_targets import monte_carlo_targets, td_lambda_targets
from itpo_core.tabular import dialogue_mdp, evaluate, success, visits
from itpo_core.tabular_conversations import (
    Conversations,
    cell_means,
    cell_sums,
    enumerate_all,
    in_proportion,
    look_up,
    pairs,
    sample,
)
from itpo_core.turn_rewards import masked_softmax, returns_to_go

MDP = dialogue_mdp(turns=3)
# Quarters, so that batches can hold every conversation exactly.
POLICY = torch.tensor([[[1, 2, 1], [2, 1, 1], [1, 1, 2]]] * 3, dtype=torch.float64) / 4


@pytest.fixture(scope="module")
def conversations() -> Conversations:
    return enumerate_all(MDP, POLICY)


def largest_error(q_KSA: Tensor) -> float:
    """Over the cells that were visited."""
    errors_KSA = (q_KSA - evaluate(MDP, POLICY).q_KSA).abs()
    return float(errors_KSA[~errors_KSA.isnan()].max())


def test_chances_sum_to_one_and_give_the_success_and_the_visits(conversations: Conversations) -> None:
    assert conversations.chance_B.sum().item() == pytest.approx(1, abs=1e-14)
    assert conversations.chance_B @ conversations.outcome_B == pytest.approx(success(MDP, POLICY))
    happened_BK = conversations.chance_B[:, None] * conversations.happened_BK
    visited_KS = cell_sums(conversations, happened_BK, states=3, acts=3).sum(-1)
    torch.testing.assert_close(visited_KS, visits(MDP, POLICY), rtol=0, atol=1e-14)


def test_no_conversation_is_listed_twice(conversations: Conversations) -> None:
    turns_B = conversations.happened_BK.sum(1, keepdim=True)
    outcome_B = conversations.outcome_B.long()[:, None]

    rows = torch.cat([conversations.states_BK, conversations.acts_BK, turns_B, outcome_B], dim=1)

    assert len(rows.unique(dim=0)) == len(rows)


def test_a_batch_in_proportion_is_the_law_itself(conversations: Conversations) -> None:
    batch = in_proportion(conversations)

    assert len(batch.outcome_B) == 65_536
    assert batch.outcome_B.mean().item() == pytest.approx(success(MDP, POLICY), abs=1e-14)


def test_chances_that_no_batch_can_hold_are_refused() -> None:
    thirds = torch.full((3, 3, 3), 1 / 3, dtype=torch.float64)

    with pytest.raises(ValueError, match="no batch of up to 1024"):
        in_proportion(enumerate_all(MDP, thirds), limit=1_024)


def test_pairs_share_their_start_and_each_member_has_the_law(conversations: Conversations) -> None:
    both, group = pairs(conversations)

    first, second = both.start_B.chunk(2)
    assert torch.equal(first, second)
    assert torch.equal(*group.chunk(2))
    assert both.chance_B.sum().item() == pytest.approx(1, abs=1e-12)
    assert both.chance_B @ both.outcome_B == pytest.approx(success(MDP, POLICY))


def test_regression_on_raw_outcomes_is_q_of_the_collecting_policy(conversations: Conversations) -> None:
    targets_BK = monte_carlo_targets(conversations.outcome_B, conversations.happened_BK, gamma=1.0)

    assert largest_error(cell_means(conversations, targets_BK, states=3, acts=3)) < 1e-6


@pytest.mark.parametrize("lam", [0.0, 0.5, 1.0])
def test_regression_on_bootstrapped_targets_with_exact_values_is_q_too(
    conversations: Conversations, lam: float
) -> None:
    values_BK = look_up(conversations, evaluate(MDP, POLICY).v_KS[..., None].expand(-1, -1, 3))

    targets_BK = td_lambda_targets(
        conversations.outcome_B, conversations.happened_BK, values_BK=values_BK, gamma=1.0, lam=lam
    )

    assert largest_error(cell_means(conversations, targets_BK, states=3, acts=3)) < 1e-6


def test_regression_on_sampled_conversations_comes_closer_to_q_the_more_there_are() -> None:
    errors = []
    for count in (1_000, 100_000):
        drawn = sample(MDP, POLICY, count=count, generator=torch.Generator().manual_seed(7))
        targets_BK = monte_carlo_targets(drawn.outcome_B, drawn.happened_BK, gamma=1.0)
        errors.append(largest_error(cell_means(drawn, targets_BK, states=3, acts=3)))

    # The rarest cell has a chance of .0117: about 12 and 1,170 conversations, deviations of .14 and .014.
    assert errors[1] < 0.05 < errors[0]


@pytest.mark.parametrize("temperature", [0.4, 100.0])
def test_regression_on_what_is_left_of_shares_is_not_q(
    conversations: Conversations, temperature: float
) -> None:
    scores_BK = look_up(conversations, evaluate(MDP, POLICY).advantage_KSA)
    shares_BK = masked_softmax(scores_BK / temperature, conversations.happened_BK)
    rewards_BK = conversations.outcome_B[:, None] * shares_BK

    targets_BK = returns_to_go(rewards_BK, conversations.happened_BK)
    q_KSA = cell_means(conversations, targets_BK, states=3, acts=3)

    # The first turn still has the whole outcome; the later ones miss what was shared out before them.
    wrong_KSA = q_KSA - evaluate(MDP, POLICY).q_KSA
    assert wrong_KSA[0, 1:].abs().max() < 1e-12
    assert wrong_KSA[1:].nan_to_num().abs().max() > 0.3
    assert bool((wrong_KSA[1:].nan_to_num() <= 0).all())


def test_values_are_looked_up_where_turns_happened_and_nowhere_else(conversations: Conversations) -> None:
    ones_BK = look_up(conversations, torch.ones(3, 3, 3, dtype=torch.float64))

    assert torch.equal(ones_BK.bool(), conversations.happened_BK)
