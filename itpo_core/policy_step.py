"""One pass of the policy over credited conversations: the loss of a minibatch, the steps of an epoch.

Nothing here touches a disk; a trainer brings model, optimiser and checkpoints.
Axes: B conversations, T tokens (right-padded), N policy tokens of a minibatch.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict

from torch import Tensor
from torch.optim import Optimizer
from transformers import PreTrainedModel

from itpo_core.logprobs import length_buckets, scored_logprobs, token_logprobs
from itpo_core.optimisation import descend, seeded
from itpo_core.policy_losses import clipped_losses, k3_divergences, policy_objective, ratio_facts
from itpo_core.tiny_policy import suppressed_ids
from itpo_core.trainers.base import PolicySettings, TrainingBatch

Step = Mapping[str, float]
Progress = Callable[[int, int], None]


def start_logprobs(model: PreTrainedModel, batch: TrainingBatch) -> Tensor:
    """Log-probabilities of the batch's policy tokens under the weights the training starts from, [B, T]."""
    return scored_logprobs(
        model,
        batch.tokens_BT,
        wanted_BT=batch.is_policy_BT,
        lengths_B=batch.lengths_B,
        suppressed_ids=suppressed_ids(model),
        temperature=batch.temperature,
    )


def run_epoch(
    model: PreTrainedModel,
    optimiser: Optimizer,
    *,
    batch: TrainingBatch,
    start_BT: Tensor,
    settings: PolicySettings,
    epoch: int,
    on_step: Progress = lambda done, total: None,
) -> list[Step]:
    """One pass over all rows in minibatches of similar length; the named figures of every optimiser step.

    The order depends on `settings.seed` and `epoch` alone. Raises TrainingDivergedError.
    """
    order = seeded(settings.seed, "policy_order", epoch)
    buckets = length_buckets(batch.lengths_B, settings.minibatch_conversations, generator=order)
    never = suppressed_ids(model)
    steps: list[Step] = []
    for done, rows in enumerate(buckets, start=1):
        loss, facts = minibatch_loss(
            model, batch, rows=rows, start_BT=start_BT, settings=settings, never=never
        )
        norm = descend(loss, optimiser, max_gradient_norm=settings.max_gradient_norm)
        steps.append({"epoch": epoch, **facts, "gradient_norm": norm})
        on_step(epoch * len(buckets) + done, settings.epochs * len(buckets))
    return steps


def minibatch_loss(
    model: PreTrainedModel,
    batch: TrainingBatch,
    *,
    rows: Tensor,
    start_BT: Tensor,
    settings: PolicySettings,
    never: Sequence[int],
) -> tuple[Tensor, Step]:
    """The objective of some rows, with gradient, and what to record of it."""
    width = int(batch.lengths_B[rows].max())
    wanted_BT = batch.is_policy_BT[rows, :width]
    found = token_logprobs(
        model,
        batch.tokens_BT[rows, :width],
        wanted_BT=wanted_BT,
        suppressed_ids=never,
        temperature=batch.temperature,
    )
    start_N = start_BT[rows, :width][wanted_BT]
    advantages_N = batch.advantages_BT[rows, :width][wanted_BT]
    entropies_N = found.entropies(with_gradient=settings.entropy_weight > 0)
    losses_N = clipped_losses(
        found.logprobs_N - start_N,
        advantages_N,
        clip_low=settings.clip_low,
        clip_high=settings.clip_high,
        dual_clip=settings.dual_clip,
    )
    divergences_N = k3_divergences(found.logprobs_N, start_N)
    loss = policy_objective(
        losses_N,
        divergences_N,
        entropies_N=entropies_N,
        kl_weight=settings.kl_weight,
        entropy_weight=settings.entropy_weight,
    )
    ratios = ratio_facts(
        found.logprobs_N.detach() - start_N,
        advantages_N,
        clip_low=settings.clip_low,
        clip_high=settings.clip_high,
    )
    facts = {
        "loss": float(loss.detach()),
        "policy_loss": float(losses_N.detach().mean()),
        "kl": float(divergences_N.detach().mean()),
        "entropy": float(entropies_N.detach().mean()),
        "tokens": len(start_N),
        **asdict(ratios),
    }
    return loss, facts
