"""A batch of random conversations of two turns that a tiny model spoke, for tests of the policy step."""

import torch
from transformers import PreTrainedModel

from itpo_core.logprobs import scored_logprobs
from itpo_core.trainers.base import TrainingBatch
from tests.itpo_core.tiny_models import NEVER, streams


def training_batch(model: PreTrainedModel, rows: int, *, seed: int = 0) -> TrainingBatch:
    """Conversations of uneven turns whose advantages differ by token; groups of two."""
    tokens_BT, turn_BT, lengths_B = streams([7 + row % 4 for row in range(rows)], seed=seed)
    # Every third conversation says one token less, so that sequences differ in length.
    turn_BT[::3, 6] = -1
    is_policy_BT = turn_BT >= 0
    generator = torch.Generator().manual_seed(seed)
    logprobs_BT = scored_logprobs(
        model,
        tokens_BT,
        wanted_BT=is_policy_BT,
        lengths_B=lengths_B,
        suppressed_ids=NEVER,
        temperature=1.0,
    )
    return TrainingBatch(
        tokens_BT=tokens_BT,
        is_policy_BT=is_policy_BT,
        behaviour_logprobs_BT=logprobs_BT,
        advantages_BT=torch.randn(turn_BT.shape, generator=generator) * is_policy_BT,
        lengths_B=lengths_B,
        policy_versions=frozenset({"v0"}),
        turn_BT=turn_BT,
        group_B=torch.arange(rows) // 2,
        reward_B=torch.arange(rows).remainder(2).float(),
    )
