"""Iterative PPO on a dialogue that is solved exactly: steps that must improve, bounds that must hold."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from itpo_core.certificate import Agreement, Certificate, Horizon, Movement, QError, QErrorKind, certify
from itpo_core.decision import Gain
from itpo_core.tabular import (
    ASK,
    GUESS,
    TabularMdp,
    accumulate,
    dialogue_mdp,
    discounted_visits,
    divergence,
    evaluate,
    evaluate_forever,
    greedy,
    improvement_bound,
    regularised,
    solve,
    success,
    visits,
)

MDP = dialogue_mdp(turns=5)
UNIFORM = torch.full((5, 3, 3), 1 / 3, dtype=torch.float64)
SEEDS = st.integers(0, 10_000)


def random_policy(seed: int, *, turns: int = 5) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(turns, 3, 3, generator=generator, dtype=torch.float64).softmax(-1)


def random_mdp(seed: int, *, discount: float = 1.0) -> TabularMdp:
    """Four states, three acts, five turns; about a third of the chance ends the conversation at each turn."""
    generator = torch.Generator().manual_seed(seed)
    events_SAE = torch.rand(4, 3, 6, generator=generator, dtype=torch.float64).square()
    events_SAE /= events_SAE.sum(-1, keepdim=True)
    return TabularMdp(
        success_SA=events_SAE[..., 0],
        moves_SAS=events_SAE[..., 2:],
        timeout_S=torch.rand(4, generator=generator, dtype=torch.float64),
        start_S=torch.full((4,), 0.25, dtype=torch.float64),
        turns=5,
        discount=discount,
    )


def policy_of(mdp: TabularMdp, seed: int, *, turns: int = 5) -> Tensor:
    generator = torch.Generator().manual_seed(seed + 1)
    states, acts = mdp.success_SA.shape
    return (2 * torch.randn(turns, states, acts, generator=generator, dtype=torch.float64)).softmax(-1)


def wrong_by(q: Tensor, error: float, seed: int) -> Tensor:
    """Every entry off by exactly `error`, up or down: the worst that the claim allows."""
    signs = torch.randint(0, 2, q.shape, generator=torch.Generator().manual_seed(seed + 2)) * 2 - 1
    return q + error * signs


def test_values_of_the_last_two_turns_are_those_on_paper() -> None:
    values = evaluate(MDP, UNIFORM)

    # Last turn, one fact missing. Ask: 3/4 * 1/4 + 1/4 * 1/8; guess: 3/8; chat: 3/4 * 1/8.
    torch.testing.assert_close(
        values.q_KSA[4, 1], torch.tensor([7 / 32, 3 / 8, 3 / 32], dtype=torch.float64), rtol=0, atol=1e-15
    )
    # Nothing missing, last turn: 3/4 * 1/4 twice and 7/8; the turn before, chat is 3/4 of their mean.
    assert values.v_KS[4, 0].item() == pytest.approx((3 / 16 + 7 / 8 + 3 / 16) / 3)
    assert values.q_KSA[3, 0, 2].item() == pytest.approx(0.75 * 1.25 / 3)


def test_the_best_policy_asks_while_facts_are_missing_and_guesses_at_the_end() -> None:
    best_KS = solve(MDP).q_KSA.argmax(-1)

    assert best_KS[:, 0].tolist() == [GUESS] * 5
    assert best_KS[:, 1].tolist() == [ASK] * 4 + [GUESS]
    assert best_KS[0, 2].item() == ASK


def test_visits_and_advantages_give_the_change_of_success_exactly() -> None:
    new_KSA, old_KSA = random_policy(1), random_policy(2)

    gained_KS = (new_KSA * evaluate(MDP, old_KSA).advantage_KSA).sum(-1)

    change = success(MDP, new_KSA) - success(MDP, old_KSA)
    assert (visits(MDP, new_KSA) * gained_KS).sum().item() == pytest.approx(change, abs=1e-14)


@given(seed=SEEDS, beta=st.sampled_from([0.01, 0.1, 1.0, 10.0]))
@settings(max_examples=30, deadline=None)
def test_a_regularised_step_on_exact_q_lowers_no_state(seed: int, beta: float) -> None:
    mdp = random_mdp(seed)
    old_KSA = policy_of(mdp, seed)
    old = evaluate(mdp, old_KSA)

    new = evaluate(mdp, regularised(old.q_KSA, old_KSA, beta=beta))

    assert bool((new.v_KS >= old.v_KS - 1e-12).all())
    assert bool((new.v_KS > old.v_KS + 1e-12).any())


@given(seed=SEEDS)
@settings(max_examples=30, deadline=None)
def test_greedy_steps_on_exact_q_lower_no_state_and_reach_the_optimum_in_one_step_a_turn(seed: int) -> None:
    mdp = random_mdp(seed)
    policy_KSA = policy_of(mdp, seed)
    values_IKS = [evaluate(mdp, policy_KSA).v_KS]

    for _ in range(mdp.turns):
        policy_KSA = greedy(evaluate(mdp, policy_KSA).q_KSA)
        values_IKS.append(evaluate(mdp, policy_KSA).v_KS)

    assert bool((torch.stack(values_IKS).diff(dim=0) >= -1e-12).all())
    torch.testing.assert_close(values_IKS[-1], solve(mdp).v_KS, rtol=0, atol=1e-12)


def test_regularised_steps_rise_at_every_state_and_reach_the_optimum() -> None:
    policy_KSA, values_IKS = UNIFORM, [evaluate(MDP, UNIFORM).v_KS]

    for _ in range(60):
        policy_KSA = regularised(evaluate(MDP, policy_KSA).q_KSA, policy_KSA, beta=0.1)
        values_IKS.append(evaluate(MDP, policy_KSA).v_KS)

    rises_IKS = torch.stack(values_IKS).diff(dim=0)
    assert bool((rises_IKS >= -1e-12).all())
    # After the first step every state has gained; its turns are 0 to 3, as states differ in what is left.
    assert bool((rises_IKS[0] > 1e-3).all())
    torch.testing.assert_close(values_IKS[-1], solve(MDP).v_KS, rtol=0, atol=1e-6)


@given(
    seed=SEEDS,
    error=st.sampled_from([0.0, 0.01, 0.1, 0.5]),
    beta=st.sampled_from([0.02, 0.2, 2.0]),
    discount=st.sampled_from([1.0, 0.9, 0.5]),
)
@settings(max_examples=60, deadline=None)
def test_theorem_2_holds_from_every_state_however_the_error_falls(
    seed: int, error: float, beta: float, discount: float
) -> None:
    mdp = random_mdp(seed, discount=discount)
    old_KSA = policy_of(mdp, seed)
    q_KSA = wrong_by(evaluate(mdp, old_KSA).q_KSA, error, seed)

    found = improvement_bound(
        mdp, regularised(q_KSA, old_KSA, beta=beta), other_KSA=old_KSA, q_KSA=q_KSA, beta=beta, error=error
    )

    assert bool((found.change_KS >= found.theorem_2_KS - 1e-12).all())
    assert bool((found.change_KS >= found.moved_chance_KS - 1e-12).all())
    assert bool((found.moved_chance_KS >= found.theorem_2_KS - 1e-12).all())


@given(seed=SEEDS, beta=st.sampled_from([0.0, 0.1, 1.0]))
@settings(max_examples=30, deadline=None)
def test_theorem_2_charges_a_step_that_stops_short(seed: int, beta: float) -> None:
    mdp = random_mdp(seed)
    old_KSA, anywhere_KSA = policy_of(mdp, seed), policy_of(mdp, seed + 77)
    q_KSA = wrong_by(evaluate(mdp, old_KSA).q_KSA, 0.05, seed)

    found = improvement_bound(mdp, anywhere_KSA, other_KSA=old_KSA, q_KSA=q_KSA, beta=beta, error=0.05)

    assert bool((found.change_KS >= found.theorem_2_KS - 1e-12).all())


def test_theorem_2_promises_something_when_q_is_good() -> None:
    q_KSA = wrong_by(evaluate(MDP, UNIFORM).q_KSA, 0.002, 0)
    new_KSA = regularised(q_KSA, UNIFORM, beta=0.1)

    found = improvement_bound(MDP, new_KSA, other_KSA=UNIFORM, q_KSA=q_KSA, beta=0.1, error=0.002)

    assert bool((MDP.start_S @ found.theorem_2_KS[0] > 0.05).all())


def test_the_exact_step_gains_the_divergence_in_both_directions() -> None:
    q_KSA = evaluate(MDP, UNIFORM).q_KSA

    new_KSA = regularised(q_KSA, UNIFORM, beta=0.3)

    both_KS = divergence(new_KSA, UNIFORM) + divergence(UNIFORM, new_KSA)
    torch.testing.assert_close(((new_KSA - UNIFORM) * q_KSA).sum(-1), 0.3 * both_KS, rtol=0, atol=1e-14)


@given(seed=SEEDS, discount=st.sampled_from([0.5, 0.9, 0.99]), error=st.sampled_from([0.0, 0.02, 0.3]))
@settings(max_examples=40, deadline=None)
def test_the_discounted_form_holds_without_a_limit_of_turns(seed: int, discount: float, error: float) -> None:
    mdp = random_mdp(seed, discount=discount)
    old_SA = policy_of(mdp, seed, turns=1)[0]
    old = evaluate_forever(mdp, old_SA)
    q_SA = wrong_by(old.q_KSA[0], error, seed)
    new_SA = regularised(q_SA, old_SA, beta=0.1)

    gains_S = 0.1 * divergence(new_SA, old_SA) - 2 * error
    bound_S = discounted_visits(mdp, new_SA) @ gains_S / (1 - discount)

    change_S = evaluate_forever(mdp, new_SA).v_KS[0] - old.v_KS[0]
    assert bool((change_S >= bound_S - 1e-12).all())


def test_without_a_limit_of_turns_values_are_those_of_very_many_turns() -> None:
    mdp = replace(random_mdp(3, discount=0.9), turns=400)
    policy_SA = policy_of(mdp, 3, turns=1)[0]

    limited = evaluate(mdp, policy_SA.expand(400, -1, -1))

    torch.testing.assert_close(
        evaluate_forever(mdp, policy_SA).q_KSA[0], limited.q_KSA[0], rtol=0, atol=1e-12
    )


def test_endless_talk_without_a_discount_is_refused() -> None:
    with pytest.raises(ValueError, match=r"discount 1\.0 is not below 1"):
        evaluate_forever(MDP, UNIFORM[0])


def exact_certificate(q_KSA: Tensor, *, claimed_error: float, beta: float = 0.1) -> Certificate:
    """The certificate of one exact regularised step on a table, with means over the states that it visits."""
    new_KSA = regularised(q_KSA, UNIFORM, beta=beta)
    visits_KS = visits(MDP, new_KSA)
    turns = float(visits_KS.sum())
    moved_KS = divergence(new_KSA, UNIFORM)
    change = success(MDP, new_KSA) - success(MDP, UNIFORM)
    return certify(
        Movement(
            kl_per_response=float((visits_KS * moved_KS).sum()) / turns,
            kl_largest_state=float(moved_KS.max()),
            q_gain_per_turn=float((visits_KS * ((new_KSA - UNIFORM) * q_KSA).sum(-1)).sum()) / turns,
        ),
        Gain(mean=change, lower=change - 0.02, upper=change + 0.02, pairs=1_000),
        q_error=QError(claimed_error, QErrorKind.EXACT),
        horizon=Horizon(mean_turns=turns, max_turns=MDP.turns),
        beta=beta,
    )


def test_an_exact_q_has_a_certificate_that_agrees_and_says_something() -> None:
    found = exact_certificate(evaluate(MDP, UNIFORM).q_KSA, claimed_error=0.0)

    assert found.agreement is Agreement.AGREE
    assert 0 < found.bound < found.measured.mean
    # Performance difference: with exact Q and the visits of the new policy the promise is the change itself.
    assert found.promised == pytest.approx(found.measured.mean, abs=1e-12)


@pytest.mark.parametrize("claimed_error", [0.0, 0.05])
def test_a_corrupted_q_fails_the_certificate(claimed_error: float) -> None:
    upside_down_KSA = 1 - evaluate(MDP, UNIFORM).q_KSA

    found = exact_certificate(upside_down_KSA, claimed_error=claimed_error)

    assert found.agreement is Agreement.DISAGREE
    assert found.promised > 0 > found.measured.upper


def test_a_q_that_is_right_about_states_and_wrong_about_acts_fails_though_its_mean_error_is_small() -> None:
    values = evaluate(MDP, UNIFORM)
    wrong_KSA = values.v_KS[..., None] - 0.5 * values.advantage_KSA

    found = exact_certificate(wrong_KSA, claimed_error=0.01)

    assert found.agreement is Agreement.DISAGREE


def test_an_honest_error_of_a_corrupted_q_makes_its_bound_vacuous() -> None:
    q_KSA = evaluate(MDP, UNIFORM).q_KSA
    honest = float((1 - 2 * q_KSA).abs().max())

    found = exact_certificate(1 - q_KSA, claimed_error=honest)

    assert found.vacuous
    assert found.bound < found.measured.lower


def test_gains_add_up_over_the_turns_that_are_taken() -> None:
    ones_KS = torch.ones(5, 3, dtype=torch.float64)

    turns_KS = accumulate(MDP, UNIFORM, gains_KS=ones_KS)

    # A conversation goes on after ask and, in 3 of 4 cases, after chat; never after guess: 7/12.
    assert turns_KS[4].tolist() == [1, 1, 1]
    assert turns_KS[3, 2].item() == pytest.approx(1 + 7 / 12)
