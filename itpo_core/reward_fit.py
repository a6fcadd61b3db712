"""One fit of the implicit reward model: learn from the training rows of several data sets, judge on others.

Axes: B conversations, K turns, T tokens (right-padded).
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.nn.functional import pad
from transformers import PreTrainedModel

from itpo_core.identifiers import stable_id
from itpo_core.reward_model import (
    ConversationTokens,
    FitResult,
    FitSettings,
    HeldOut,
    ImplicitRewardModel,
    ScoredTurns,
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
    tokens = [each.data.tokens.of_rows(row) for each, row in kept]
    joined = ConversationTokens(
        tokens_BT=_stacked([one.tokens_BT for one in tokens], fill=0),
        turn_BT=_stacked([one.turn_BT for one in tokens], fill=-1),
        lengths_B=torch.cat([one.lengths_B for one in tokens]),
    )
    return prm.fit(
        joined,
        torch.cat([each.data.labels_B[row] for each, row in kept]),
        reference_logprobs_BT=_stacked([each.reference_BT[row] for each, row in kept], fill=0),
        settings=settings,
        on_step=on_step,
    )


def scored(prm: ImplicitRewardModel, of: Referenced) -> ScoredTurns:
    """The score of every turn, [B, K], and of every policy token, [B, T]."""
    turns = turn_token_counts(of.data.streams).shape[1]
    return prm.score_tokens(of.data.tokens, reference_logprobs_BT=of.reference_BT, turns=turns)


def folds(clusters_B: Sequence[str], train_B: Tensor) -> Tensor:
    """Fold 0 or 1 of every conversation, int64 [B]: whole clusters, dealt in the order of a hash.

    Clusters to learn from are dealt first, so that both folds have some. Raises ValueError for fewer than
    two of them.
    """
    learnt = {cluster for cluster, learns in zip(clusters_B, train_B.tolist(), strict=True) if learns}
    if len(learnt) < 2:
        raise ValueError(
            f"{len(learnt)} group to learn from: cross-fitting needs two, so set reward.folds = 1"
        )
    dealt = sorted(set(clusters_B), key=lambda name: (name not in learnt, stable_id("fold", name)))
    place = {cluster: index % 2 for index, cluster in enumerate(dealt)}
    return torch.tensor([place[cluster] for cluster in clusters_B], dtype=torch.int64)


def cross_fitted(
    prm: ImplicitRewardModel,
    sets: Sequence[Referenced],
    *,
    settings: FitSettings,
    on_step: Callable[[int, int], None],
) -> ScoredTurns:
    """Score the last set by two models of which each has learnt one half of it; `prm` stays as it is.

    A conversation is scored by the model that has not learnt its cluster. Both start as copies of `prm`,
    which must not have learnt the last set, and learn from the training rows of the other sets whole.
    """
    last = sets[-1]
    fold_B = folds(last.data.clusters_B, last.data.train_B)
    parts = []
    for fold in (0, 1):
        blind = replace(prm, model=copy.deepcopy(prm.model), intercept=_copied(prm.intercept))
        fit(blind, [*sets[:-1], _without(last, fold_B == fold)], settings=settings, on_step=on_step)
        parts.append(scored(blind, last))
    is_second_B = fold_B == 1
    return ScoredTurns(
        scores_BK=torch.where(is_second_B[:, None], parts[1].scores_BK, parts[0].scores_BK),
        token_scores_BT=torch.where(is_second_B[:, None], parts[1].token_scores_BT, parts[0].token_scores_BT),
        base_logits_B=torch.where(is_second_B, parts[1].base_logits_B, parts[0].base_logits_B),
    )


def judge(given: ScoredTurns, of: Referenced, *, judging: Judging) -> HeldOut | None:
    """Held-out figures on the rows that were not learnt from.

    None when fewer than two clusters of them have an outcome: an interval over clusters needs two.
    """
    rows = (~of.data.train_B & ~of.data.labels_B.isnan()).nonzero()[:, 0]
    clusters = [of.data.clusters_B[row] for row in rows.tolist()]
    if len(set(clusters)) < 2:
        return None
    return held_out(
        given.scores_BK[rows],
        turn_token_counts(of.data.streams)[rows] > 0,
        labels_B=of.data.labels_B[rows],
        clusters=clusters,
        confidence=judging.confidence,
        draws=judging.draws,
        seed=judging.seed,
        base_logits_B=given.base_logits_B[rows],
    )


def _without(of: Referenced, is_left_out_B: Tensor) -> Referenced:
    learns_B = (of.data.train_B & ~is_left_out_B).tolist()
    return replace(of, data=replace(of.data, is_training_B=learns_B))


def _copied(intercept: Parameter | None) -> Parameter | None:
    return None if intercept is None else Parameter(intercept.detach().clone())


def _stacked(parts: Sequence[Tensor], *, fill: int) -> Tensor:
    width = max(part.shape[1] for part in parts)
    return torch.cat([pad(part, (0, width - part.shape[1]), value=fill) for part in parts])
