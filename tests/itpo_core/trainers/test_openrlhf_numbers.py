"""Ours against OpenRLHF's own classes, fp32, on one random batch that a tiny policy spoke.

Losses go through our trainer's own loss and the model, so that what agrees is the gradient of the weights.
Axes: B conversations, T tokens, N policy tokens, P parameters.
"""

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedModel

from itpo_core.estimators import Plan, estimator_of
from itpo_core.gae import gae_tokens, token_returns
from itpo_core.group_baselines import GroupRules, against_group
from itpo_core.kl import KL_ESTIMATORS, KlLimits
from itpo_core.logprobs import token_logprobs
from itpo_core.loss_settings import loss_settings
from itpo_core.normalisation import whiten
from itpo_core.policy_step import minibatch_loss, with_kl_rewards
from itpo_core.profiles import OPENRLHF
from itpo_core.q_losses import clipped_value_losses
from itpo_core.rollout_gap import GapCorrection
from itpo_core.trainers.base import PolicySettings, TrainingBatch
from itpo_core.turn_batch import TurnBatch
from tests.itpo_core.tiny_models import NEVER, tiny_model
from tests.itpo_core.trainers.openrlhf_numbers import (
    GAMMA,
    GROUP,
    KL_WEIGHT,
    LAMBDA,
    POLICY_LOSSES,
    VALUE_CLIP,
)
from tests.itpo_core.training_batches import training_batch

pytestmark = pytest.mark.slow

ROWS = 8
THEIRS = Path(__file__).with_name("openrlhf_numbers.py")
# Rounding of fp32 sums taken in another order.
CLOSE = 1e-4
BASE = loss_settings(OPENRLHF, PolicySettings(clip_low=0.2, clip_high=0.2, kl_weight=KL_WEIGHT))
SETTINGS: Mapping[str, PolicySettings] = {
    "ppo": BASE,
    "asymmetric": replace(BASE, clip_high=0.5),
    "dual": replace(BASE, dual_clip=1.5),
    "sequence_mean": replace(BASE, aggregation="sequence_mean_token_mean"),
    "gspo": loss_settings(OPENRLHF, replace(BASE, policy_loss="gspo", clip_low=0.1, clip_high=0.1)),
    "token_clip": replace(BASE, gap=GapCorrection(weight="token", weight_low=0.0, weight_high=1.2)),
    "token_mask": replace(BASE, gap=GapCorrection("token", mask="token", mask_low=0.7, mask_high=1.3)),
    "sequence_mask": replace(BASE, gap=GapCorrection("token", mask="mean", mask_low=0.9, mask_high=1.1)),
}
PLANS = {
    "group_norm": Plan("grpo", OPENRLHF),
    "rloo": Plan("rloo", OPENRLHF),
    "dr_grpo": Plan("grpo", OPENRLHF, std="none"),
    "reinforce_baseline": Plan("reinforce_pp_baseline", OPENRLHF),
    "reinforce": Plan("reinforce_pp", OPENRLHF),
}


@dataclass(frozen=True, slots=True)
class Case:
    """The batch, the policy that is trained, what else was drawn, and what OpenRLHF says of it all."""

    model: PreTrainedModel
    batch: TrainingBatch
    given: Mapping[str, Tensor]
    theirs: Mapping[str, Tensor]

    @property
    def is_policy_BT(self) -> Tensor:
        """Where the policy spoke."""
        return self.batch.is_policy_BT


