"""The improvement certificate of an iteration as flat evidence: what its step may claim, and what came of it.

Of an algorithm without a Q-function the parts that exist are given: how far the policy went, and the change.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt

from itpo_core.certificate import (
    Certificate,
    Horizon,
    Movement,
    QError,
    QErrorKind,
    certify,
    weight_on_success,
)
from itpo_core.decision import Gain

Evidence = dict[str, float | str | bool | None]
Figures = Mapping[str, float]
PREFIX = "certificate_"


@dataclass(frozen=True, slots=True)
class Claim:
    """What is known of one step: `stage/name` figures of its training and, where a Q was fitted, of Q."""

    trained: Figures
    fitted: Figures | None
    mean_turns: float
    max_turns: int
    doubly_robust: bool = False


def certificate_evidence(claim: Claim, *, measured: Gain, withheld: str | None) -> Evidence:
    """The certificate under `certificate_…`; fewer of these names without a promise to hold the change to."""
    inside = Gain(
        measured.mean,
        # A bootstrap of a few pairs may leave its own mean out by a rounding.
        lower=min(measured.lower, measured.mean),
        upper=max(measured.upper, measured.mean),
        pairs=measured.pairs,
    )
    error = held_out_error(claim.fitted)
    common = {
        "kl_per_token": claim.trained["train_policy/final_kl"],
        **({} if error is None else {"q_error": error.value, "q_error_kind": error.kind.value}),
    }
    if withheld is None and error is not None and "train_policy/q_gain_raw" in claim.trained:
        found = certificate_of(claim, inside, error=error)
        return _named({**common, **whole(found)})
    return _named({**common, **_measured(inside), "verdict": in_parts(inside, withheld=withheld)})


def certificate_of(claim: Claim, measured: Gain, *, error: QError) -> Certificate:
    """The whole certificate of a step under Q."""
    trained = {name.removeprefix("train_policy/"): value for name, value in claim.trained.items()}
    movement = Movement(
        kl_per_response=trained["kl_per_response"],
        kl_largest_state=trained["kl_largest_state"],
        q_gain_per_turn=trained["q_gain_per_turn"],
    )
    # The doubly robust step takes its rewards on the scale of success; the plain one on Q's raw scale.
    raw = movement.q_gain_per_turn if claim.doubly_robust else trained["q_gain_raw"]
    beta = weight_on_success(
        trained["final_kl_weight"],
        reward_std=trained["final_reward_std"],
        gain_raw=raw,
        gain=movement.q_gain_per_turn,
    )
    turns = min(max(claim.mean_turns, 1.0), claim.max_turns)  # a talk that broke at once had no turn
    return certify(movement, measured, q_error=error, horizon=Horizon(turns, claim.max_turns), beta=beta)


def held_out_error(fitted: Figures | None) -> QError | None:
    """Root mean square of Q against held-out outcomes, whose own noise is in it; None where none is known."""
    if fitted is None or "fit_q/heldout_brier" not in fitted:
        return None
    return QError(sqrt(fitted["fit_q/heldout_brier"]), QErrorKind.OUTCOMES)


def whole(found: Certificate) -> Evidence:
    """A certificate as flat evidence."""
    return {
        "kl_per_response": found.kl_per_response,
        "kl_largest_state": found.kl_largest_state,
        "beta": found.beta,
        "mean_turns": found.horizon.mean_turns,
        "max_turns": float(found.horizon.max_turns),
        "gap": found.gap,
        "bound": found.bound,
        "bound_worst_case": found.bound_worst_case,
        "direct_bound": found.direct_bound,
        "vacuous": found.vacuous,
        "promised": found.promised,
        "delivered": found.delivered,
        "agreement": found.agreement.value,
        "verdict": found.verdict,
        **_measured(found.measured),
    }


def in_parts(measured: Gain, *, withheld: str | None) -> str:
    """The sentence where there is no promise to hold the change against."""
    if withheld is not None:
        return f"no step was taken and nothing promised: {withheld}"
    interval = f"[{100 * measured.lower:+.1f}, {100 * measured.upper:+.1f}]"
    return f"nothing was promised by a Q: success changed by {100 * measured.mean:+.1f} points {interval}"


def _measured(measured: Gain) -> Evidence:
    return {"measured": measured.mean, "measured_lower": measured.lower, "measured_upper": measured.upper}


def _named(found: Evidence) -> Evidence:
    return {f"{PREFIX}{name}": value for name, value in found.items()}
