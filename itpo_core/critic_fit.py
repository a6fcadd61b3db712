"""Fit of a critic to a stream of turn rewards: a baseline on the stream's own scale, so it has no gate.

Axes: B conversations, K turns. `q_recipe` fits Q-functions and critics to raw outcomes.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from itpo_core.normalisation import explained_variance
from itpo_core.q_data import QSet
from itpo_core.q_ensemble import cross_fitted, fit_members, two_folds
from itpo_core.q_fit import Progress, QFit, QFitSettings
from itpo_core.q_models import QModel


@dataclass(frozen=True, slots=True)
class CriticFit:
    """The fitted critic, and V before every turn, [B, K]; with cross-fitting from two others, each turn's
    from the one that never saw its conversation. `explained_variance` is over the newest conversations that
    did not teach the critic which values them; None where their returns do not vary."""

    member: QModel
    fit: QFit
    values_BK: Tensor
    explained_variance: float | None


def fit_critic(
    make: Callable[[int], QModel],
    of: QSet,
    *,
    returns_BK: Tensor,
    settings: QFitSettings,
    cross_fit: bool,
    on_step: Progress = lambda done, total: None,
) -> CriticFit:
    """Fit a model of kind `value` to returns (NaN where there is none), by Huber's loss.

    `make(place)` gives the critic with its start weights, a fresh copy at every call. Raises what `fit_q`
    raises.
    """
    data = replace(of.data, targets_BK=returns_BK)
    settings = replace(settings, loss="huber")
    member = make(0)
    (fit,) = fit_members(
        [member],
        data,
        clusters=of.clusters_B,
        settings=settings,
        held_out_B=of.held_out_B,
        on_step=on_step,
    )
    if cross_fit:
        scores, _ = cross_fitted(
            (make(0), make(0)),
            data,
            fold_B=two_folds(of.clusters_B, seed=settings.seed),
            settings=settings,
            held_out_B=of.held_out_B,
        )
    else:
        scores = member.score(data.conversations, reference_logprobs_BT=None, turns=data.turns)
    unseen_B = of.newest_B if cross_fit else of.newest_B & of.held_out_B
    counts_BK = unseen_B[:, None] & ~returns_BK.isnan()
    known = explained_variance(scores.logits_BK, torch.nan_to_num(returns_BK), counts=counts_BK)
    return CriticFit(member, fit, scores.logits_BK, known)
