"""One pass of the policy over credited conversations: the steps of an epoch.

Nothing here touches a disk; a trainer brings model, optimiser and checkpoints.
Axes: B conversations, T tokens (right-padded).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace

from torch import Tensor
from torch.optim import Optimizer
from transformers import PreTrainedModel

from itpo_core.kl import adapted_kl_weight, kl_rewards_to_go
from itpo_core.logprobs import length_buckets, scored_logprobs
from itpo_core.optimisation import descend_parts, seeded
from itpo_core.policy_choices import choices
from itpo_core.policy_parts import (
    Step,
    StepInputs,
    TokenTerms,
    facts_of,
    part_loss,
    reference_of,
    step_inputs,
    whole_of,
)
from itpo_core.rollout_gap import gap_facts
from itpo_core.tiny_policy import suppressed_ids
from itpo_core.trainers.base import PolicySettings, TrainingBatch

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
    kl_weight: float | None = None,
) -> list[Step]:
    """One pass over all rows in minibatches of similar length; the named figures of every optimiser step.

    The order depends on `settings.seed` and `epoch` alone. `kl_weight` is where an adaptive weight goes on
    (None: that of the settings). Raises TrainingDivergedError, and ValueError for settings that do not fit.
    """
    order = seeded(settings.seed, "policy_order", epoch)
    buckets = length_buckets(batch.lengths_B, settings.minibatch_conversations, generator=order)
    inputs = step_inputs(model, batch, start_BT=start_BT, settings=settings)
    weight = settings.kl_weight if kl_weight is None else kl_weight
    steps: list[Step] = []
    for done, rows in enumerate(buckets, start=1):
        facts = _take_step(model, optimiser, inputs=inputs, rows=rows, kl_weight=weight)
        weight = facts["kl_weight_next"]
        steps.append({"epoch": epoch, **facts})
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
    """The objective of some rows in one part, with gradient, and what to record of it."""
    inputs = replace(step_inputs(model, batch, start_BT=start_BT, settings=settings), never=never)
    whole = whole_of(inputs, rows)
    loss, terms = part_loss(model, inputs, rows=rows, whole=whole, kl_weight=settings.kl_weight)
    return loss, facts_of([terms], float(loss.detach()))


def with_kl_rewards(batch: TrainingBatch, start_BT: Tensor, *, settings: PolicySettings) -> TrainingBatch:
    """The batch whose advantages pay for the divergence of this and later tokens, if the settings say so.

    Raises ValueError when the reference is the start: nothing diverges from itself.
    """
    if settings.kl_place == "loss":
        return batch
    if settings.kl_reference == "start":
        raise ValueError(
            "kl_place 'reward' with kl_reference 'start' penalises nothing: the rollouts were spoken by the"
            " start policy; choose kl_reference 'reference', or kl_place 'loss'"
        )
    chosen = choices(settings)
    log_ratios_BT = start_BT - reference_of(batch, start_BT, settings=settings)
    divergences_BT = chosen.divergences(log_ratios_BT, chosen.limits)
    rewards_BT = settings.kl_weight * kl_rewards_to_go(divergences_BT, batch.is_policy_BT)
    return replace(batch, advantages_BT=batch.advantages_BT + rewards_BT)


def gap_summary(batch: TrainingBatch, start_BT: Tensor, *, settings: PolicySettings) -> dict[str, float]:
    """How far the trainer's log-probabilities lie from the rollout's: nats, raw ratios, what is masked."""
    gaps_N = (start_BT - batch.behaviour_logprobs_BT)[batch.is_policy_BT]
    of = choices(settings).sequences(batch.is_policy_BT, batch.turn_BT)
    return {
        "logprob_gap_mean": float(gaps_N.abs().mean()),
        "logprob_gap_max": float(gaps_N.abs().max()),
        **asdict(gap_facts(gaps_N, of, correction=settings.gap)),
    }


def _take_step(
    model: PreTrainedModel, optimiser: Optimizer, *, inputs: StepInputs, rows: Tensor, kl_weight: float
) -> Step:
    whole, settings = whole_of(inputs, rows), inputs.settings
    collected: list[TokenTerms] = []
    values: list[float] = []

    def losses() -> Iterator[Tensor]:
        for part in rows.split(settings.micro_batch or len(rows)):
            loss, terms = part_loss(model, inputs, rows=part, whole=whole, kl_weight=kl_weight)
            collected.append(terms)
            values.append(float(loss.detach()))
            yield loss

    norm = descend_parts(losses(), optimiser, max_gradient_norm=settings.max_gradient_norm)
    facts = facts_of(collected, sum(values))
    after = _next_weight(kl_weight, facts["kl"], settings=settings, conversations=len(rows))
    return {**facts, "gradient_norm": norm, "kl_weight": kl_weight, "kl_weight_next": after}


def _next_weight(
    kl_weight: float, divergence: float, *, settings: PolicySettings, conversations: int
) -> float:
    if settings.adaptive_kl is None:
        return kl_weight
    return adapted_kl_weight(
        kl_weight, divergence, adaptive=settings.adaptive_kl, conversations=conversations
    )
