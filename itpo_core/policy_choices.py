"""From the names in the settings to the functions of a policy step, picked once."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from torch import Tensor

from itpo_core.kl import KL_ESTIMATORS, KlEstimator, KlLimits
from itpo_core.loss_aggregation import AGGREGATIONS, Aggregation, checked_norm
from itpo_core.policy_losses import POLICY_LOSSES, Clip, PolicyLoss
from itpo_core.sequences import SEQUENCES, Sequences
from itpo_core.trainers.base import PolicySettings

Choice = TypeVar("Choice")
NORMED = frozenset({"sequence_mean_token_sum_norm", "token_sum_norm"})


@dataclass(frozen=True, slots=True)
class Choices:
    """The functions of one policy step; `aggregate_penalties` is None where penalties go with the loss."""

    loss: PolicyLoss
    clip: Clip
    sequences: Callable[[Tensor, Tensor | None], Sequences]
    aggregate: Aggregation
    aggregate_penalties: Aggregation | None
    divergences: KlEstimator
    limits: KlLimits


def choices(settings: PolicySettings) -> Choices:
    """Raises ValueError, listing the names there are, for a name that is none, and for a missing norm."""
    aggregations = {settings.aggregation, settings.penalty_aggregation}
    if aggregations & NORMED:
        checked_norm(settings.norm_tokens)
    if settings.micro_batch is not None and settings.micro_batch < 1:
        raise ValueError(f"micro_batch {settings.micro_batch}: give 1 or more conversations, or None")
    return Choices(
        loss=pick("policy_loss", settings.policy_loss, among=POLICY_LOSSES),
        clip=Clip(
            settings.clip_low,
            settings.clip_high,
            math.inf if settings.dual_clip is None else settings.dual_clip,
        ),
        sequences=pick("sequence", settings.sequence, among=SEQUENCES),
        aggregate=pick("aggregation", settings.aggregation, among=AGGREGATIONS),
        aggregate_penalties=None
        if settings.penalty_aggregation is None
        else pick("penalty_aggregation", settings.penalty_aggregation, among=AGGREGATIONS),
        divergences=pick("kl_estimator", settings.kl_estimator, among=KL_ESTIMATORS),
        limits=KlLimits(settings.kl_input_limit, settings.kl_output_limit),
    )


def pick(field: str, name: str, *, among: Mapping[str, Choice]) -> Choice:
    """The choice of that name. Raises ValueError naming the field, the name and what there is."""
    if name not in among:
        raise ValueError(f"{field} {name!r} does not exist: choose one of {', '.join(sorted(among))}")
    return among[name]
