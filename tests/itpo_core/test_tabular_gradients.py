"""Expected updates of credit methods, enumerated: which point along the true gradient, and which do not."""

from functools import cache

import pytest
import torch

from itpo_core.credit import CreditMethod
from itpo_core.tabular import collecting_policy, dialogue_mdp, success
from itpo_core.tabular_batch import deciding_token_advantages
from itpo_core.tabular_bias import (
    BiasCase,
    groups_of_two,
    large_group_scalars,
    large_groups,
    method_bias,
)
from itpo_core.tabular_conversations import enumerate_all
from itpo_core.tabular_gradients import Bias, bias, true_gradient

MDP, POLICY = dialogue_mdp(turns=3), collecting_policy(3)
RLOO = "rloo"


@cache
def case(scores: str = "soft", *, pairs: bool = False) -> BiasCase:
    return groups_of_two(scores) if pairs else large_groups(scores)


def bias_of(algorithm: str, advantage: str = RLOO, *, scores: str = "soft", profile: str = "safe") -> Bias:
    return method_bias(case(scores), CreditMethod(algorithm, advantage, profile=profile))


def test_the_true_gradient_is_the_slope_of_success() -> None:
    logits_KSA = POLICY.log()
    slopes_KSA = torch.zeros_like(POLICY)
    for cell in torch.ones_like(POLICY).nonzero():
        step_KSA = torch.zeros_like(POLICY)
        step_KSA[tuple(cell)] = 1e-5
        ahead, behind = ((logits_KSA + sign * step_KSA).softmax(-1) for sign in (1, -1))
        slopes_KSA[tuple(cell)] = (success(MDP, ahead) - success(MDP, behind)) / 2e-5

    torch.testing.assert_close(true_gradient(MDP, POLICY), slopes_KSA, rtol=0, atol=1e-9)


def test_autograd_of_the_policy_loss_is_the_expected_update() -> None:
    of = enumerate_all(MDP, POLICY)
    advantages_BK = torch.randn(of.happened_BK.shape, generator=torch.Generator().manual_seed(1)).double()
    logits_KSA = POLICY.log().requires_grad_()

    turns_K = torch.arange(3)
    logprobs_BK = logits_KSA.log_softmax(-1)[turns_K, of.states_BK, of.acts_BK]
    (of.chance_B[:, None] * of.happened_BK * advantages_BK * logprobs_BK).sum().backward()

    found = bias(of, advantages_BK, mdp=MDP, policy_KSA=POLICY)
    gradient_KSA, true_KSA = logits_KSA.grad, true_gradient(MDP, POLICY)
    assert gradient_KSA is not None
    assert found.error == pytest.approx(float((gradient_KSA - true_KSA).norm() / true_KSA.norm()))


@pytest.mark.parametrize("algorithm", ["outcome", "uniform"])
def test_a_baseline_of_siblings_leaves_the_outcome_unbiased(algorithm: str) -> None:
    found = bias_of(algorithm)

    # The baseline of 32,768 rows holds the row itself with weight 1 / 32,767.
    assert found.error < 1e-4
    assert found.turn_weights == pytest.approx((1, 1, 1), abs=1e-6)


@pytest.mark.parametrize("algorithm", ["prefix_value", "oracle_pi", "dirichlet", "dirichlet_matched"])
def test_exact_values_and_random_splits_are_unbiased_up_to_a_factor(algorithm: str) -> None:
    pairs = algorithm.startswith("dirichlet")

    found = method_bias(case(pairs=pairs), CreditMethod(algorithm, RLOO))

    assert found.rescaled_error < 1e-6


@pytest.mark.parametrize("lam", [0.0, 0.9, 1.0])
def test_gae_with_the_exact_critic_is_unbiased_for_every_lambda(lam: float) -> None:
    found = method_bias(case(), CreditMethod("outcome", "ppo", gae_lambda=lam))

    assert found.rescaled_error < 1e-6


def test_a_smaller_lambda_has_less_noise_when_the_critic_is_exact() -> None:
    noises = [
        method_bias(case(), CreditMethod("outcome", "ppo", gae_lambda=lam)).noise for lam in (0.0, 0.9, 1.0)
    ]

    assert noises == sorted(noises)


def test_dividing_by_the_deviation_of_a_large_group_prefers_hard_scenarios() -> None:
    found = bias_of("outcome", "grpo")

    # Success .446 and .153: deviations .497 and .360, so that the harder one counts 1.38 times as much.
    assert found.rescaled_error == pytest.approx(0.119, abs=0.001)


