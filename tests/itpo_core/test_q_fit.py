"""A fit finds the turn that decided, keeps its best epoch, goes on from given weights, refuses nonsense."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from itpo_core.optimisation import TrainingDivergedError
from itpo_core.q_fit import QData, QFitSettings, fit_q, taught_turns
from itpo_core.q_losses import (
    clipped_value_losses,
    cross_entropies,
    huber_losses,
    squared_losses,
    weighted_mean,
)
from itpo_core.q_targets import td_lambda_targets
from tests.itpo_core.q_cases import SETTINGS, TURNS, data_of, fresh_q, reference_of, spoken, weights_of


def test_the_ratio_finds_the_turn_that_decided_and_gains_on_fresh_conversations() -> None:
    q = fresh_q(beta=1.0)
    fresh, fresh_B = spoken(64, seed=1)

    told = fit_q(q, data_of(*spoken(192)), settings=SETTINGS)
    found = q.score(fresh, reference_logprobs_BT=reference_of(fresh), turns=TURNS)

    assert told.losses[-1] < 0.75 * told.losses[0]
    assert found.log_ratios_BK is not None
    gap_K = found.log_ratios_BK[fresh_B == 1].mean(dim=0) - found.log_ratios_BK[fresh_B == 0].mean(dim=0)
    assert gap_K[1] > 1.0
    assert gap_K[1] > 3 * abs(float(gap_K[0]))


def test_a_fresh_head_starts_at_the_base_rate() -> None:
    conversations, outcome_B = spoken(12)
    outcome_B[:] = torch.tensor([1.0, 0.0, 0.0]).repeat(4)
    q = fresh_q("value")

    fit_q(q, data_of(conversations, outcome_B), settings=replace(SETTINGS, epochs=1, head_learning_rate=0.0))

    assert float(q.head.bias.detach()) == pytest.approx(math.log(0.5), abs=1e-5)


def test_the_epoch_that_is_best_on_held_out_rows_is_kept() -> None:
    data = data_of(*spoken(64))
    held_out_B = torch.arange(64) >= 40
    q, stopped = fresh_q(), fresh_q()

    # Far too fast: the first epochs help, the later ones learn the training rows by heart.
    fast = replace(SETTINGS, epochs=6, learning_rate=1e-2)
    told = fit_q(q, data, settings=fast, held_out_B=held_out_B)
    found = fit_q(stopped, data, settings=replace(fast, epochs=6), held_out_B=held_out_B)

    assert told.best_epoch == min(range(6), key=told.held_out_losses.__getitem__)
    again = fit_q(q, data, settings=replace(fast, epochs=1, learning_rate=0.0, head_learning_rate=0.0),
                  held_out_B=held_out_B)  # fmt: skip
    assert again.held_out_losses[0] == pytest.approx(min(told.held_out_losses), abs=1e-6)
    assert found == told


def test_held_out_rows_teach_nothing() -> None:
    conversations, outcome_B = spoken(24)
    held_out_B = torch.arange(24) >= 16
    lied_B = outcome_B.clone()
    lied_B[held_out_B] = 1 - lied_B[held_out_B]
    one, other = fresh_q(), fresh_q()
    settings = replace(SETTINGS, epochs=1)

    fit_q(one, data_of(conversations, outcome_B), settings=settings, held_out_B=held_out_B)
    fit_q(other, data_of(conversations, lied_B), settings=settings, held_out_B=held_out_B)

    assert all(torch.equal(tensor, weights_of(other)[name]) for name, tensor in weights_of(one).items())


def test_conversations_without_an_outcome_take_no_part_and_are_counted() -> None:
    conversations, outcome_B = spoken(12)
    outcome_B[8:] = math.nan

    told = fit_q(fresh_q(), data_of(conversations, outcome_B), settings=SETTINGS)
    alone = fit_q(fresh_q(), data_of(conversations, outcome_B).rows(torch.arange(8)), settings=SETTINGS)

    assert (told.labelled_turns, told.unlabelled_turns) == (16, 8)
    assert told.losses == pytest.approx(alone.losses, abs=1e-6)


def test_a_fit_goes_on_from_the_weights_it_is_given() -> None:
    data = data_of(*spoken(64))
    q = fresh_q()

    first = fit_q(q, data, settings=replace(SETTINGS, epochs=2))
    second = fit_q(q, data, settings=replace(SETTINGS, epochs=1))

    assert second.losses[0] < first.losses[0]


def test_the_same_seed_gives_the_same_weights_and_another_seed_others() -> None:
    data = data_of(*spoken(24))
    one, same, other = fresh_q(), fresh_q(), fresh_q()

    fit_q(one, data, settings=SETTINGS)
    fit_q(same, data, settings=SETTINGS)
    fit_q(other, data, settings=replace(SETTINGS, seed=9))

    assert all(torch.equal(tensor, weights_of(same)[name]) for name, tensor in weights_of(one).items())
    assert not torch.equal(one.head.weight, other.head.weight)


def test_a_critic_learns_returns_on_their_own_scale() -> None:
    conversations, outcome_B = spoken(48)
    data = data_of(conversations, outcome_B)
    returns = replace(data, targets_BK=data.targets_BK * 6 + torch.tensor([-5.0, 3.0]))
    settings = replace(SETTINGS, loss="huber", epochs=8)
    q = fresh_q("value")

    told = fit_q(q, returns, settings=settings)
    values_BK = q.score(conversations, reference_logprobs_BT=None, turns=TURNS).values_BK

    assert told.losses[-1] < told.losses[0]
    assert values_BK is not None
    assert float(values_BK[:, 1].mean() - values_BK[:, 0].mean()) > 2.0


def test_targets_may_follow_the_values_of_the_fit() -> None:
    conversations, outcome_B = spoken(24)
    data = data_of(conversations, outcome_B)
    seen: list[torch.Tensor] = []

    def retarget(values_BK: torch.Tensor) -> torch.Tensor:
        seen.append(values_BK)
        return td_lambda_targets(
            outcome_B, data.happened_BK, values_BK=values_BK.sigmoid(), gamma=1.0, lam=0.3
        )

    told = fit_q(fresh_q(), data, settings=SETTINGS, retarget=retarget)

    assert len(seen) == SETTINGS.epochs - 1
    assert told.losses != fit_q(fresh_q(), data, settings=SETTINGS).losses


def test_a_language_loss_keeps_the_trunk_speaking() -> None:
    data = data_of(*spoken(48))
    plain, speaking = fresh_q("scalar_head"), fresh_q("scalar_head")
    turns_of = data.conversations

    fit_q(plain, data, settings=SETTINGS)
    fit_q(speaking, data, settings=replace(SETTINGS, language_weight=0.3))

    chances = [q.read(turns_of, turns=TURNS, with_logprobs=True).logprobs_BT for q in (plain, speaking)]
    assert chances[0] is not None
    assert chances[1] is not None
    assert float(chances[1].sum()) > float(chances[0].sum())


def test_an_implicit_reward_model_is_taught_once_per_conversation() -> None:
    data = data_of(*spoken(3))

    assert taught_turns(data, kind="implicit_prm").tolist() == [[False, True]] * 3
    assert taught_turns(data, kind="dueling_logratio").tolist() == [[True, True]] * 3


def test_value_clipping_by_hand() -> None:
    predicted_N, targets_N = torch.tensor([2.0, 0.1, -1.0]), torch.tensor([1.0, 1.0, 1.0])
    old_N = torch.zeros(3)

    found_N = clipped_value_losses(predicted_N, targets_N, old_N=old_N, clip=0.5, losses=squared_losses)

    # Clipped predictions .5, .1, -.5: the larger of both halves of squares.
    assert found_N.tolist() == pytest.approx([0.5, 0.405, 2.0])


@given(seed=st.integers(0, 10_000), clip=st.floats(0.01, 5.0))
def test_a_clipped_loss_is_never_below_the_plain_one(seed: int, clip: float) -> None:
    predicted_N, targets_N, old_N = torch.randn(3, 20, generator=torch.Generator().manual_seed(seed))

    found_N = clipped_value_losses(predicted_N, targets_N, old_N=old_N, clip=clip, losses=huber_losses)

    assert bool((found_N >= huber_losses(predicted_N, targets_N)).all())
    inside_N = (predicted_N - old_N).abs() < clip * 0.99
    torch.testing.assert_close(found_N[inside_N], huber_losses(predicted_N, targets_N)[inside_N])


def test_soft_targets_are_not_rounded_and_weights_count() -> None:
    losses_N = cross_entropies(torch.tensor([0.0, 2.0]), torch.tensor([0.3, 1.0]))

    assert losses_N[0] == pytest.approx(math.log(2))
    assert float(weighted_mean(losses_N, torch.tensor([3.0, 0.0]))) == pytest.approx(math.log(2))
    with pytest.raises(ValueError, match="must not be negative"):
        weighted_mean(losses_N, torch.tensor([1.0, -1.0]))


@pytest.mark.parametrize(
    ("target", "settings", "message"),
    [
        (math.nan, SETTINGS, "nothing to fit"),
        (7.0, SETTINGS, r"target 7\.0"),
        (math.inf, replace(SETTINGS, loss="huber"), "target inf"),
        (1.0, replace(SETTINGS, loss="hinge"), "q loss 'hinge'"),
        (1.0, replace(SETTINGS, value_clip=0.2), "old_values_BK"),
    ],
)
def test_what_cannot_be_fitted_is_refused(target: float, settings: QFitSettings, message: str) -> None:
    conversations, _ = spoken(4)
    targets_BK = torch.full((4, TURNS), target)

    with pytest.raises(ValueError, match=message):
        fit_q(fresh_q(), QData(conversations, targets_BK, reference_of(conversations)), settings=settings)


def test_a_fit_that_diverges_says_so() -> None:
    conversations, outcome_B = spoken(4)
    broken_BT = torch.full(conversations.tokens_BT.shape, math.nan)
    data = replace(data_of(conversations, outcome_B), reference_logprobs_BT=broken_BT)

    with pytest.raises(TrainingDivergedError, match="loss is nan"):
        fit_q(fresh_q(), data, settings=SETTINGS)
