"""The implicit process reward model: a copy of the policy whose log-ratio to a reference is the reward.

Axes: B conversations, K turns, T tokens (right-padded). Source: ITPO (arXiv:2603.23550); the label is the
plain outcome, never the reward with its token cost.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from itpo_core.logprobs import check_spoken, length_buckets, scored_logprobs, token_logprobs
from itpo_core.optimisation import adamw, descend, seeded
from itpo_core.reward_losses import conversation_logits, outcome_loss
from itpo_core.statistics import Interval, auc_interval, brier
from itpo_core.turn_rewards import implicit_scores

BETAS = (0.9, 0.999)
MAX_GRADIENT_NORM = 1.0


@dataclass(frozen=True, slots=True)
class ConversationTokens:
    """Conversations as token streams, int64; `turn_BT` is the turn of a policy token and -1 elsewhere."""

    tokens_BT: Tensor
    turn_BT: Tensor
    lengths_B: Tensor

    @property
    def is_policy_BT(self) -> Tensor:
        """The policy's own tokens."""
        return self.turn_BT >= 0


@dataclass(frozen=True, slots=True)
class FitSettings:
    """One fit: learning rate of AdamW, passes over the data, conversations per step, seed of the order."""

    learning_rate: float = 3e-4
    epochs: int = 4
    minibatch: int = 64
    seed: int = 0


@dataclass(frozen=True, slots=True)
class FitResult:
    """`losses` is the mean binary cross-entropy of each epoch, in nats; `unlabelled` rows took no part."""

    losses: tuple[float, ...]
    labelled: int
    unlabelled: int


@dataclass(frozen=True, slots=True)
class TurnCalibration:
    """Of the conversations that reached a turn: predicted and observed mean outcome, read after that turn."""

    turn_index: int
    conversations: int
    predicted: float
    observed: float


@dataclass(frozen=True, slots=True)
class HeldOut:
    """How the model does on conversations that it was not fitted on; `auc` is None when all ended alike.

    `base_rate_entropy` is the cross-entropy (nats) of always predicting the mean outcome: a model above it
    knows nothing.
    """

    conversations: int
    cross_entropy: float
    base_rate_entropy: float
    brier: float
    auc: Interval | None
    by_turn: tuple[TurnCalibration, ...]


