"""Kept conversations of several iterations as one data set to fit a Q-function on.

Axes: B conversations, K turns, T tokens (right-padded).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import PreTrainedModel

from itpo_core.q_fit import QData
from itpo_core.q_models import turn_places
from itpo_core.q_targets import monte_carlo_targets
from itpo_core.reward_fit import LabelledStreams
from itpo_core.reward_model import ConversationTokens, reference_logprobs


@dataclass(frozen=True, slots=True)
class QSet:
    """Data with raw outcomes (NaN where there is none), cluster and held-out flag of every conversation.

    `newest_B` marks those of the last iteration, which are scored and judged.
    """

    data: QData
    outcome_B: Tensor
    held_out_B: Tensor
    newest_B: Tensor
    clusters_B: tuple[str, ...]


def q_set(sets: Sequence[LabelledStreams], *, gamma: float) -> QSet:
    """Lay data sets, oldest first, under each other, with Monte-Carlo targets of the raw outcome."""
    tokens = [each.tokens for each in sets]
    joined = ConversationTokens(
        tokens_BT=_stacked([one.tokens_BT for one in tokens], fill=0),
        turn_BT=_stacked([one.turn_BT for one in tokens], fill=-1),
        lengths_B=torch.cat([one.lengths_B for one in tokens]),
    )
    turns = max(int(joined.turn_BT.max()) + 1, 1) if joined.turn_BT.numel() else 1
    outcome_B = torch.cat([each.labels_B for each in sets])
    happened_BK = turn_places(joined.turn_BT, turns=turns).happened_BK
    newest_B = torch.zeros(len(outcome_B), dtype=torch.bool)
    newest_B[len(outcome_B) - len(sets[-1].outcomes_B) :] = True
    return QSet(
        data=QData(joined, monte_carlo_targets(outcome_B, happened_BK, gamma=gamma)),
        outcome_B=outcome_B,
        held_out_B=~torch.cat([each.train_B for each in sets]),
        newest_B=newest_B,
        clusters_B=tuple(cluster for each in sets for cluster in each.clusters_B),
    )


def with_reference(of: QSet, reference: PreTrainedModel, *, suppressed_ids: Sequence[int]) -> QSet:
    """The same, with the reference's log-probabilities, computed once."""
    found_BT = reference_logprobs(reference, of.data.conversations, suppressed_ids=suppressed_ids)
    return replace(of, data=replace(of.data, reference_logprobs_BT=found_BT))


def _stacked(parts: Sequence[Tensor], *, fill: int) -> Tensor:
    width = max(part.shape[1] for part in parts)
    return torch.cat([pad(part, (0, width - part.shape[1]), value=fill) for part in parts])
