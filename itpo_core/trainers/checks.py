"""What every trainer refuses before it starts. Axes: B conversations, T tokens (right-padded)."""

import torch

from itpo_core.trainers.base import TrainingBatch


def check_batch(batch: TrainingBatch, parent_version: str) -> None:
    """Raises ValueError for other speakers, shapes that differ, silent rows and what is no number."""
    if batch.policy_versions != {parent_version}:
        raise ValueError(
            f"the batch was spoken by {sorted(batch.policy_versions)}, the parent is {parent_version!r}:"
            " collect anew with the parent"
        )
    _check_shapes(batch)
    _check_rows(batch)
    _check_values(batch)


def _check_shapes(batch: TrainingBatch) -> None:
    shapes = {
        "tokens_BT": tuple(batch.tokens_BT.shape),
        "is_policy_BT": tuple(batch.is_policy_BT.shape),
        "behaviour_logprobs_BT": tuple(batch.behaviour_logprobs_BT.shape),
        "advantages_BT": tuple(batch.advantages_BT.shape),
    }
    if len(set(shapes.values())) != 1 or len(batch.lengths_B) != len(batch.tokens_BT):
        raise ValueError(
            f"tensors of one batch must agree in shape: {shapes}, lengths {len(batch.lengths_B)}"
        )
    if len(batch.tokens_BT) == 0:
        raise ValueError("the batch has no conversation: collect or keep some")


def _check_rows(batch: TrainingBatch) -> None:
    places_T = torch.arange(batch.tokens_BT.shape[1])
    outside = (batch.is_policy_BT & (places_T >= batch.lengths_B[:, None])).nonzero()
    if len(outside):
        raise ValueError(f"row {int(outside[0, 0])}: policy tokens after its length; lengths_B is wrong")
    silent = (~batch.is_policy_BT.any(dim=1)).nonzero()[:, 0].tolist()
    if silent:
        raise ValueError(f"conversations without a policy token: rows {silent}; leave them out")


def _check_values(batch: TrainingBatch) -> None:
    named = (("log-probability", batch.behaviour_logprobs_BT), ("advantage", batch.advantages_BT))
    for name, values_BT in named:
        broken = (batch.is_policy_BT & ~values_BT.isfinite()).nonzero()
        if len(broken):
            row, place = broken[0].tolist()
            value = float(values_BT[row, place])
            raise ValueError(f"row {row}, token {place}: {name} is {value}; leave the conversation out")