@dataclass(frozen=True, slots=True)
class Agreement:
    """Of two gradients: cosine, and the largest difference over the largest entry."""

    cosine: float
    difference: float


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    model, folder = tiny_model(), tmp_path_factory.mktemp("numbers")
    batch, given = drawn(model)
    save_file({name: tensor.contiguous() for name, tensor in given.items()}, folder / "given.safetensors")
    command = [
        sys.executable,
        str(THEIRS),
        str(folder / "given.safetensors"),
        str(folder / "found.safetensors"),
    ]
    done = subprocess.run(command, env=dict(os.environ), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return Case(model, batch, given, load_file(folder / "found.safetensors"))


def drawn(model: PreTrainedModel) -> tuple[TrainingBatch, dict[str, Tensor]]:
    """Ratios, gaps and divergences of some 30 %, so that every clip and mask finds tokens on either side."""
    batch = training_batch(model, ROWS, seed=5)
    draw = torch.Generator().manual_seed(6)
    shape, mask_BT = batch.tokens_BT.shape, batch.is_policy_BT

    def noise(size: float) -> Tensor:
        return size * torch.randn(shape, generator=draw) * mask_BT

    start_BT = batch.behaviour_logprobs_BT - noise(0.3).abs() - noise(0.3)
    given = {
        "logprobs_BA": batch.behaviour_logprobs_BT,
        "start_BA": start_BT,
        "behaviour_BA": start_BT + noise(0.3),
        "reference_BA": start_BT + noise(0.3),
        "advantages_BA": batch.advantages_BT,
        "mask_BA": mask_BT.float(),
        "rewards_B": torch.randn(ROWS, generator=draw),
        "values_BA": noise(1.0),
        "old_values_BA": noise(1.0),
        "returns_BA": noise(1.0),
        "far_log_ratios": torch.tensor([-200.0, -30.0, -12.0, -3.0, 0.0, 9.0, 12.0, 30.0, 200.0]),
    }
    batch = replace(
        batch,
        behaviour_logprobs_BT=given["behaviour_BA"],
        reference_logprobs_BT=given["reference_BA"],
        group_B=torch.arange(ROWS) // GROUP,
    )
    return batch, given


def our_loss(case: Case, batch: TrainingBatch, settings: PolicySettings) -> Tensor:
    loss, _ = minibatch_loss(
        case.model,
        batch,
        rows=torch.arange(ROWS),
        start_BT=case.given["start_BA"],
        settings=settings,
        never=NEVER,
    )
    return loss


def weight_gradient(case: Case, of: Tensor, along: Tensor | None = None) -> Tensor:
    """[P]: the gradient of a number, or of the log-probabilities [N] along a gradient at them."""
    parts = torch.autograd.grad(of, list(case.model.parameters()), grad_outputs=along)
    return torch.cat([part.flatten() for part in parts])


def their_gradient(case: Case, name: str) -> Tensor:
    """[P]: OpenRLHF's gradient at the log-probabilities, taken on through the model."""
    spoken = token_logprobs(
        case.model,
        case.batch.tokens_BT,
        wanted_BT=case.is_policy_BT,
        suppressed_ids=NEVER,
        temperature=1.0,
    )
    return weight_gradient(case, spoken.logprobs_N, case.theirs[f"{name}.gradient"][case.is_policy_BT])


def agreement(ours: Tensor, theirs: Tensor) -> Agreement:
    cosine = torch.nn.functional.cosine_similarity(ours.double(), theirs.double(), dim=0)
    return Agreement(float(cosine), float((ours - theirs).abs().max() / theirs.abs().max()))


def test_every_policy_loss_of_theirs_is_asked_and_each_says_something_else(case: Case):
    losses = {name: float(case.theirs[f"{name}.loss"]) for name in POLICY_LOSSES}

    assert SETTINGS.keys() == POLICY_LOSSES.keys()
    assert len({round(loss, 5) for loss in losses.values()}) == len(losses)


@pytest.mark.parametrize("name", SETTINGS)
def test_loss_and_gradient_of_the_weights_are_openrlhfs(case: Case, name: str):
    loss = our_loss(case, case.batch, SETTINGS[name])

    found = agreement(weight_gradient(case, loss), their_gradient(case, name))

    assert float(loss.detach()) == pytest.approx(float(case.theirs[f"{name}.loss"]), rel=CLOSE, abs=1e-6)
    assert found.cosine >= 0.999
    assert found.difference < CLOSE


def test_one_advantage_of_the_wrong_sign_is_seen(case: Case):
    advantages_BT = case.batch.advantages_BT.clone()
    row, token = case.is_policy_BT.nonzero()[3].tolist()
    advantages_BT[row, token] *= -1

    loss = our_loss(case, replace(case.batch, advantages_BT=advantages_BT), SETTINGS["ppo"])

    assert agreement(weight_gradient(case, loss), their_gradient(case, "ppo")).cosine < 0.999


@pytest.mark.parametrize("name", ["k1", "k2", "k3"])
def test_divergences_are_openrlhfs(case: Case, name: str):
    mask_BT, given = case.is_policy_BT, case.given
    logprobs_N = given["logprobs_BA"][mask_BT].clone().requires_grad_()
    limits = KlLimits(OPENRLHF.kl_input_limit, OPENRLHF.kl_output_limit)

    values_N = KL_ESTIMATORS[name](logprobs_N - given["reference_BA"][mask_BT], limits)
    values_N.sum().backward()

    torch.testing.assert_close(values_N.detach(), case.theirs[f"{name}.values"][mask_BT])
    assert logprobs_N.grad is not None
    torch.testing.assert_close(logprobs_N.grad, case.theirs[f"{name}.gradient"][mask_BT])


@pytest.mark.parametrize("name", ["k1", "k2", "k3"])
def test_divergences_far_out_are_openrlhfs_and_have_a_gradient(case: Case, name: str):
    ratios_N = case.given["far_log_ratios"].clone().requires_grad_()
    limits = KlLimits(OPENRLHF.kl_input_limit, OPENRLHF.kl_output_limit)

    values_N = KL_ESTIMATORS[name](ratios_N, limits)
    values_N.sum().backward()

    torch.testing.assert_close(values_N.detach(), case.theirs[f"{name}.far.values"])
    assert ratios_N.grad is not None
    torch.testing.assert_close(ratios_N.grad, case.theirs[f"{name}.far.gradient"])


def test_the_clipped_value_loss_is_twice_openrlhfs(case: Case):
    mask_BT, given = case.is_policy_BT, case.given
    values_N = given["values_BA"][mask_BT].clone().requires_grad_()

    losses_N = clipped_value_losses(
        values_N,
        given["returns_BA"][mask_BT],
        old_N=given["old_values_BA"][mask_BT],
        clip=VALUE_CLIP,
        losses=lambda found_N, wanted_N: (found_N - wanted_N).square(),
    )
    loss = 0.5 * losses_N.mean()
    loss.backward()

    assert float(loss.detach()) == pytest.approx(float(case.theirs["value.loss"]), rel=CLOSE)
    assert values_N.grad is not None
    assert agreement(values_N.grad, case.theirs["value.gradient"][mask_BT]).difference < CLOSE


def turns_of(case: Case) -> TurnBatch:
    """The conversations with the tokens of their two turns."""
    turn_BT = case.batch.turn_BT
    assert turn_BT is not None
    tokens_BK = torch.stack([(turn_BT == turn).sum(dim=1) for turn in (0, 1)], dim=1)
    rewards_B, nothing_BK = case.given["rewards_B"], torch.zeros(tokens_BK.shape)
    assert case.batch.group_B is not None
    return TurnBatch(
        group_B=case.batch.group_B,
        valid_B=torch.ones(ROWS, dtype=torch.bool),
        outcome_B=rewards_B,
        reward_B=rewards_B,
        advantage_B=torch.zeros(ROWS),
        happened_BK=tokens_BK > 0,
        tokens_BK=tokens_BK,
        scores_BK=nothing_BK,
        draws_BK=nothing_BK + 1,
        oracle_BK=nothing_BK,
    )


def our_advantages(case: Case, name: str) -> Tensor:
    """[B, T]: every conversation's advantage on all its policy tokens."""
    turns = turns_of(case)
    whole = estimator_of(turns, PLANS[name]).whole
    rows_B = whole(turns.reward_B, turns.group_B, valid_B=turns.valid_B, std_floor=OPENRLHF.std_floor)
    return rows_B[:, None] * case.is_policy_BT


@pytest.mark.parametrize("name", PLANS)
def test_advantages_are_openrlhfs(case: Case, name: str):
    mask_BT = case.is_policy_BT

    ours_BT = our_advantages(case, name)

    torch.testing.assert_close(ours_BT[mask_BT], case.theirs[f"{name}.plain"][mask_BT], rtol=CLOSE, atol=1e-5)


@pytest.mark.parametrize("name", ["group_norm", "rloo", "dr_grpo"])
def test_the_divergence_as_a_reward_is_openrlhfs(case: Case, name: str):
    batch = replace(case.batch, advantages_BT=our_advantages(case, name))

    paid_BT = with_kl_rewards(batch, case.given["start_BA"], settings=BASE).advantages_BT

    mask_BT = case.is_policy_BT
    torch.testing.assert_close(paid_BT[mask_BT], case.theirs[f"{name}.kl"][mask_BT], rtol=CLOSE, atol=1e-5)


def token_rewards(case: Case, rewards_B: Tensor, *, kl_weight: float) -> Tensor:
    """[B, T]: minus the weighted divergence everywhere, the reward on the last policy token."""
    mask_BT = case.is_policy_BT
    last_B = mask_BT.shape[1] - 1 - mask_BT.long().flip(1).argmax(dim=1)
    paid_BT = -kl_weight * (case.given["start_BA"] - case.given["reference_BA"])
    return paid_BT.scatter_add(1, last_B[:, None], rewards_B[:, None])


def whitened(case: Case, values_BT: Tensor) -> Tensor:
    own = OPENRLHF
    weights_BT = case.is_policy_BT
    return whiten(values_BT, weights_BT, form=own.whiten_form, ddof=own.whiten_ddof, floor=own.whiten_floor)


@pytest.mark.parametrize(("label", "kl_weight"), [("plain", 0.0), ("kl", KL_WEIGHT)])
def test_gae_over_tokens_is_openrlhfs(case: Case, label: str, kl_weight: float):
    mask_BT = case.is_policy_BT
    rewards_BT = token_rewards(case, case.given["rewards_B"], kl_weight=kl_weight)

    found = gae_tokens(
        rewards_BT,
        case.given["values_BA"],
        is_policy_BT=mask_BT,
        gamma=GAMMA,
        lam=LAMBDA,
        user_tokens=OPENRLHF.user_tokens_gae,
    )

    ours_N = whitened(case, found.advantages)[mask_BT]
    torch.testing.assert_close(ours_N, case.theirs[f"gae.{label}"][mask_BT], rtol=CLOSE, atol=1e-5)


@pytest.mark.parametrize("name", ["reinforce", "reinforce_baseline"])
def test_returns_with_the_divergence_are_openrlhfs(case: Case, name: str):
    mask_BT, rewards_B = case.is_policy_BT, case.given["rewards_B"]
    group_B = torch.arange(ROWS) // GROUP
    everyone_B1 = torch.ones(ROWS, 1, dtype=torch.bool)
    centred = against_group(
        rewards_B[:, None], group_B, votes_BK=everyone_B1, rules=GroupRules(deviation="none")
    )[:, 0]
    rewards_BT = token_rewards(
        case, centred if name == "reinforce_baseline" else rewards_B, kl_weight=KL_WEIGHT
    )

    returns_BT = token_returns(rewards_BT, is_policy_BT=mask_BT, user_tokens=OPENRLHF.user_tokens_returns)

    ours_N = whitened(case, returns_BT)[mask_BT]
    torch.testing.assert_close(ours_N, case.theirs[f"{name}.kl"][mask_BT], rtol=CLOSE, atol=1e-5)
