"""Offline credit: supervised tuning on logged turns, each weighed by what the implicit reward says of it.

A logged conversation that failed still holds good turns, and one that succeeded holds wasted ones; a filter
on outcomes sees neither. Axes: B conversations, K turns, T tokens (right-padded).
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from itpo_core.logprobs import check_spoken, length_buckets, token_logprobs
from itpo_core.optimisation import adamw, descend, seeded
from itpo_core.reward_model import ConversationTokens
from itpo_core.tiny_policy import suppressed_ids

BETAS = (0.9, 0.99)
MAX_GRADIENT_NORM = 1.0
LOWEST, HIGHEST = -6.0, 3.0


@dataclass(frozen=True, slots=True)
class TuningSettings:
    """Passes over the logs, AdamW's constant rate, conversations per step, seed of their order."""

    epochs: int = 10
    learning_rate: float = 1e-3
    minibatch: int = 64
    seed: int = 0


def turn_weights(scores_BK: Tensor, happened_BK: Tensor, *, sharpness: float) -> Tensor:
    """exp(sharpness * z) of every turn that happened, z its score standardised over the data set; mean 1.

    The exponent is bounded to [-6, 3], so that no turn counts for more than some twenty average ones. With
    sharpness 0, or equal scores, every weight is 1. Source: advantage-weighted regression
    (arXiv:1910.00177), its advantage replaced by the turn's implicit reward.
    """
    if not bool(happened_BK.any()):
        raise ValueError("no turn happened: there is nothing to weigh")
    scores_N = scores_BK[happened_BK]
    centred_BK = scores_BK - scores_N.mean()
    z_BK = centred_BK / scores_N.std(correction=0).clamp(min=1e-9)
    raised_BK = torch.where(happened_BK, (sharpness * z_BK).clamp(LOWEST, HIGHEST).exp(), 0)
    return raised_BK / raised_BK[happened_BK].mean()


def tune_on_turns(
    model: PreTrainedModel,
    conversations: ConversationTokens,
    *,
    weights_BK: Tensor,
    settings: TuningSettings,
    on_step: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[float, ...]:
    """Minimise the weighted cross-entropy (nats) of the assistant's tokens, in place; the mean of each epoch.

    Weights 1 are plain supervised tuning, weights equal to the outcome are filtered tuning. Raises ValueError
    for a negative or non-finite weight and for tokens the policy never speaks, TrainingDivergedError.
    """
    if not bool((weights_BK >= 0).all() & weights_BK.isfinite().all()):
        raise ValueError(
            "turn weights must be finite and not negative: a turn can count for nothing, no less"
        )
    never = suppressed_ids(model)
    check_spoken(conversations.tokens_BT, conversations.is_policy_BT, suppressed_ids=never)
    optimiser = adamw(model.parameters(), settings.learning_rate, betas=BETAS)
    total_steps = settings.epochs * -(-len(conversations.lengths_B) // settings.minibatch)
    means, done = [], 0
    for epoch in range(settings.epochs):
        order = seeded(settings.seed, "tuning_order", epoch)
        losses = []
        for rows in length_buckets(conversations.lengths_B, settings.minibatch, generator=order):
            loss = _loss(model, conversations, rows=rows, weights_BK=weights_BK, never=never)
            descend(loss, optimiser, max_gradient_norm=MAX_GRADIENT_NORM)
            losses.append(float(loss.detach()))
            done += 1
            on_step(done, total_steps)
        means.append(sum(losses) / len(losses))
    return tuple(means)


def _loss(
    model: PreTrainedModel,
    conversations: ConversationTokens,
    *,
    rows: Tensor,
    weights_BK: Tensor,
    never: tuple[int, ...],
) -> Tensor:
    width = int(conversations.lengths_B[rows].max())
    turn_BT = conversations.turn_BT[rows, :width]
    wanted_BT = turn_BT >= 0
    found = token_logprobs(
        model,
        conversations.tokens_BT[rows, :width],
        wanted_BT=wanted_BT,
        suppressed_ids=never,
        temperature=1.0,
    )
    weights_N = weights_BK[rows].gather(1, turn_BT.clamp(min=0))[wanted_BT]
    return -(found.logprobs_N * weights_N).mean()
