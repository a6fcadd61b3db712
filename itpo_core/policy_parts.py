"""The loss of a part of a minibatch, and what its tokens tell about a step.

A part is what passes the model at once; the losses of a minibatch's parts add up to the minibatch's loss.
Axes: B conversations, T tokens (right-padded), N policy tokens of a part.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from itpo_core.logprobs import token_logprobs
from itpo_core.loss_aggregation import Whole
from itpo_core.policy_choices import Choices, choices
from itpo_core.policy_losses import PolicyTokens, ratio_facts, token_objectives
from itpo_core.rollout_gap import gap_weights
from itpo_core.sequences import Sequences
from itpo_core.tiny_policy import suppressed_ids
from itpo_core.trainers.base import PolicySettings, TrainingBatch

Step = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class StepInputs:
    """Everything that stays the same over the steps of an epoch."""

    batch: TrainingBatch
    start_BT: Tensor
    reference_BT: Tensor
    settings: PolicySettings
    chosen: Choices
    never: Sequence[int]


@dataclass(frozen=True, slots=True)
class TokenTerms:
    """What the loss of N policy tokens is made of."""

    losses_N: Tensor
    divergences_N: Tensor
    entropies_N: Tensor
    log_ratios_N: Tensor
    clipped_N: Tensor


def step_inputs(
    model: PreTrainedModel, batch: TrainingBatch, *, start_BT: Tensor, settings: PolicySettings
) -> StepInputs:
    """Pick the functions and the reference. Raises ValueError for names and tensors that are not there."""
    return StepInputs(
        batch=batch,
        start_BT=start_BT,
        reference_BT=reference_of(batch, start_BT, settings=settings),
        settings=settings,
        chosen=choices(settings),
        never=suppressed_ids(model),
    )


def reference_of(batch: TrainingBatch, start_BT: Tensor, *, settings: PolicySettings) -> Tensor:
    """What the divergence is measured from, [B, T]. Raises ValueError when the batch lacks it."""
    if settings.kl_reference == "start":
        return start_BT
    if batch.reference_logprobs_BT is None:
        raise ValueError(
            "kl_reference 'reference' needs reference_logprobs_BT in the batch: score the batch with the"
            " reference policy, or choose 'start'"
        )
    return batch.reference_logprobs_BT


def whole_of(inputs: StepInputs, rows: Tensor) -> Whole:
    """The counts by which the loss of these rows is divided, in however many parts they pass the model."""
    of = _sequences(inputs, rows, width=inputs.batch.tokens_BT.shape[1])
    return Whole(len(of.index_N), len(of.tokens_S), inputs.settings.norm_tokens)


def part_loss(
    model: PreTrainedModel, inputs: StepInputs, *, rows: Tensor, whole: Whole, kl_weight: float
) -> tuple[Tensor, TokenTerms]:
    """What these rows add to the loss of their minibatch, with gradient, and the tokens' terms without."""
    width = int(inputs.batch.lengths_B[rows].max())
    wanted_BT = inputs.batch.is_policy_BT[rows, :width]
    found = token_logprobs(
        model,
        inputs.batch.tokens_BT[rows, :width],
        wanted_BT=wanted_BT,
        suppressed_ids=inputs.never,
        temperature=inputs.batch.temperature,
    )
    tokens = PolicyTokens(
        logprobs_N=found.logprobs_N,
        start_N=inputs.start_BT[rows, :width][wanted_BT],
        advantages_N=inputs.batch.advantages_BT[rows, :width][wanted_BT],
        sequences=_sequences(inputs, rows, width=width),
    )
    with_gradient = token_terms(
        tokens,
        settings=inputs.settings,
        chosen=inputs.chosen,
        behaviour_N=inputs.batch.behaviour_logprobs_BT[rows, :width][wanted_BT],
        reference_N=inputs.reference_BT[rows, :width][wanted_BT],
        entropies_N=found.entropies(with_gradient=inputs.settings.entropy_weight > 0),
    )
    loss = objective(
        with_gradient,
        tokens.sequences,
        settings=inputs.settings,
        chosen=inputs.chosen,
        whole=whole,
        kl_weight=kl_weight,
    )
    return loss, _detached(with_gradient)


def token_terms(
    tokens: PolicyTokens,
    *,
    settings: PolicySettings,
    chosen: Choices,
    behaviour_N: Tensor,
    reference_N: Tensor,
    entropies_N: Tensor,
) -> TokenTerms:
    """Loss and divergence of every token, with gradient; `behaviour_N` is what the sampler recorded."""
    losses_N = chosen.loss.losses(tokens, chosen.clip)
    if not settings.gap.is_off:
        gaps_N = tokens.start_N - behaviour_N
        losses_N = losses_N * gap_weights(gaps_N, tokens.sequences, correction=settings.gap)
    return TokenTerms(
        losses_N=losses_N,
        divergences_N=chosen.divergences(tokens.logprobs_N - reference_N, chosen.limits),
        entropies_N=entropies_N,
        log_ratios_N=tokens.log_ratios_N,
        clipped_N=chosen.loss.clipped_tokens(tokens, chosen.clip),
    )


def objective(
    terms: TokenTerms,
    of: Sequences,
    *,
    settings: PolicySettings,
    chosen: Choices,
    whole: Whole,
    kl_weight: float,
) -> Tensor:
    """What these tokens add to the loss of their minibatch: policy loss, divergence and entropy."""
    apart = chosen.aggregate_penalties
    objectives_N = token_objectives(
        terms.losses_N if apart is None else torch.zeros_like(terms.losses_N),
        terms.divergences_N,
        entropies_N=terms.entropies_N,
        kl_weight=kl_weight if settings.kl_place == "loss" else 0.0,
        entropy_weight=settings.entropy_weight,
    )
    if apart is None:
        return chosen.aggregate(objectives_N, of, whole=whole)
    return chosen.aggregate(terms.losses_N, of, whole=whole) + apart(objectives_N, of, whole=whole)


def facts_of(parts: Sequence[TokenTerms], loss: float) -> Step:
    """The figures of one step, means over the tokens of all its parts."""
    losses_N = torch.cat([part.losses_N for part in parts])
    clipped_N = torch.cat([part.clipped_N for part in parts])
    ratios = ratio_facts(torch.cat([part.log_ratios_N for part in parts]), clipped_N)
    return {
        "loss": loss,
        "policy_loss": float(losses_N.mean()),
        "kl": float(torch.cat([part.divergences_N for part in parts]).mean()),
        "entropy": float(torch.cat([part.entropies_N for part in parts]).mean()),
        "tokens": len(losses_N),
        **asdict(ratios),
    }


def _sequences(inputs: StepInputs, rows: Tensor, *, width: int) -> Sequences:
    turn_BT = inputs.batch.turn_BT
    return inputs.chosen.sequences(
        inputs.batch.is_policy_BT[rows, :width], None if turn_BT is None else turn_BT[rows, :width]
    )


def _detached(terms: TokenTerms) -> TokenTerms:
    return TokenTerms(
        losses_N=terms.losses_N.detach(),
        divergences_N=terms.divergences_N.detach(),
        entropies_N=terms.entropies_N.detach(),
        log_ratios_N=terms.log_ratios_N.detach(),
        clipped_N=terms.clipped_N,
    )