def test_dividing_by_the_deviation_of_a_pair_changes_nothing_but_the_scale() -> None:
    found = method_bias(case(pairs=True), CreditMethod("outcome", "grpo"))

    # A pair that differs has deviation 1 / sqrt(2): advantages are +-1 / sqrt(2) in place of +-1.
    assert found.rescaled_error < 1e-6
    assert found.scale == pytest.approx(0.5**0.5, rel=1e-3)


def test_the_signed_shares_lean_little_and_nothing_without_information() -> None:
    assert bias_of("norm_itpo_share").rescaled_error == pytest.approx(0.043, abs=0.001)
    assert bias_of("norm_itpo_share", scores="fitted").rescaled_error == pytest.approx(0.233, abs=0.001)
    assert bias_of("norm_itpo_share", scores="none").error < 1e-4


def test_the_published_norm_itpo_is_biased_by_its_construction_whatever_its_scores() -> None:
    for scores in ("soft", "fitted", "none"):
        published = bias_of("norm_itpo", scores=scores, profile="itpo_reference")

        assert published.rescaled_error > 0.65


def test_the_released_baseline_alone_biases_equal_shares() -> None:
    same_turn = method_bias(case(), CreditMethod("uniform", RLOO, to_go="reward_to_go"))
    released = bias_of("uniform", profile="itpo_reference")

    assert same_turn.cosine == pytest.approx(0.904, abs=0.001)
    assert released.cosine == pytest.approx(0.656, abs=0.001)


def test_a_baseline_of_the_same_turn_mends_most_of_it() -> None:
    published = bias_of("norm_itpo", profile="itpo_reference")
    same_turn = bias_of("norm_itpo")

    assert same_turn.rescaled_error < 0.4 * published.rescaled_error


def test_shares_to_go_weigh_late_turns_too_little() -> None:
    found = method_bias(case(), CreditMethod("uniform", RLOO, to_go="reward_to_go"))

    first, second, third = found.turn_weights
    assert first > 1 > second > third


def test_a_pair_without_a_sibling_at_the_turn_loses_it() -> None:
    scalars = large_group_scalars()
    method = CreditMethod("norm_itpo", RLOO, scalars=scalars)

    small, large = method_bias(case(pairs=True), method), method_bias(case(), method)

    assert small.turn_weights[2] < 0.5 * large.turn_weights[2]


def test_prime_by_token_and_itpo_by_turn_expect_the_same_update() -> None:
    prime, turn = bias_of("prime_token"), bias_of("itpo")

    assert prime.cosine == pytest.approx(turn.cosine, abs=1e-6)
    assert prime.turn_weights == pytest.approx(turn.turn_weights, abs=1e-6)


def test_what_the_best_policy_would_do_is_not_the_gradient_of_this_one() -> None:
    assert bias_of("oracle_star").cosine == pytest.approx(0.853, abs=0.001)


def test_a_dueling_term_on_the_scale_of_logits_is_slightly_biased_and_on_that_of_chances_is_not() -> None:
    alone = CreditMethod("dueling_advantage", RLOO, outcome_weight=0.0, signal_weight=1.0)

    assert method_bias(case(), alone).cosine == pytest.approx(0.982, abs=0.001)
    assert method_bias(large_groups(log_ratios="chances"), alone).rescaled_error < 1e-6


def test_scores_of_nothing_move_nothing_by_themselves() -> None:
    found = bias_of("itpo", scores="none")

    assert (found.cosine, found.scale, found.noise) == (0.0, 0.0, None)
    assert found.alignment(128) == 0.0


def test_noise_rules_small_batches_and_bias_large_ones() -> None:
    outcome, shares = bias_of("outcome"), bias_of("norm_itpo_share", scores="fitted")

    assert outcome.alignment(128) < shares.alignment(128)
    assert outcome.alignment(10_000) > shares.alignment(10_000)


def test_the_deciding_token_is_the_first_of_its_turn() -> None:
    turns = case(pairs=True).turns
    assert turns.token_scores_BT is not None

    found_BK = deciding_token_advantages(turns.token_scores_BT, turns)

    torch.testing.assert_close(found_BK, turns.scores_BK, rtol=0, atol=0)


def test_an_unknown_source_of_scores_is_refused() -> None:
    with pytest.raises(ValueError, match="choose from soft, fitted, none"):
        large_groups("perfect")