@dataclass(frozen=True, slots=True)
class ImplicitRewardModel:
    """`model` is trained in place; `suppressed_ids` are out of its and of the reference's distribution."""

    model: PreTrainedModel
    beta: float
    suppressed_ids: tuple[int, ...] = ()

    def logprobs(self, conversations: ConversationTokens) -> Tensor:
        """Log-probabilities of the policy's tokens under the current weights, [B, T], 0 elsewhere."""
        return reference_logprobs(self.model, conversations, suppressed_ids=self.suppressed_ids)

    def fit(
        self,
        conversations: ConversationTokens,
        labels_B: Tensor,
        *,
        reference_logprobs_BT: Tensor,
        settings: FitSettings,
        on_step: Callable[[int, int], None] = lambda done, total: None,
    ) -> FitResult:
        """Fit the summed log-ratio to the outcomes by soft-label cross-entropy.

        `labels_B` is NaN where there is no outcome: such rows are left out and counted. Raises ValueError for
        a label outside [0, 1], for data without any label and for tokens the policy never speaks, and
        TrainingDivergedError.
        """
        check_spoken(conversations.tokens_BT, conversations.is_policy_BT, suppressed_ids=self.suppressed_ids)
        labelled = _labelled_rows(labels_B)
        steps = -(-len(labelled) // settings.minibatch)
        optimiser = adamw(self.model.parameters(), settings.learning_rate, betas=BETAS)
        losses = []
        for epoch in range(settings.epochs):
            order = seeded(settings.seed, "reward_order", epoch)
            buckets = length_buckets(conversations.lengths_B[labelled], settings.minibatch, generator=order)
            total = 0.0
            for done, picked in enumerate(buckets, start=1):
                rows = labelled[picked]
                loss = self._loss(conversations, labels_B, rows=rows, reference=reference_logprobs_BT)
                descend(loss, optimiser, max_gradient_norm=MAX_GRADIENT_NORM)
                total += float(loss.detach()) * len(rows)
                on_step(epoch * steps + done, settings.epochs * steps)
            losses.append(total / len(labelled))
        return FitResult(tuple(losses), len(labelled), len(labels_B) - len(labelled))

    def score(
        self, conversations: ConversationTokens, *, reference_logprobs_BT: Tensor, turns: int
    ) -> Tensor:
        """S_k, [B, turns]: beta times each turn's summed log-ratio; exactly 0 for phi = reference."""
        return implicit_scores(
            self.logprobs(conversations),
            reference_logprobs_BT,
            turn_index_BT=conversations.turn_BT,
            beta=self.beta,
            turns=turns,
        )

    def _loss(
        self, conversations: ConversationTokens, labels_B: Tensor, *, rows: Tensor, reference: Tensor
    ) -> Tensor:
        width = int(conversations.lengths_B[rows].max())
        wanted_BT = conversations.is_policy_BT[rows, :width]
        found = token_logprobs(
            self.model,
            conversations.tokens_BT[rows, :width],
            wanted_BT=wanted_BT,
            suppressed_ids=self.suppressed_ids,
            temperature=1.0,
        )
        logits_B = conversation_logits(
            found.logprobs_N,
            reference[rows, :width][wanted_BT],
            row_N=wanted_BT.nonzero()[:, 0],
            rows=len(rows),
            beta=self.beta,
        )
        return outcome_loss(logits_B, labels_B[rows])


def reference_logprobs(
    model: PreTrainedModel, conversations: ConversationTokens, *, suppressed_ids: Sequence[int]
) -> Tensor:
    """Log-probabilities of the policy's tokens under a frozen model, [B, T]; computed once per data set."""
    return scored_logprobs(
        model,
        conversations.tokens_BT,
        wanted_BT=conversations.is_policy_BT,
        lengths_B=conversations.lengths_B,
        suppressed_ids=suppressed_ids,
        temperature=1.0,
    )


def held_out(
    scores_BK: Tensor,
    happened_BK: Tensor,
    *,
    labels_B: Tensor,
    clusters: Sequence[object],
    confidence: float,
    draws: int,
    seed: int,
) -> HeldOut:
    """Judge scores against outcomes; rows without a label (NaN) are left out.

    Positives of the AUC are outcomes of at least a half. Raises ValueError when no row has a label.
    """
    rows = _labelled_rows(labels_B)
    labels, scores = labels_B[rows].double(), scores_BK[rows].double()
    sums = torch.where(happened_BK[rows], scores, 0).sum(dim=1)
    base = labels.mean()
    return HeldOut(
        conversations=len(rows),
        cross_entropy=float(outcome_loss(sums, labels)),
        base_rate_entropy=float(torch.special.entr(base) + torch.special.entr(1 - base)),
        brier=brier(sums.sigmoid().tolist(), labels.tolist()),
        auc=auc_interval(
            sums.tolist(),
            (labels >= 0.5).tolist(),
            clusters=[clusters[row] for row in rows.tolist()],
            confidence=confidence,
            draws=draws,
            seed=seed,
        ),
        by_turn=calibration_by_turn(scores, happened_BK[rows], labels_B=labels),
    )


def calibration_by_turn(
    scores_BK: Tensor, happened_BK: Tensor, *, labels_B: Tensor
) -> tuple[TurnCalibration, ...]:
    """Predicted against observed outcome after each turn, over the conversations that reached it."""
    prefixes_BK = torch.where(happened_BK, scores_BK, 0).cumsum(dim=1).sigmoid()
    return tuple(
        TurnCalibration(
            turn_index=turn,
            conversations=int(reached_B.sum()),
            predicted=float(prefixes_BK[reached_B, turn].mean()),
            observed=float(labels_B[reached_B].mean()),
        )
        for turn, reached_B in enumerate(happened_BK.T)
        if bool(reached_B.any())
    )


def _labelled_rows(labels_B: Tensor) -> Tensor:
    rows = (~labels_B.isnan()).nonzero()[:, 0]
    if len(rows) == 0:
        raise ValueError(
            f"none of {len(labels_B)} conversations has an outcome: there is nothing to fit or judge"
        )
    return rows
