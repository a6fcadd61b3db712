"""One fit of the implicit reward model: learn from the training rows of several data sets, judge on others.

Axes: B conversations, K turns, T tokens (right-padded).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import PreTrainedModel

from itpo_core.reward_model import (
    ConversationTokens,
    FitResult,
    FitSettings,
    HeldOut,
    ImplicitRewardModel,
    held_out,
    reference_logprobs,
)
from itpo_core.streams import Streams, turn_token_counts


@dataclass(frozen=True, slots=True)
class LabelledStreams:
    """Conversations with outcome (NaN where there is none), training flag and cluster of each."""

    streams: Streams
    outcomes_B: Sequence[float]
    is_training_B: Sequence[bool]
    clusters_B: Sequence[str]

    @property
    def tokens(self) -> ConversationTokens:
        """As the reward model takes them."""
        return ConversationTokens(self.streams.tokens_BT, self.streams.turn_BT, self.streams.lengths_B)

    @property
    def labels_B(self) -> Tensor:
        """Outcomes as float32."""
        return torch.tensor(self.outcomes_B, dtype=torch.float32)

    @property
    def train_B(self) -> Tensor:
        """Which rows are learnt from."""
        return torch.tensor(self.is_training_B, dtype=torch.bool)


@dataclass(frozen=True, slots=True)
class Referenced:
    """A data set with the reference's log-probabilities, computed once."""

    data: LabelledStreams
    reference_BT: Tensor


@dataclass(frozen=True, slots=True)
class Judging:
    """How the held-out AUC gets its interval."""

    confidence: float
    draws: int
    seed: int


def referenced(
    reference: PreTrainedModel, data: LabelledStreams, *, suppressed_ids: Sequence[int]
) -> Referenced:
    """Score the data once under the frozen reference."""
    return Referenced(data, reference_logprobs(reference, data.tokens, suppressed_ids=suppressed_ids))


def fit(
    prm: ImplicitRewardModel,
    sets: Sequence[Referenced],
    *,
    settings: FitSettings,
    on_step: Callable[[int, int], None],
) -> FitResult:
    """Fit on the training rows of all sets together; the model is trained in place."""
    kept = [(each, each.data.train_B) for each in sets]
    tokens = [each.data.tokens for each, _ in kept]
    rows = [train_B for _, train_B in kept]
    joined = ConversationTokens(
        tokens_BT=_stacked([one.tokens_BT[row] for one, row in zip(tokens, rows, strict=True)], fill=0),
        turn_BT=_stacked([one.turn_BT[row] for one, row in zip(tokens, rows, strict=True)], fill=-1),
        lengths_B=torch.cat([one.lengths_B[row] for one, row in zip(tokens, rows, strict=True)]),
    )
    return prm.fit(
        joined,
        torch.cat([each.data.labels_B[row] for each, row in kept]),
        reference_logprobs_BT=_stacked([each.reference_BT[row] for each, row in kept], fill=0),
        settings=settings,
        on_step=on_step,
    )


def scores(prm: ImplicitRewardModel, of: Referenced) -> Tensor:
    """S_k of every turn, [B, K]."""
    turns = turn_token_counts(of.data.streams).shape[1]
    return prm.score(of.data.tokens, reference_logprobs_BT=of.reference_BT, turns=turns)


def judge(scores_BK: Tensor, of: Referenced, *, judging: Judging) -> HeldOut | None:
    """Held-out figures on the rows that were not learnt from.

    None when fewer than two clusters of them have an outcome: an interval over clusters needs two.
    """
    rows = (~of.data.train_B & ~of.data.labels_B.isnan()).nonzero()[:, 0]
    clusters = [of.data.clusters_B[row] for row in rows.tolist()]
    if len(set(clusters)) < 2:
        return None
    return held_out(
        scores_BK[rows],
        turn_token_counts(of.data.streams)[rows] > 0,
        labels_B=of.data.labels_B[rows],
        clusters=clusters,
        confidence=judging.confidence,
        draws=judging.draws,
        seed=judging.seed,
    )


def _stacked(parts: Sequence[Tensor], *, fill: int) -> Tensor:
    width = max(part.shape[1] for part in parts)
    return torch.cat([pad(part, (0, width - part.shape[1]), value=fill) for part in parts])
