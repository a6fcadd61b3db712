"""One whole fit of a Q-function: targets, members, values of every turn, held-out judgement, gate.

Axes: B conversations, K turns. Everything is in memory; a stage brings weights and takes away tables.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor
from transformers import PreTrainedModel

from itpo_core.q_centred import centred_log_ratios
from itpo_core.q_data import QSet
from itpo_core.q_ensemble import EnsembleScores, cross_fitted, ensemble_scores, fit_members, two_folds
from itpo_core.q_fit import Progress, QFit, QFitSettings, Retarget
from itpo_core.q_gate import MIN_CONVERSATIONS, Gate, HeldOutQ, gate, held_out_q
from itpo_core.q_models import QModel
from itpo_core.q_targets import td_lambda_targets
from itpo_core.reward_fit import Judging

MakeMember = Callable[[int], QModel]


@dataclass(frozen=True, slots=True)
class QRecipe:
    """How Q is fitted; `td_lambda` 1 means Monte-Carlo targets, `pessimism` is kappa over the members."""

    settings: QFitSettings = field(default_factory=QFitSettings)
    gamma: float = 1.0
    td_lambda: float = 1.0
    members: int = 1
    pessimism: float = 0.5
    cross_fit: bool = False
    min_conversations: int = MIN_CONVERSATIONS
    min_improvement: float = 0.0


@dataclass(frozen=True, slots=True)
class Speaker:
    """Who the log-ratios compare with, and under whom they are centred (the policy that sampled, and how)."""

    reference: PreTrainedModel
    policy: PreTrainedModel
    temperature: float = 1.0


@dataclass(frozen=True, slots=True)
class TurnValues:
    """[B, K]: V before each turn and Q after it (less pessimism) as chances, beta times the centred log-ratio
    in logits, the members' spread of Q; None for what the kind does not have."""

    values_BK: Tensor | None
    log_ratios_BK: Tensor | None
    q_BK: Tensor | None
    q_std_BK: Tensor | None


@dataclass(frozen=True, slots=True)
class QResult:
    """`members` hold the fitted weights; with cross-fitting, values come from two other models, each turn's
    from the one that never saw its conversation."""

    members: tuple[QModel, ...]
    fits: tuple[QFit, ...]
    turns: TurnValues
    judged: HeldOutQ | None
    gate: Gate


def run_recipe(
    make: MakeMember,
    of: QSet,
    *,
    recipe: QRecipe,
    speaker: Speaker,
    judging: Judging,
    on_step: Progress = lambda done, total: None,
) -> QResult:
    """Fit, score every conversation and judge on the newest held-out ones.

    With cross-fitting all of the newest are judged: none was seen by the model that scored it, and a gate on
    all of them decides what one on a tenth leaves open.
    `make(place)` gives member `place` with its start weights, a fresh copy at every call. The best epoch is
    picked on the same held-out rows, which favours Q by little: an epoch is one of a few. Raises ValueError
    for cross-fitting of more than one member, and what `fit_q` raises.
    """
    if recipe.cross_fit and recipe.members > 1:
        raise ValueError(f"cross_fit with {recipe.members} members: choose one of the two")
    members = tuple(make(place) for place in range(recipe.members))
    fits = fit_members(
        members,
        of.data,
        clusters=of.clusters_B,
        settings=recipe.settings,
        held_out_B=of.held_out_B,
        retarget=_retarget(recipe, of),
        on_step=on_step,
    )
    if recipe.cross_fit:
        found, ratios_BK = _blind(make, of, recipe=recipe, speaker=speaker)
    else:
        found, ratios_BK = _scored(members, of, recipe=recipe, speaker=speaker)
    judged = _judged(found.mean.logits_BK, of, judging=judging, blind=recipe.cross_fit)
    decision = gate(
        judged,
        min_conversations=recipe.min_conversations,
        min_improvement=recipe.min_improvement,
    )
    return QResult(members, fits, _turn_values(members[0].kind, found, ratios_BK), judged, decision)


def _retarget(recipe: QRecipe, of: QSet) -> Retarget | None:
    if recipe.td_lambda == 1:
        return None
    return lambda values_BK: td_lambda_targets(
        of.outcome_B,
        of.data.happened_BK,
        values_BK=values_BK.sigmoid(),
        gamma=recipe.gamma,
        lam=recipe.td_lambda,
    )


def _scored(
    members: tuple[QModel, ...], of: QSet, *, recipe: QRecipe, speaker: Speaker
) -> tuple[EnsembleScores, Tensor | None]:
    scores = [
        member.score(
            of.data.conversations, reference_logprobs_BT=of.data.reference_logprobs_BT, turns=of.data.turns
        )
        for member in members
    ]
    ratios = [_centred(member, of, speaker=speaker) for member in members if member.compares]
    return (
        ensemble_scores(scores, pessimism=recipe.pessimism),
        torch.stack(ratios).mean(dim=0) if ratios else None,
    )


def _blind(
    make: MakeMember, of: QSet, *, recipe: QRecipe, speaker: Speaker
) -> tuple[EnsembleScores, Tensor | None]:
    fold_B = two_folds(of.clusters_B, seed=recipe.settings.seed)
    pair = (make(0), make(0))
    scores, _ = cross_fitted(
        pair,
        of.data,
        fold_B=fold_B,
        settings=recipe.settings,
        held_out_B=of.held_out_B,
        retarget=_retarget(recipe, of),
    )
    found = ensemble_scores([scores], pessimism=0.0)
    if not pair[0].compares:
        return found, None
    of_first_BK, of_second_BK = (_centred(each, of, speaker=speaker) for each in pair)
    return found, torch.where(fold_B[:, None] == 0, of_second_BK, of_first_BK)


def _centred(member: QModel, of: QSet, *, speaker: Speaker) -> Tensor:
    return centred_log_ratios(
        member,
        of.data.conversations,
        reference=speaker.reference,
        turns=of.data.turns,
        speaker=speaker.policy,
        temperature=speaker.temperature,
    )


def _judged(logits_BK: Tensor, of: QSet, *, judging: Judging, blind: bool) -> HeldOutQ | None:
    rows_N = (of.newest_B if blind else of.held_out_B & of.newest_B).nonzero()[:, 0]
    learnt_BK = of.data.targets_BK[~of.held_out_B]
    return held_out_q(
        logits_BK[rows_N],
        of.data.targets_BK[rows_N],
        clusters=[of.clusters_B[row] for row in rows_N.tolist()],
        judging=judging,
        known_rate=float(learnt_BK[~learnt_BK.isnan()].double().mean()),
    )


def _turn_values(kind: str, found: EnsembleScores, ratios_BK: Tensor | None) -> TurnValues:
    values_BK = found.mean.values_BK
    rates = kind != "value"
    return TurnValues(
        values_BK=None if values_BK is None else values_BK.sigmoid(),
        log_ratios_BK=ratios_BK,
        q_BK=found.pessimistic_BK.sigmoid() if rates else None,
        q_std_BK=found.std_BK if rates else None,
    )
