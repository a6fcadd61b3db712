"""Several Q-functions at once: ensembles with pessimism, and cross-fitting in two folds.

Axes: M members, B conversations, K turns.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from itpo_core.identifiers import derive_seed
from itpo_core.optimisation import seeded
from itpo_core.q_fit import QData, QFit, QFitSettings, Retarget, fit_q
from itpo_core.q_models import QModel, QScores

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class EnsembleScores:
    """`pessimistic` is the mean of the members less kappa standard deviations, raw scale; `std_BK` is the
    members' spread of sigmoid(logit), 0 with one member."""

    mean: QScores
    pessimistic_BK: Tensor
    std_BK: Tensor


def fit_members(
    members: Sequence[QModel],
    data: QData,
    *,
    clusters: Sequence[str],
    settings: QFitSettings,
    held_out_B: Tensor | None = None,
    retarget: Retarget | None = None,
    on_step: Progress = lambda done, total: None,
) -> tuple[QFit, ...]:
    """Fit every member in place; more than one are told apart by a bootstrap over clusters and by the order.

    The first member of several also sees a bootstrap, so that all are alike. Raises what `fit_q` raises.
    """
    alone = len(members) == 1
    return tuple(
        fit_q(
            member,
            data,
            settings=replace(settings, seed=derive_seed(settings.seed, "member", place)),
            held_out_B=held_out_B,
            rows_N=None
            if alone
            else bootstrap_rows(clusters, seed=derive_seed(settings.seed, "draw", place)),
            retarget=retarget,
            on_step=_within(on_step, place=place, members=len(members)),
        )
        for place, member in enumerate(members)
    )


def bootstrap_rows(clusters: Sequence[str], *, seed: int) -> Tensor:
    """Row indices of as many clusters, drawn with replacement, whole, as there are."""
    rows: dict[str, list[int]] = {}
    for row, cluster in enumerate(clusters):
        rows.setdefault(cluster, []).append(row)
    kept = list(rows.values())
    drawn = torch.randint(len(kept), (len(kept),), generator=seeded(seed, "q_bootstrap"))
    return torch.tensor([row for each in drawn.tolist() for row in kept[each]])


def ensemble_scores(scores: Sequence[QScores], *, pessimism: float) -> EnsembleScores:
    """Put the members' scores together; pessimism is kappa. Raises ValueError for a negative one."""
    if pessimism < 0:
        raise ValueError(f"pessimism {pessimism}: it is taken off the mean and must not be negative")
    logits_MBK = torch.stack([each.logits_BK for each in scores])
    return EnsembleScores(
        mean=QScores(
            values_BK=_mean([each.values_BK for each in scores]),
            log_ratios_BK=_mean([each.log_ratios_BK for each in scores]),
            logits_BK=logits_MBK.mean(dim=0),
        ),
        pessimistic_BK=pessimistic(logits_MBK, pessimism=pessimism),
        std_BK=logits_MBK.sigmoid().std(dim=0, correction=0),
    )


def pessimistic(outputs_MBK: Tensor, *, pessimism: float) -> Tensor:
    """Mean over the first axis less kappa times the (population) standard deviation over it."""
    return outputs_MBK.mean(dim=0) - pessimism * outputs_MBK.std(dim=0, correction=0)


def two_folds(clusters: Sequence[str], *, seed: int) -> Tensor:
    """Fold 0 or 1 of every row, int64 [B]: whole clusters, halves of them, whatever their order.

    Raises ValueError for fewer than two clusters.
    """
    known = sorted(set(clusters), key=lambda cluster: derive_seed(seed, "q_fold", cluster))
    if len(known) < 2:
        raise ValueError(f"{len(known)} cluster: cross-fitting needs two folds of whole scenarios")
    fold_of = {cluster: place % 2 for place, cluster in enumerate(known)}
    return torch.tensor([fold_of[cluster] for cluster in clusters])


def cross_fitted(
    pair: tuple[QModel, QModel],
    data: QData,
    *,
    fold_B: Tensor,
    settings: QFitSettings,
    held_out_B: Tensor | None = None,
    retarget: Retarget | None = None,
    on_step: Progress = lambda done, total: None,
) -> tuple[QScores, tuple[QFit, QFit]]:
    """Every conversation scored by the one of two models that never saw its fold.

    Fits both in place: the first on fold 0, the second on fold 1. No row has told its own outcome to its
    score, which a critic's advantages and credit need. Held-out rows teach neither and pick each epoch.
    """
    first, second = (
        fit_q(
            model,
            data,
            settings=replace(settings, seed=derive_seed(settings.seed, "fold", fold)),
            held_out_B=held_out_B,
            rows_N=(fold_B == fold).nonzero()[:, 0],
            retarget=retarget,
            on_step=_within(on_step, place=fold, members=2),
        )
        for fold, model in enumerate(pair)
    )
    by_fold = [
        model.score(data.conversations, reference_logprobs_BT=data.reference_logprobs_BT, turns=data.turns)
        for model in pair
    ]
    return merged(by_fold[1], by_fold[0], first_B=fold_B == 0), (first, second)


def merged(one: QScores, other: QScores, *, first_B: Tensor) -> QScores:
    """Rows of `one` where marked, of `other` elsewhere."""
    return QScores(
        values_BK=_chosen(one.values_BK, other.values_BK, first_B),
        log_ratios_BK=_chosen(one.log_ratios_BK, other.log_ratios_BK, first_B),
        logits_BK=torch.where(first_B[:, None], one.logits_BK, other.logits_BK),
    )


def _chosen(one: Tensor | None, other: Tensor | None, first_B: Tensor) -> Tensor | None:
    if one is None or other is None:
        return None
    return torch.where(first_B[:, None], one, other)


def _mean(parts: Sequence[Tensor | None]) -> Tensor | None:
    known = [part for part in parts if part is not None]
    return torch.stack(known).mean(dim=0) if len(known) == len(parts) else None


def _within(on_step: Progress, *, place: int, members: int) -> Progress:
    return lambda done, total: on_step(place * total + done, members * total)
