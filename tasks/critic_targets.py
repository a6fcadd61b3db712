"""What the critic of a stream of turn rewards is fitted to: its rewards to go, from committed rows."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from storage import commits
from storage.commits import Commit
from tasks.config import Algorithm
from tasks.config_credit import STREAMS
from tasks.context import Context
from tasks.credit import running_scale
from tasks.credit_choice import method_of, usable_algorithm
from tasks.credit_lab_data import lab_batch
from tasks.credit_training import usable_turns

if TYPE_CHECKING:
    from torch import Tensor


def stream_of(context: Context, sources: Mapping[str, Commit]) -> Algorithm | None:
    """The algorithm whose turn rewards the critic learns; None where it learns raw outcomes.

    Behind a closed gate of the reward model, the outcome trains and so the critic learns it.
    """
    if not context.config.credit.has_stream_critic:
        return None
    algorithm = usable_algorithm(context, reward=sources["reward"])
    return algorithm if algorithm in STREAMS else None


def stream_targets(
    context: Context, sources: Mapping[str, Commit], *, algorithm: Algorithm, ids: Sequence[str], turns: int
) -> "Tensor":
    """Discounted rewards to go of the named conversations, float32 [B, K]; NaN where there is none."""
    import torch
    from torch.nn.functional import pad

    from itpo_core.credit import stream_returns

    rollouts = context.read("rollouts")
    batch = lab_batch(
        {
            "turns": commits.table_paths(context.store, rollouts, table="turns"),
            "curated": commits.table_paths(
                context.store, sources[f"curated/{context.iteration:04d}"], table="curated"
            ),
            "turn_scores": commits.table_paths(context.store, sources["reward"], table="turn_scores"),
            "turn_inputs": [],
            "turn_values": [],
        },
        settings=context.duck,
    )
    usable, _ = usable_turns(batch, algorithm, has_critic=False)
    running = running_scale(context, sources.get("scale"))
    method = method_of(context.config.credit, algorithm=algorithm, running=running)
    returns_BK = stream_returns(usable, method)
    row_of = {conversation: row for row, conversation in enumerate(batch.ids)}
    picked_BK = returns_BK[torch.tensor([row_of[conversation] for conversation in ids])]
    return pad(picked_BK, (0, max(turns - picked_BK.shape[1], 0)), value=torch.nan)[:, :turns].float()
