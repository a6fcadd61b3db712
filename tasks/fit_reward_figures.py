"""The named figures of a fit of the reward model: loss, held-out judgement, and what its scores look like."""

from dataclasses import dataclass

from itpo_core.reward_facts import moments_by_turn, rank_stability, share_entropy
from itpo_core.reward_fit import Referenced
from itpo_core.reward_model import FitResult, HeldOut, ScoredTurns
from itpo_core.streams import turn_token_counts

SHARE_TEMPERATURE = 0.4  # the published one; fixed here, so that iterations and experiments compare


@dataclass(frozen=True, slots=True)
class Versions:
    """The last data set as the model scored it before and after its update, and the scores that are used.

    `intercept` is the one after the update, None for a model without.
    """

    before: ScoredTurns
    after: ScoredTurns
    used: ScoredTurns
    intercept: float | None


def figures(
    result: FitResult, judged: HeldOut | None, *, min_auc: float, scored: Referenced, versions: Versions
) -> dict[str, float]:
    """The named figures; `gate_open` says whether held-out ranking is good enough to give credit by."""
    fitted = {
        "first_epoch_loss": result.losses[0],
        "last_epoch_loss": result.losses[-1],
        "labelled": float(result.labelled),
        "unlabelled": float(result.unlabelled),
        "wordless": float(result.wordless),
        **score_figures(scored, versions),
    }
    if judged is None:
        return {**fitted, "gate_open": 0.0, "heldout_conversations": 0.0}
    interval = judged.auc
    passed = interval is not None and interval.mean >= min_auc
    return {
        **fitted,
        **heldout_figures(judged),
        "gate_open": float(passed),
    }


def heldout_figures(judged: HeldOut) -> dict[str, float]:
    """Ranking, fit and calibration on held-out conversations; no AUC when all ended alike."""
    interval = judged.auc
    ranking = {} if interval is None else {
        "heldout_auc": interval.mean,
        "heldout_auc_lower": interval.lower,
        "heldout_auc_upper": interval.upper,
    }  # fmt: skip
    calibration = {
        f"observed_minus_predicted_turn_{each.turn_index}": each.observed - each.predicted
        for each in judged.by_turn
    }
    return {
        **ranking,
        **calibration,
        "heldout_conversations": float(judged.conversations),
        "heldout_cross_entropy": judged.cross_entropy,
        "heldout_base_rate_entropy": judged.base_rate_entropy,
        "heldout_brier": judged.brier,
    }


def score_figures(of: Referenced, versions: Versions) -> dict[str, float]:
    """Moments by turn index, entropy of the shares, and how far the update kept the ranking.

    The probe are the held-out conversations of this iteration: neither version has learnt them. A figure
    that is not defined, as the stability of a first fit whose predecessor scores every turn 0, is left out.
    """
    happened_BK = turn_token_counts(of.data.streams) > 0
    probe_B1 = ~of.data.train_B[:, None]
    before, after = versions.before, versions.after
    moments = moments_by_turn(versions.used.scores_BK, happened_BK)
    defined = {
        "share_entropy": share_entropy(versions.used.scores_BK, happened_BK, temperature=SHARE_TEMPERATURE),
        "rank_stability": rank_stability(before.scores_BK, after.scores_BK, among=happened_BK & probe_B1),
        "token_rank_stability": rank_stability(
            before.token_scores_BT, after.token_scores_BT, among=of.data.streams.is_policy_BT & probe_B1
        ),
        "intercept": versions.intercept,
    }
    return {
        **{f"score_mean_turn_{each.turn_index}": each.mean for each in moments},
        **{f"score_std_turn_{each.turn_index}": each.std for each in moments},
        **{name: value for name, value in defined.items() if value is not None},
    }
