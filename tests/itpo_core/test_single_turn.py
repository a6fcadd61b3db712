"""The improvement step in memory: where it goes, when it stops, and that it is the same every time."""

import copy
import dataclasses
from collections.abc import Callable

import pytest
import torch
from transformers import PreTrainedModel

from itpo_core.branch_values import ActionValues
from itpo_core.packing import Packed
from itpo_core.scored_branches import Problem, advantages_of, draw_and_score, speaking_rows
from itpo_core.single_turn import divergence_abort, draw_pass, improve
from itpo_core.single_turn_settings import AbortReason, SingleTurnSettings
from tests.itpo_core.branching import END, conversations
from tests.itpo_core.single_turn_cases import SETTINGS, divergence, near, policy, problem


def weights(model: PreTrainedModel) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in model.parameters()]


def same(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_improving_on_a_log_ratio_moves_the_policy_towards_phi() -> None:
    reference = policy()
    phi, model = near(reference, noise=0.05), copy.deepcopy(reference)
    # One large step a pass: the few tokens of a case this small would else pull in as many directions.
    settings = dataclasses.replace(
        SETTINGS, passes=6, conversations_per_step=8, max_new_tokens=12, learning_rate=4e-4, kl_weight=0.8
    )

    before = divergence(model, phi)
    found = improve(model, problem(reference, phi), settings=settings)

    assert found.abort is None
    assert divergence(model, phi) < 0.6 * before
    assert found.taken.movement.q_gain_per_turn > 0
    assert found.steps[-1]["reward_mean"] > found.steps[0]["reward_mean"]


def test_a_q_that_knows_nothing_moves_nothing() -> None:
    reference = policy()
    model = copy.deepcopy(reference)

    found = improve(model, problem(reference, copy.deepcopy(reference)), settings=SETTINGS)

    assert {step["policy_loss"] for step in found.steps} == {0.0}
    assert {step["reward_mean"] for step in found.steps} == {0.0}
    assert found.taken.movement.kl_per_response < 1e-6
    assert abs(found.taken.movement.q_gain_per_turn) < 1e-6


def test_equal_arguments_give_equal_weights_and_figures() -> None:
    reference = policy()
    of = problem(reference, near(reference))
    one, other = copy.deepcopy(reference), copy.deepcopy(reference)

    first = improve(one, of, settings=SETTINGS)
    second = improve(other, of, settings=SETTINGS)

    assert first == second
    assert same(weights(one), weights(other))
    assert not same(weights(one), weights(reference))


def test_a_step_that_goes_too_far_is_given_up_with_the_weights_before_that_pass() -> None:
    reference = policy()
    of = problem(reference, near(reference))
    one_pass, model = copy.deepcopy(reference), copy.deepcopy(reference)
    improve(
        one_pass, of, settings=dataclasses.replace(SETTINGS, passes=1, learning_rate=1e-2, abort_window=50)
    )

    strict = dataclasses.replace(
        SETTINGS, passes=3, learning_rate=1e-2, abort_divergence=0.02, abort_window=3
    )
    found = improve(model, of, settings=strict)

    assert found.abort is not None
    assert found.abort.reason is AbortReason.DIVERGENCE
    assert (found.abort.pass_index, found.abort.limit) == (1, 0.02)
    assert found.abort.divergence > 0.02
    assert found.steps[-1]["epoch"] == 1
    assert same(weights(model), weights(one_pass))


def test_the_divergence_that_aborts_is_the_mean_of_the_last_window() -> None:
    settings = dataclasses.replace(SETTINGS, abort_window=2, abort_divergence=0.3)
    steps = [{"epoch": 0, "kl": 0.5}, {"epoch": 0, "kl": 0.05}, {"epoch": 1, "kl": 0.6}]

    assert divergence_abort(steps[:1], settings) is None
    assert divergence_abort(steps[:2], settings) is None
    abort = divergence_abort(steps, settings)
    assert abort is not None
    assert (abort.pass_index, abort.divergence) == (1, pytest.approx(0.325))


def test_the_kl_taken_is_the_mean_of_the_sampled_log_ratio() -> None:
    reference = policy()
    model = near(reference, noise=0.05)
    # No step is made: the movement of another policy is measured as it stands.
    settings = dataclasses.replace(SETTINGS, passes=1, learning_rate=0.0, draws=64)

    taken = improve(model, problem(reference, near(reference)), settings=settings).taken

    assert taken.histories == 2 * (1 + 2 + 3 + 4)
    assert taken.movement.kl_per_response > 0.01
    assert taken.movement.kl_largest_state > taken.movement.kl_per_response
    assert abs(taken.kl_sampled - taken.movement.kl_per_response) < 4 * taken.kl_sampled_error


def test_rates_and_weights_change_with_the_iteration() -> None:
    settings = SingleTurnSettings(iteration=2)

    assert settings.learning_rate_now == pytest.approx(7e-4 * 0.75**2)
    assert settings.kl_weight_now == pytest.approx(0.6 * 1.25**2)


def test_how_many_conversations_share_a_forward_changes_nothing_but_the_last_bits() -> None:
    reference = policy()
    of = problem(reference, near(reference))
    found = []
    for micro_batch in (None, 1, 3):
        model = copy.deepcopy(reference)
        # Near zero Adam makes a whole step of a rounding; one step of the rate 1e-3 keeps that small.
        settings = dataclasses.replace(SETTINGS, passes=1, conversations_per_step=8, micro_batch=micro_batch)
        improve(model, of, settings=dataclasses.replace(settings, learning_rate=1e-3))
        found.append((draw_pass(reference, of, settings=settings, index=0), weights(model)))

    assert [len(material.steps[0]) for material, _ in found] == [1, 8, 3]
    whole, by_one, by_three = (torch.cat([each.flatten() for each in moved]) for _, moved in found)
    moved = (whole - torch.cat([each.flatten() for each in weights(reference)])).norm()
    assert (whole - by_one).norm() < 0.02 * moved
    assert (whole - by_three).norm() < 0.02 * moved


def test_every_pass_draws_afresh_and_takes_its_share_of_the_conversations() -> None:
    reference = policy()
    of = problem(reference, near(reference))
    settings = dataclasses.replace(SETTINGS, conversations_per_pass=4, conversations_per_step=3)

    first, second, again = (draw_pass(reference, of, settings=settings, index=index) for index in (0, 1, 0))

    assert [len(packed.tokens_BT) for (packed,) in first.steps] in ([3, 1], [1, 3])
    assert torch.equal(first.scored.branches.tokens_NL, again.scored.branches.tokens_NL)
    rows = [set(each.scored.branches.row_N.tolist()) for each in (first, second)]
    assert rows[0] != rows[1]


@pytest.mark.parametrize("size", [1, 3, 8])
def test_scores_do_not_depend_on_how_many_conversations_share_a_pass(size: int) -> None:
    reference = policy()
    of = problem(reference, near(reference))
    rows = speaking_rows(of.conversations.turn_BT)

    whole = draw_and_score(reference, of, groups=[rows], settings=SETTINGS, root=1)
    parts = draw_and_score(reference, of, groups=rows.split(size), settings=SETTINGS, root=1)

    assert torch.equal(whole.branches.tokens_NL, parts.branches.tokens_NL)
    torch.testing.assert_close(whole.reference_NL, parts.reference_NL, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(whole.parts_EN, parts.parts_EN, atol=1e-4, rtol=1e-4)


def test_members_that_disagree_about_a_turn_make_it_worth_less() -> None:
    reference = policy()
    of = conversations(rows=8)

    def parts(packed: Packed, reference_NL: torch.Tensor) -> torch.Tensor:
        # Two members agree on turns that say much, and contradict each other about short ones.
        lengths_N = packed.branches.lengths_N.float()
        doubt_N = torch.where(lengths_N < 3, 1.0, 0.0)
        return torch.stack([lengths_N + doubt_N, lengths_N - doubt_N])

    values = ActionValues(parts, torch.zeros(2, 8, 4))
    scored = draw_and_score(
        reference,
        Problem(of, reference, values, END),
        groups=[torch.arange(8)],
        settings=dataclasses.replace(SETTINGS, max_new_tokens=6),
        root=0,
    )
    bold, wary = (
        advantages_of(
            scored,
            Problem(of, reference, values, END),
            settings=dataclasses.replace(SETTINGS, pessimism=pessimism, unclosed_margin=0.0),
        )
        for pessimism in (0.0, 1.0)
    )

    short_N = scored.branches.lengths_N < 3
    assert short_N.any()
    assert not short_N.all()
    assert (wary.advantages_N * wary.reward_std)[short_N].sum() < (bold.advantages_N * bold.reward_std)[
        short_N
    ].sum()


def test_the_doubly_robust_step_adds_what_q_is_wrong_by_at_the_logged_turns() -> None:
    reference = policy()
    outcomes = [1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, float("nan")]
    of = problem(reference, near(reference), outcomes=outcomes)
    settings = dataclasses.replace(SETTINGS, doubly_robust=True)

    material = draw_pass(reference, of, settings=settings, index=0)

    logged = material.scored.branches.of(
        torch.arange(material.scored.sampled.stop, len(material.advantages.advantages_N))
    )
    expected_N = (
        4
        * (torch.tensor(outcomes)[logged.row_N] - of.values.of_logged(logged.row_N, logged.turn_N))
        / torch.tensor(outcomes[:7]).std(correction=0)
    )
    assert set(logged.row_N.tolist()) == set(range(7))
    torch.testing.assert_close(material.advantages.advantages_N[material.scored.sampled.stop :], expected_N)
    assert torch.equal(material.scored.drawn_NL[-3:], material.scored.reference_NL[-3:])


def test_the_doubly_robust_step_goes_where_the_logged_turns_did_well() -> None:
    reference = policy()
    model = copy.deepcopy(reference)
    of = problem(reference, copy.deepcopy(reference), outcomes=[1.0] * 4 + [0.0] * 4)
    settings = dataclasses.replace(SETTINGS, doubly_robust=True, passes=4, abort_window=50)

    def logged_logprobs(by: PreTrainedModel) -> torch.Tensor:
        material = draw_pass(by, dataclasses.replace(of, reference=by), settings=settings, index=0)
        logged = slice(material.scored.sampled.stop, None)
        sums_N = material.scored.reference_NL[logged].sum(dim=1)
        return torch.stack([sums_N[material.scored.branches.row_N[logged] < 4].mean(), sums_N.mean()])

    before = logged_logprobs(reference)
    improve(model, of, settings=settings)
    after = logged_logprobs(model)

    assert (after - before)[0] > (after - before)[1]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SingleTurnSettings(draws=1), "draws is 1"),
        (lambda: SingleTurnSettings(passes=0), "passes is 0"),
        (lambda: SingleTurnSettings(abort_window=0), "abort_window is 0"),
        (lambda: SingleTurnSettings(micro_batch=-1), "micro_batch is -1"),
    ],
)
def test_settings_that_leave_nothing_to_do_are_refused(
    make: Callable[[], SingleTurnSettings], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_values_that_are_no_numbers_are_refused() -> None:
    reference = policy()

    def broken(packed: Packed, reference_NL: torch.Tensor) -> torch.Tensor:
        return torch.full((1, len(packed.branches.row_N)), float("nan"))

    of = Problem(conversations(rows=8), reference, ActionValues(broken, torch.zeros(1, 8, 4)), END)

    with pytest.raises(ValueError, match="value that is not finite"):
        improve(copy.deepcopy(reference), of, settings=SETTINGS)


def test_conversations_without_a_turn_are_left_out_and_alone_refused() -> None:
    turn_BT = torch.tensor([[-1, 0], [-1, -1]])

    assert speaking_rows(turn_BT).tolist() == [0]
    with pytest.raises(ValueError, match="none of 1 conversations has a turn"):
        speaking_rows(turn_BT[1:])


def test_a_logged_turn_that_the_policy_cannot_speak_is_refused_by_the_doubly_robust_step() -> None:
    reference = policy()
    of = problem(reference, near(reference), outcomes=[1.0, 0.0] * 4)
    foreign = dataclasses.replace(of, conversations=conversations(rows=8))

    with pytest.raises(ValueError, match="is never spoken by this policy"):
        improve(reference, foreign, settings=dataclasses.replace(SETTINGS, doubly_robust=True))
