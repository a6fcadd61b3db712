"""The named figures of a fit of Q, or of a critic."""

from itpo_core.critic_fit import CriticFit
from itpo_core.q_fit import QFit
from itpo_core.q_gate import HeldOutQ
from itpo_core.q_recipe import QResult


def figures(result: QResult) -> dict[str, float]:
    """The named figures of the first member's fit and of the held-out judgement of all."""
    return {
        **fit_figures(result.fits[0]),
        "gate_open": float(result.gate.open),
        **({"heldout_conversations": 0.0} if result.judged is None else held_out(result.judged)),
    }


def critic_figures(result: CriticFit) -> dict[str, float]:
    """The same of a critic of turn rewards, which has no gate: a poor baseline is noisy, and not wrong."""
    known = result.explained_variance
    return {
        **fit_figures(result.fit),
        "gate_open": 1.0,
        **({} if known is None else {"heldout_explained_variance": known}),
    }


def fit_figures(fit: QFit) -> dict[str, float]:
    """How one fit went."""
    return {
        "first_epoch_loss": fit.losses[0],
        "last_epoch_loss": fit.losses[-1],
        "best_epoch": float(fit.best_epoch),
        "labelled_turns": float(fit.labelled_turns),
        "unlabelled_turns": float(fit.unlabelled_turns),
    }


def held_out(judged: HeldOutQ) -> dict[str, float]:
    """Fit, ranking and calibration per turn of held-out conversations; no AUC when all ended alike."""
    found = {
        "heldout_conversations": float(judged.conversations),
        "heldout_turns": float(judged.turns),
        "heldout_cross_entropy": judged.cross_entropy,
        "heldout_base_rate_entropy": judged.base_rate_entropy,
        "heldout_improvement": judged.improvement.mean,
        "heldout_improvement_lower": judged.improvement.lower,
        "heldout_improvement_upper": judged.improvement.upper,
        "heldout_brier": judged.brier,
    }
    if judged.auc is not None:
        found["heldout_auc"] = judged.auc.mean
        found["heldout_auc_lower"] = judged.auc.lower
        found["heldout_auc_upper"] = judged.auc.upper
    if judged.explained_variance is not None:
        found["heldout_explained_variance"] = judged.explained_variance
    for each in judged.by_turn:
        found[f"observed_minus_predicted_turn_{each.turn_index}"] = each.observed - each.predicted
    return found
