"""Fitting a turn-level Q-function or critic to targets, keeping the epoch that does best on held-out rows.

Axes: B conversations, K turns, N rows (indices, repeats allowed). A target of NaN marks a turn that takes no
part. The same call continues from weights that were fitted before.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.optim import AdamW

from itpo_core.logprobs import check_spoken, length_buckets
from itpo_core.optimisation import descend, seeded
from itpo_core.q_losses import TURN_LOSSES, check_targets, clipped_value_losses, weighted_mean
from itpo_core.q_models import QModel, rows_of, turn_places
from itpo_core.q_targets import turn_weights, unlabelled_turns
from itpo_core.reward_model import ConversationTokens

BETAS = (0.9, 0.999)
LOWEST_RATE = 0.05
BASE_RATE_LIMITS = (0.02, 0.98)

Progress = Callable[[int, int], None]
Retarget = Callable[[Tensor], Tensor]
State = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class QFitSettings:
    """One fit. Rates are AdamW's for the trunk and for the head; both warm up and then fall linearly.

    `loss` is cross_entropy for targets in [0, 1], huber or squared for returns. `value_clip` keeps a critic
    near its old values. `language_weight` adds the cross-entropy of the policy's own tokens.
    `per_conversation` weighs each turn by one over its conversation's turns.
    """

    learning_rate: float = 3e-4
    head_learning_rate: float = 2e-3
    epochs: int = 3
    minibatch: int = 64
    warmup_steps: int = 10
    loss: str = "cross_entropy"
    value_clip: float | None = None
    language_weight: float = 0.0
    per_conversation: bool = False
    max_gradient_norm: float = 1.0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class QData:
    """What a Q-function is fitted to: conversations and targets [B, K], NaN where there is none.

    `reference_logprobs_BT` is of the collecting policy, for kinds that compare with it; `old_values_BK` (raw)
    are what `value_clip` measures from.
    """

    conversations: ConversationTokens
    targets_BK: Tensor
    reference_logprobs_BT: Tensor | None = None
    old_values_BK: Tensor | None = None

    @property
    def turns(self) -> int:
        """Columns of everything per turn."""
        return self.targets_BK.shape[1]

    @property
    def happened_BK(self) -> Tensor:
        """Turns with tokens of their own."""
        return turn_places(self.conversations.turn_BT, turns=self.turns).happened_BK

    def rows(self, picked_N: Tensor) -> "QData":
        """Some conversations, cut to the longest of them."""
        part = rows_of(self.conversations, picked_N)
        width = part.tokens_BT.shape[1]
        reference, old = self.reference_logprobs_BT, self.old_values_BK
        return QData(
            conversations=part,
            targets_BK=self.targets_BK[picked_N],
            reference_logprobs_BT=None if reference is None else reference[picked_N, :width],
            old_values_BK=None if old is None else old[picked_N],
        )


@dataclass(frozen=True, slots=True)
class QFit:
    """`losses` and `held_out_losses` are means over turns of each epoch (the latter empty without held-out
    rows); the weights left are those of `best_epoch`. Turns without a target are counted as unlabelled."""

    losses: tuple[float, ...]
    held_out_losses: tuple[float, ...]
    best_epoch: int
    labelled_turns: int
    unlabelled_turns: int


@dataclass(frozen=True, slots=True)
class _Best:
    loss: float
    epoch: int
    model: State
    head: State


def fit_q(
    q: QModel,
    data: QData,
    *,
    settings: QFitSettings,
    held_out_B: Tensor | None = None,
    rows_N: Tensor | None = None,
    retarget: Retarget | None = None,
    on_step: Progress = lambda done, total: None,
) -> QFit:
    """Fit in place on the rows that are not held out (of them on `rows_N`, repeats included, where given).

    `retarget` makes the targets of every epoch but the first from the current raw values [B, K], for
    TD(lambda); held-out rows are always judged on the targets of `data`. Raises ValueError for targets that
    the loss has no meaning for, for data without any, for tokens the policy never speaks and for a missing
    reference or old values, and TrainingDivergedError.
    """
    _check(q, data, settings=settings)
    held_B = torch.zeros(len(data.targets_BK), dtype=torch.bool) if held_out_B is None else held_out_B
    train_N, held_N = _split(data, held_B, rows_N=rows_N)
    _start_at_base_rate(q, data.targets_BK[train_N], loss=settings.loss)
    optimiser = _optimiser(q, settings)
    losses: list[float] = []
    held: list[float] = []
    best: _Best | None = None
    used = data
    for epoch in range(settings.epochs):
        if retarget is not None and epoch > 0:
            used = _retargeted(q, data, retarget=retarget, loss=settings.loss)
        losses.append(
            _run_epoch(
                q, used, train_N=train_N, optimiser=optimiser, settings=settings, epoch=epoch, on_step=on_step
            )
        )
        if len(held_N):
            held.append(_held_out_loss(q, data.rows(held_N), settings=settings))
            best = _better(best, q, loss=held[-1], epoch=epoch)
    if best is not None:
        q.model.load_state_dict(best.model)
        q.head.load_state_dict(best.head)
    return QFit(
        losses=tuple(losses),
        held_out_losses=tuple(held),
        best_epoch=settings.epochs - 1 if best is None else best.epoch,
        labelled_turns=int(taught_turns(data)[train_N].sum()),
        unlabelled_turns=unlabelled_turns(data.targets_BK, data.happened_BK & ~held_B[:, None]),
    )


def q_loss(q: QModel, data: QData, *, settings: QFitSettings) -> Tensor:
    """The objective of a minibatch, with gradient: the weighted mean over its turns that have a target."""
    reading = q.read(data.conversations, turns=data.turns, with_logprobs=settings.language_weight > 0)
    scores = q.assemble(reading, data.conversations.turn_BT, reference_logprobs_BT=data.reference_logprobs_BT)
    taught_BK = taught_turns(data, kind=q.kind)
    losses_N = _turn_losses(
        scores.logits_BK[taught_BK],
        data.targets_BK[taught_BK],
        old_N=None if data.old_values_BK is None else data.old_values_BK[taught_BK],
        settings=settings,
    )
    weights_BK = turn_weights(taught_BK, per_conversation=settings.per_conversation)
    loss = weighted_mean(losses_N, weights_BK[taught_BK])
    if settings.language_weight > 0 and reading.logprobs_BT is not None:
        spoken_N = reading.logprobs_BT[data.conversations.is_policy_BT]
        loss = loss - settings.language_weight * spoken_N.mean()
    return loss


def taught_turns(data: QData, *, kind: str = "value") -> Tensor:
    """Turns that enter the loss: those with a target; of an implicit reward model only each talk's last.

    The published implicit reward is fitted once per conversation, on its whole sum (ITPO, arXiv:2603.23550).
    """
    taught_BK = data.happened_BK & ~data.targets_BK.isnan()
    if kind != "implicit_prm":
        return taught_BK
    return taught_BK & (data.happened_BK.long().flip(1).cumsum(1).flip(1) == 1)


def _turn_losses(
    outputs_N: Tensor, targets_N: Tensor, *, old_N: Tensor | None, settings: QFitSettings
) -> Tensor:
    losses = TURN_LOSSES[settings.loss]
    if settings.value_clip is None or old_N is None:
        return losses(outputs_N, targets_N)
    return clipped_value_losses(outputs_N, targets_N, old_N=old_N, clip=settings.value_clip, losses=losses)


def _run_epoch(
    q: QModel,
    data: QData,
    *,
    train_N: Tensor,
    optimiser: AdamW,
    settings: QFitSettings,
    epoch: int,
    on_step: Progress,
) -> float:
    order = seeded(settings.seed, "q_order", epoch)
    buckets = length_buckets(data.conversations.lengths_B[train_N], settings.minibatch, generator=order)
    steps, total = len(buckets), 0.0
    for done, picked in enumerate(buckets, start=1):
        _set_rates(optimiser, settings, step=epoch * steps + done, steps=settings.epochs * steps)
        loss = q_loss(q, data.rows(train_N[picked]), settings=settings)
        descend(loss, optimiser, max_gradient_norm=settings.max_gradient_norm)
        total += float(loss.detach()) * len(picked)
        on_step(epoch * steps + done, settings.epochs * steps)
    return total / len(train_N)


@torch.no_grad()
def _held_out_loss(q: QModel, data: QData, *, settings: QFitSettings) -> float:
    scores = q.score(data.conversations, reference_logprobs_BT=data.reference_logprobs_BT, turns=data.turns)
    taught_BK = taught_turns(data)
    losses_N = TURN_LOSSES[settings.loss](scores.logits_BK[taught_BK], data.targets_BK[taught_BK])
    weights_BK = turn_weights(taught_BK, per_conversation=settings.per_conversation)
    return float(weighted_mean(losses_N, weights_BK[taught_BK]))


def _retargeted(q: QModel, data: QData, *, retarget: Retarget, loss: str) -> QData:
    scores = q.score(data.conversations, reference_logprobs_BT=data.reference_logprobs_BT, turns=data.turns)
    if scores.values_BK is None:
        raise ValueError(f"kind {q.kind!r} has no value before a turn: fit it to Monte-Carlo targets")
    targets_BK = retarget(scores.values_BK)
    check_targets(targets_BK[~targets_BK.isnan()], loss=loss)
    return replace(data, targets_BK=targets_BK)


def _better(best: _Best | None, q: QModel, *, loss: float, epoch: int) -> _Best:
    if best is not None and loss >= best.loss:
        return best
    return _Best(loss, epoch, _copied(q.model), _copied(q.head))


def _copied(module: nn.Module) -> State:
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


def _optimiser(q: QModel, settings: QFitSettings) -> AdamW:
    groups = [
        {"params": list(q.model.parameters()), "lr": settings.learning_rate},
        {
            "params": [each for each in q.head.parameters() if each.requires_grad],
            "lr": settings.head_learning_rate,
        },
    ]
    return AdamW(groups, betas=BETAS, weight_decay=0.0, fused=True)


def _set_rates(optimiser: AdamW, settings: QFitSettings, *, step: int, steps: int) -> None:
    share = min(1.0, step / max(settings.warmup_steps, 1)) * max(LOWEST_RATE, 1 - (step - 1) / steps)
    rates = (settings.learning_rate, settings.head_learning_rate)
    for group, rate in zip(optimiser.param_groups, rates, strict=True):
        group["lr"] = rate * share


def _start_at_base_rate(q: QModel, targets_NK: Tensor, *, loss: str) -> None:
    # A head that is exactly 0 has learnt nothing; its first steps would only find the mean of the targets.
    if bool(q.head.weight.any()) or bool(q.head.bias.any()):
        return
    mean = targets_NK[~targets_NK.isnan()].mean()
    with torch.no_grad():
        q.head.bias.fill_(mean.clamp(*BASE_RATE_LIMITS).logit() if loss == "cross_entropy" else mean)


def _split(data: QData, held_B: Tensor, *, rows_N: Tensor | None) -> tuple[Tensor, Tensor]:
    taught_B = taught_turns(data).any(dim=1)
    given_N = torch.arange(len(taught_B)) if rows_N is None else rows_N
    train_N = given_N[(taught_B & ~held_B)[given_N]]
    if len(train_N) == 0:
        raise ValueError(
            f"none of {len(taught_B)} conversations has a target and is not held out: there is nothing to fit"
        )
    return train_N, (taught_B & held_B).nonzero()[:, 0]


def _check(q: QModel, data: QData, *, settings: QFitSettings) -> None:
    if settings.loss not in TURN_LOSSES:
        raise ValueError(f"q loss {settings.loss!r} is unknown: use one of {', '.join(TURN_LOSSES)}")
    if settings.value_clip is not None and data.old_values_BK is None:
        raise ValueError("value_clip measures from old values: give old_values_BK, or leave the clip out")
    check_targets(data.targets_BK[~data.targets_BK.isnan()], loss=settings.loss)
    if q.compares:
        spoken = data.conversations
        check_spoken(spoken.tokens_BT, spoken.is_policy_BT, suppressed_ids=q.suppressed_ids)
