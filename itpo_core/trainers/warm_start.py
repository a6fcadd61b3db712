"""Supervised start: a fresh model learns to speak like the logged assistants, and to copy what it was told.

Axes: B conversations, T tokens (right-padded). The rates and the schedule are those under which a narrow
model learns copying at all; the gate on copy accuracy, not the loss, says whether it did.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from itpo_core.logprobs import check_spoken, token_logprobs, wanted_logits
from itpo_core.optimisation import adamw, descend, seeded, set_learning_rate
from itpo_core.tiny_policy import suppressed_ids
from itpo_core.tokens import suppress

BETAS = (0.9, 0.98)
WEIGHT_DECAY = 0.01
WARM_UP_STEPS = 30
LAST_SHARE = 0.05
MAX_GRADIENT_NORM = 1.0
NEIGHBOURS = 256


@dataclass(frozen=True, slots=True)
class EncodedRows:
    """Conversations as tokens, int64; `is_assistant_BT` is true on assistant text and its end of turn."""

    tokens_BT: Tensor
    is_assistant_BT: Tensor
    lengths_B: Tensor


@dataclass(frozen=True, slots=True)
class WarmStartSettings:
    """`request_share` of the steps are taken on requests, in which everything to copy is said at once."""

    steps: int = 250
    batch: int = 32
    learning_rate: float = 5e-3
    request_share: float = 0.4
    seed: int = 0


@dataclass(frozen=True, slots=True)
class WarmStartResult:
    """Loss (nats per assistant token) of every step, and the mean over the last tenth of them."""

    losses: tuple[float, ...]
    final_loss: float


def warm_start(
    model: PreTrainedModel,
    conversations: EncodedRows,
    *,
    requests: EncodedRows | None,
    settings: WarmStartSettings,
    on_step: Callable[[int, int], None] = lambda done, total: None,
) -> WarmStartResult:
    """Train `model` in place on the assistant's tokens; one thread and equal arguments give equal weights.

    A minibatch is drawn among conversations of similar length; requests are short and come two for one.
    Without requests (None) every step takes conversations. Raises ValueError for rows without assistant
    tokens and for tokens that the policy never speaks, TrainingDivergedError for a loss that is no number.
    """
    never = suppressed_ids(model)
    for rows in (conversations, requests):
        _check(rows, never)
    generator = seeded(settings.seed, "warm_start")
    optimiser = adamw(model.parameters(), settings.learning_rate, betas=BETAS, weight_decay=WEIGHT_DECAY)
    by_length_B = conversations.lengths_B.argsort(stable=True)
    losses = []
    for step in range(settings.steps):
        set_learning_rate(optimiser, rate_at(step, settings.learning_rate, steps=settings.steps))
        if requests is not None and float(torch.rand((), generator=generator)) < settings.request_share:
            picked = torch.randperm(len(requests.lengths_B), generator=generator)[: 2 * settings.batch]
            loss = _loss(model, requests, rows=picked, never=never)
        else:
            picked = _neighbours(by_length_B, settings.batch, generator=generator)
            loss = _loss(model, conversations, rows=picked, never=never)
        descend(loss, optimiser, max_gradient_norm=MAX_GRADIENT_NORM)
        losses.append(float(loss.detach()))
        on_step(step + 1, settings.steps)
    tail = losses[-max(1, len(losses) // 10) :]
    return WarmStartResult(tuple(losses), sum(tail) / len(tail))


def rate_at(step: int, learning_rate: float, *, steps: int) -> float:
    """Thirty steps up, then a half cosine over the whole run down to 5 %."""
    up = min(1.0, (step + 1) / WARM_UP_STEPS)
    return learning_rate * up * max(LAST_SHARE, 0.5 * (1 + math.cos(math.pi * step / steps)))


@torch.no_grad()
def copy_accuracy(model: PreTrainedModel, rows: EncodedRows, *, value_token_ids: Sequence[int]) -> float:
    """How often the likeliest token is the right one where the assistant names a value that it was told.

    Read with the true text before each token. Raises ValueError when no assistant token is a value.
    """
    values = torch.tensor(list(value_token_ids), dtype=rows.tokens_BT.dtype)
    wanted_BT = rows.is_assistant_BT & torch.isin(rows.tokens_BT, values)
    if not bool(wanted_BT.any()):
        raise ValueError("no assistant token is one of the given values: copying cannot be measured")
    logits_NV = suppress(wanted_logits(model, rows.tokens_BT, wanted_BT=wanted_BT), suppressed_ids(model))
    return float((logits_NV.argmax(dim=-1) == rows.tokens_BT[wanted_BT]).double().mean())


def _loss(model: PreTrainedModel, rows_of: EncodedRows, *, rows: Tensor, never: Sequence[int]) -> Tensor:
    width = int(rows_of.lengths_B[rows].max())
    found = token_logprobs(
        model,
        rows_of.tokens_BT[rows, :width],
        wanted_BT=rows_of.is_assistant_BT[rows, :width],
        suppressed_ids=never,
        temperature=1.0,
    )
    return -found.logprobs_N.mean()


def _neighbours(by_length_B: Tensor, batch: int, *, generator: torch.Generator) -> Tensor:
    window = min(NEIGHBOURS, len(by_length_B))
    start = int(torch.randint(len(by_length_B) - window + 1, (), generator=generator))
    return by_length_B[start : start + window][torch.randperm(window, generator=generator)[:batch]]


def _check(rows: EncodedRows | None, never: Sequence[int]) -> None:
    if rows is None:
        return
    silent = (~rows.is_assistant_BT.any(dim=1)).nonzero()[:, 0].tolist()
    if silent or len(rows.tokens_BT) == 0:
        raise ValueError(
            f"rows without an assistant token: {silent or 'all'}; leave them out of the warm start"
        )
    check_spoken(rows.tokens_BT, rows.is_assistant_BT, suppressed_ids=never)
