"""How far a candidate moved, measured on conversations of its parent: for trainers outside this process.

Axes: B conversations, T tokens (right-padded), N policy tokens.
"""

from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedModel

from itpo_core.kl import KlLimits, k3
from itpo_core.logprobs import TokenLogprobs, token_logprobs
from itpo_core.tiny_policy import load_policy, suppressed_ids
from itpo_core.trainers.base import TrainingBatch
from itpo_core.trainers.checks import rows_of

ROWS_AT_ONCE = 8


@torch.no_grad()
def examined(candidate: Path, parent: Path, *, batch: TrainingBatch, conversations: int) -> dict[str, float]:
    """Figures over the policy's tokens of the first conversations, both policies in fp32 on this machine.

    `final_kl` is the k3 estimate of the divergence from the parent and `final_entropy` the candidate's, both
    in nats per token, as a local training measures them in its last epoch; `logprob_gap_mean` and `_max` what
    the parent says against what the rollouts say that it said. Raises ArithmeticError for what is no number.
    """
    (new, _), (old, _) = load_policy(candidate), load_policy(parent)
    first = rows_of(batch, torch.arange(len(batch.lengths_B)) < conversations)
    parts = [_part(new, old, part) for part in _chunks(first)]
    ratio_N, entropy_N, gap_N = (torch.cat(columns) for columns in zip(*parts, strict=True))
    if not bool(ratio_N.isfinite().all() and entropy_N.isfinite().all()):
        raise ArithmeticError("the candidate's log-probabilities are no numbers: lower the learning rate")
    return {
        "final_kl": float(k3(ratio_N, KlLimits()).mean()),
        "final_entropy": float(entropy_N.mean()),
        "final_ratio_q01": float(ratio_N.exp().quantile(0.01)),
        "final_ratio_median": float(ratio_N.exp().median()),
        "final_ratio_q99": float(ratio_N.exp().quantile(0.99)),
        "logprob_gap_mean": float(gap_N.mean()),
        "logprob_gap_max": float(gap_N.max()),
        "examined_tokens": float(len(ratio_N)),
    }


def _chunks(batch: TrainingBatch) -> list[TrainingBatch]:
    places_B = torch.arange(len(batch.lengths_B))
    starts = range(0, len(places_B), ROWS_AT_ONCE)
    return [rows_of(batch, (places_B >= start) & (places_B < start + ROWS_AT_ONCE)) for start in starts]


def _part(new: PreTrainedModel, old: PreTrainedModel, batch: TrainingBatch) -> tuple[Tensor, Tensor, Tensor]:
    after, before = _scored(new, batch), _scored(old, batch)
    said_N = batch.behaviour_logprobs_BT[batch.is_policy_BT]
    gap_N = (before.logprobs_N - said_N).abs()
    return after.logprobs_N - before.logprobs_N, after.entropies(with_gradient=False), gap_N


def _scored(model: PreTrainedModel, batch: TrainingBatch) -> TokenLogprobs:
    return token_logprobs(
        model,
        batch.tokens_BT,
        wanted_BT=batch.is_policy_BT,
        suppressed_ids=suppressed_ids(model),
        temperature=batch.temperature,
    )
