"""The policy step: parts add up to the whole, defaults are the plain formula, choices reach the loss."""

import dataclasses
import math

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from itpo_core.kl import AdaptiveKl
from itpo_core.logprobs import token_logprobs
from itpo_core.loss_aggregation import AGGREGATIONS
from itpo_core.optimisation import adamw
from itpo_core.policy_choices import choices
from itpo_core.policy_losses import POLICY_LOSSES
from itpo_core.policy_step import (
    Step,
    gap_summary,
    minibatch_loss,
    run_epoch,
    start_logprobs,
    with_kl_rewards,
)
from itpo_core.rollout_gap import GapCorrection
from itpo_core.tiny_policy import suppressed_ids
from itpo_core.trainers.base import PolicySettings, TrainingBatch
from tests.itpo_core.tiny_models import NEVER, tiny_model
from tests.itpo_core.training_batches import training_batch

ROWS = torch.arange(16)
SETTINGS = PolicySettings(minibatch_conversations=16, kl_weight=0.1, norm_tokens=8)


def moved(model: PreTrainedModel) -> PreTrainedModel:
    """The same model a little off the start, so that ratios and divergences are not trivial."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))
    return model


def gradient(settings: PolicySettings, *, batch_of: int = 16) -> Tensor:
    """The gradient that one step takes, read off the parameters before AdamW has used it."""
    start = training_batch(tiny_model(), batch_of)
    start_BT = start_logprobs(tiny_model(), start)
    model = moved(tiny_model())
    run_epoch(
        model,
        torch.optim.SGD(model.parameters(), lr=0.0),
        batch=start,
        start_BT=start_BT,
        settings=dataclasses.replace(settings, max_gradient_norm=1e9),
        epoch=0,
    )
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@pytest.mark.parametrize("policy_loss", sorted(POLICY_LOSSES))
@pytest.mark.parametrize("aggregation", sorted(AGGREGATIONS))
def test_parts_of_1_4_and_16_conversations_give_one_gradient(aggregation: str, policy_loss: str) -> None:
    settings = dataclasses.replace(SETTINGS, aggregation=aggregation, policy_loss=policy_loss)

    whole, by_4, by_1 = (gradient(dataclasses.replace(settings, micro_batch=size)) for size in (None, 4, 1))

    assert float(whole.norm()) > 1e-3
    torch.testing.assert_close(by_4, whole, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(by_1, whole, rtol=1e-4, atol=1e-6)


def test_parts_add_up_with_turns_as_sequences_and_penalties_apart() -> None:
    settings = dataclasses.replace(
        SETTINGS,
        sequence="turn",
        aggregation="sequence_mean_token_mean",
        penalty_aggregation="token_mean",
        policy_loss="gspo",
        entropy_weight=0.05,
        gap=GapCorrection(weight="sequence", weight_high=2.0),
    )

    whole, by_3 = (gradient(dataclasses.replace(settings, micro_batch=size)) for size in (None, 3))

    torch.testing.assert_close(by_3, whole, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("aggregation", sorted(AGGREGATIONS))
def test_aggregations_differ_where_lengths_do(aggregation: str) -> None:
    plain = gradient(SETTINGS)

    other = gradient(dataclasses.replace(SETTINGS, aggregation=aggregation))

    assert torch.allclose(plain, other) == (aggregation == "token_mean")


def plain_gradient(batch: TrainingBatch, start_BT: Tensor, model: PreTrainedModel) -> list[Tensor]:
    """The default step written out: clipped PPO with dual clip and clamped k3, a mean over tokens."""
    wanted_BT = batch.is_policy_BT
    found = token_logprobs(model, batch.tokens_BT, wanted_BT=wanted_BT, suppressed_ids=NEVER, temperature=1.0)
    start_N, advantages_N = start_BT[wanted_BT], batch.advantages_BT[wanted_BT]
    ratios_N = (found.logprobs_N - start_N).clamp(-20, 20).exp()
    losses_N = -torch.min(ratios_N * advantages_N, ratios_N.clamp(1 - 0.6, 1 + 1.5) * advantages_N)
    losses_N = torch.where(advantages_N < 0, torch.min(losses_N, -3.0 * advantages_N), losses_N)
    difference_N = (start_N - found.logprobs_N).clamp(-5, 5)
    objective = (losses_N + 0.005 * (difference_N.exp() - difference_N - 1)).mean()
    return list(torch.autograd.grad(objective, list(model.parameters())))


def test_the_default_step_is_bit_for_bit_the_plain_formula() -> None:
    batch, model = training_batch(tiny_model(), 16), moved(tiny_model())
    start_BT = start_logprobs(tiny_model(), batch)

    loss, _ = minibatch_loss(
        model,
        batch,
        rows=ROWS,
        start_BT=start_BT,
        settings=PolicySettings(),
        never=suppressed_ids(model) or NEVER,
    )
    found = torch.autograd.grad(loss, list(model.parameters()))

    expected = plain_gradient(batch, start_BT, model)
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


def steps_of(settings: PolicySettings, *, batch: TrainingBatch | None = None) -> list[Step]:
    model = tiny_model()
    batch = batch or training_batch(model, 16)
    return run_epoch(
        model,
        adamw(model.parameters(), 1e-3, betas=(0.9, 0.99)),
        batch=batch,
        start_BT=start_logprobs(model, batch),
        settings=settings,
        epoch=0,
    )


def test_an_adaptive_weight_is_recorded_and_carried_from_step_to_step() -> None:
    adaptive = AdaptiveKl(target=1e3, horizon=40)  # never reached: the weight falls by 0.2 * 4 / 40 a step

    steps = steps_of(
        PolicySettings(minibatch_conversations=4, kl_weight=0.5, adaptive_kl=adaptive, kl_estimator="k2")
    )

    assert [step["kl_weight"] for step in steps] == pytest.approx([0.5 * 0.98**done for done in range(4)])
    assert steps[-1]["kl_weight_next"] == pytest.approx(0.5 * 0.98**4)


def test_a_fixed_weight_stays() -> None:
    steps = steps_of(PolicySettings(minibatch_conversations=4, kl_weight=0.5))

    assert {(step["kl_weight"], step["kl_weight_next"]) for step in steps} == {(0.5, 0.5)}


def test_a_masked_gap_takes_the_policy_loss_away_and_not_the_count_of_tokens() -> None:
    batch = training_batch(tiny_model(), 2)
    off_BT = batch.behaviour_logprobs_BT.clone()
    off_BT[0] -= 3.0 * batch.is_policy_BT[0]
    batch = dataclasses.replace(batch, behaviour_logprobs_BT=off_BT)
    masking = PolicySettings(gap=GapCorrection(mask="mean", mask_high=2.0))
    silenced = torch.where(torch.tensor([[True], [False]]), 0, batch.advantages_BT)

    (masked,) = steps_of(masking, batch=batch)
    (without,) = steps_of(PolicySettings(), batch=dataclasses.replace(batch, advantages_BT=silenced))

    assert masked["loss"] == pytest.approx(without["loss"], abs=1e-7)
    assert masked["tokens"] == without["tokens"]


def test_raw_ratios_are_reported_before_anything_is_cut_off() -> None:
    batch = training_batch(tiny_model(), 4)
    start_BT = start_logprobs(tiny_model(), batch)
    off = dataclasses.replace(
        batch, behaviour_logprobs_BT=start_BT - math.log(3.0) * (batch.turn_BT == 0)
    )  # the first turn is three times as likely under the trainer
    settings = PolicySettings(gap=GapCorrection(weight="token", weight_high=2.0), sequence="turn")

    facts = gap_summary(off, start_BT, settings=settings)

    assert facts["gap_ratio_max"] == pytest.approx(3.0, rel=1e-5)
    assert facts["gap_truncated_share"] == pytest.approx(8 / 14)
    assert facts["gap_ratio_mean"] == pytest.approx((8 * 3 + 6) / 14, rel=1e-5)


def test_divergence_as_a_reward_lowers_the_advantage_of_what_left_the_reference() -> None:
    batch = training_batch(tiny_model(), 4)
    start_BT = start_logprobs(tiny_model(), batch)
    reference_BT = start_BT - 0.5 * (batch.turn_BT == 1)
    batch = dataclasses.replace(batch, reference_logprobs_BT=reference_BT)
    settings = PolicySettings(kl_place="reward", kl_reference="reference", kl_weight=0.1, kl_estimator="k1")

    paid = with_kl_rewards(batch, start_BT, settings=settings)

    change_BT = (paid.advantages_BT - batch.advantages_BT)[1]
    assert change_BT[batch.is_policy_BT[1]].tolist() == pytest.approx([-0.1, -0.1, -0.1, -0.05], abs=1e-6)
    assert change_BT[~batch.is_policy_BT[1]].abs().max() == 0


def test_a_separate_reference_is_what_the_divergence_is_measured_from() -> None:
    batch = training_batch(tiny_model(), 4)
    start_BT = start_logprobs(tiny_model(), batch)
    batch = dataclasses.replace(batch, reference_logprobs_BT=start_BT - 0.5 * batch.is_policy_BT)

    (step,) = steps_of(PolicySettings(kl_reference="reference", kl_estimator="k2"), batch=batch)

    assert step["kl"] == pytest.approx(0.125, abs=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"policy_loss": "ppo2"}, "policy_loss 'ppo2' does not exist: choose one of cispo, gspo"),
        ({"aggregation": "mean"}, "aggregation 'mean' does not exist"),
        ({"penalty_aggregation": "mean"}, "penalty_aggregation 'mean' does not exist"),
        ({"kl_estimator": "k4"}, "kl_estimator 'k4' does not exist"),
        ({"sequence": "word"}, "sequence 'word' does not exist"),
        ({"aggregation": "token_sum_norm"}, "norm_tokens None"),
        ({"micro_batch": 0}, "micro_batch 0"),
    ],
)
def test_names_that_do_not_exist_are_answered_with_those_that_do(
    change: dict[str, str | int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        choices(dataclasses.replace(PolicySettings(), **change))


def test_what_a_setting_needs_and_the_batch_lacks_is_named() -> None:
    batch = training_batch(tiny_model(), 2)

    with pytest.raises(ValueError, match="needs reference_logprobs_BT"):
        steps_of(PolicySettings(kl_reference="reference"), batch=batch)
    with pytest.raises(ValueError, match="needs turn_BT"):
        steps_of(PolicySettings(sequence="turn"), batch=dataclasses.replace(batch, turn_BT=None))
    with pytest.raises(ValueError, match="penalises nothing"):
        with_kl_rewards(batch, batch.behaviour_logprobs_BT, settings=PolicySettings(kl_place="reward"))
