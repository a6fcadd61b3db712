"""Implicit scores and dueling terms in closed form, where every number can be known."""

import math

import pytest
import torch

from itpo_core.tabular import collecting_policy, dialogue_mdp, evaluate, visits
from itpo_core.tabular_conversations import enumerate_all, look_up
from itpo_core.tabular_scores import dueling_log_ratios, fitted_scores, soft_scores

MDP, POLICY = dialogue_mdp(turns=3), collecting_policy(3)
VALUES = evaluate(MDP, POLICY)
CONVERSATIONS = enumerate_all(MDP, POLICY)


def test_a_soft_score_is_the_log_of_the_tilted_chances_on_paper() -> None:
    beta = 1 / math.log(9)

    scores_KSA = soft_scores(VALUES, beta=beta)

    # exp(1 / beta) - 1 = 8. Last turn, nothing missing: Q = 7/8 for a guess, V = 17/32: (1 + 7) / (1 + 17/4).
    assert scores_KSA[2, 0, 1].item() == pytest.approx(beta * math.log(8 / 5.25))


@pytest.mark.parametrize("beta", [0.001, 0.2, 5.0])
def test_exponentials_of_soft_scores_have_mean_one_in_every_state(beta: float) -> None:
    scores_KSA = soft_scores(VALUES, beta=beta)

    # As a mean of logs, since exp(S / beta) overflows for the smallest beta.
    means_KS = torch.logsumexp(POLICY.log() + scores_KSA / beta, dim=-1)
    torch.testing.assert_close(means_KS, torch.zeros(3, 3, dtype=torch.float64), rtol=0, atol=1e-9)


def test_soft_scores_become_the_advantage_as_beta_grows() -> None:
    errors = [(soft_scores(VALUES, beta=beta) - VALUES.advantage_KSA).abs().max() for beta in (1, 10, 100)]

    assert errors[0] > 0.05
    assert errors[1] < 0.01
    assert errors[2] < 0.001


def test_soft_scores_rank_acts_as_q_does_within_every_state() -> None:
    scores_KSA = soft_scores(VALUES, beta=0.2)

    by_score_KSAA = scores_KSA[..., None] - scores_KSA[..., None, :]
    by_q_KSAA = VALUES.q_KSA[..., None] - VALUES.q_KSA[..., None, :]
    assert bool((by_score_KSAA * by_q_KSAA >= -1e-15).all())


def test_a_beta_that_is_not_above_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="beta 0 is not above 0"):
        soft_scores(VALUES, beta=0)


def cross_entropy(scores_KSA: torch.Tensor) -> float:
    """The exact expectation over all conversations."""
    total_B = look_up(CONVERSATIONS, scores_KSA).sum(1)
    lost_B = torch.nn.functional.softplus(total_B) - CONVERSATIONS.outcome_B * total_B
    return float(CONVERSATIONS.chance_B @ lost_B)


def test_fitted_scores_are_of_a_distribution_and_cannot_be_bettered_nearby() -> None:
    fitted_KSA = fitted_scores(CONVERSATIONS, POLICY, beta=0.2)

    phi_KSA = POLICY * (fitted_KSA / 0.2).exp()
    assert torch.allclose(phi_KSA.sum(-1), torch.ones(3, 3, dtype=torch.float64))
    generator = torch.Generator().manual_seed(3)
    for _ in range(20):
        nudge_KSA = 0.1 * torch.randn(3, 3, 3, generator=generator, dtype=torch.float64)
        nearby_KSA = (phi_KSA.log() + nudge_KSA).log_softmax(-1) - POLICY.log()
        assert cross_entropy(0.2 * nearby_KSA) >= cross_entropy(fitted_KSA)


def test_fitted_scores_beat_the_soft_ones_at_the_loss_that_they_are_fitted_to() -> None:
    fitted_KSA = fitted_scores(CONVERSATIONS, POLICY, beta=0.2)

    assert cross_entropy(torch.zeros(3, 3, 3)) == pytest.approx(math.log(2))
    assert cross_entropy(fitted_KSA) < cross_entropy(soft_scores(VALUES, beta=0.2)) < math.log(2)


def test_a_dueling_term_is_the_logit_of_q_less_a_constant_of_its_state() -> None:
    terms_KSA = dueling_log_ratios(VALUES, POLICY, beta=1.0)

    constants_KS3 = torch.logit(VALUES.q_KSA) - terms_KSA
    assert constants_KS3.std(-1).max() < 1e-12
    torch.testing.assert_close((POLICY * terms_KSA.exp()).sum(-1), torch.ones(3, 3, dtype=torch.float64))


def test_every_cell_that_the_tests_read_is_visited() -> None:
    assert visits(MDP, POLICY)[1:].min() > 0
    assert visits(MDP, POLICY)[0].tolist() == [0, 0.5, 0.5]
