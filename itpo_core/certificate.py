"""The improvement certificate: what one step of Iterative PPO may claim, and whether the measurement agrees.

Write pi for the policy that collected, pi' for the new one, Q^ for the fitted Q, eps for its largest error, T
for the number of turns of a conversation under pi'. For every state s let pi'(.|s) come within delta of the
maximum of E_{a~pi'} Q^(s, a) - beta KL(pi'(.|s) || pi(.|s)). The performance-difference lemma splits the
change of success by the states that pi' visits, and pi itself is a candidate with KL 0, so that

    V^{pi'} - V^pi  =   E_{pi'} sum_{k<=T} [ E_{pi'} Q^pi(s_k, .) - E_pi Q^pi(s_k, .) ]          (lemma)
                    >=  E_{pi'} sum_{k<=T} [ E_{pi'} Q^(s_k, .) - E_pi Q^(s_k, .) - 2 eps ]      (direct form)
                    >=  E_{pi'} sum_{k<=T} [ beta KL(s_k) - delta - 2 eps ]                      (Theorem 2)

The number of turns stands where the discounted form has 1 / (1 - gamma). Source: Iterative PPO
(arXiv:2511.21638), Theorem 2; the finite horizon and the direct form are derived in `itpo_core.tabular`, with
tests on exact tables.

On a fitted Q the bound is a yardstick and no proof: a held-out root mean square error stands for the largest
error (too small), or holds the outcome's own noise as well (too large), see `QErrorKind`; and the states are
the ones that pi visited.
"""

import math
from dataclasses import dataclass
from enum import StrEnum

from itpo_core.decision import Gain

STEEPEST_LOGIT = 0.25


class QErrorKind(StrEnum):
    """What the held-out predictions of Q were compared with."""

    OUTCOMES = "outcomes"  # single outcomes of 0 or 1, whose own noise is in the figure
    REPLICATES = "replicates"  # means over repeated roll-outs of the same state and turn
    EXACT = "exact"  # known values; the figure is the largest error, not a root mean square


class Agreement(StrEnum):
    """Whether the measured change agrees with what Q promised and the bound guarantees."""

    AGREE = "agree"
    DISAGREE = "disagree"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True)
class Movement:
    """How far the step went, over the visited states: KL(pi' || pi) of whole responses, in nats.

    `kl_per_response` is the mean over all sampled responses, `kl_largest_state` the mean of the state that
    moved most; `q_gain_per_turn` is E_{pi'} Q^ - E_pi Q^, the mean over states, on the scale of success.
    """

    kl_per_response: float
    kl_largest_state: float
    q_gain_per_turn: float


@dataclass(frozen=True, slots=True)
class QError:
    """The error of Q on conversations that it was not fitted on, on the scale of success."""

    value: float
    kind: QErrorKind


@dataclass(frozen=True, slots=True)
class Horizon:
    """Turns of a conversation under the new policy: the mean, and the most that the environment allows."""

    mean_turns: float
    max_turns: int


@dataclass(frozen=True, slots=True)
class Certificate:
    """One iteration's claim beside its measurement; all values are changes of success as fractions.

    `bound` is Theorem 2's with the mean number of turns, `bound_worst_case` with the worst number of turns
    that the horizon allows, `direct_bound` needs neither beta nor a solved step; `vacuous` when neither
    `bound` nor `direct_bound` is above 0. `gap` is the delta that the bound was charged. `delivered` is
    measured / promised, None when nothing was promised.
    """

    kl_per_response: float
    kl_largest_state: float
    beta: float
    q_error: QError
    horizon: Horizon
    gap: float
    bound: float
    bound_worst_case: float
    direct_bound: float
    vacuous: bool
    promised: float
    measured: Gain
    delivered: float | None
    agreement: Agreement
    verdict: str


def certify(
    movement: Movement,
    measured: Gain,
    *,
    q_error: QError,
    horizon: Horizon,
    beta: float,
    gap: float = 0.0,
) -> Certificate:
    """The certificate of one step. `measured` is success of pi' minus pi on fresh conversations.

    `beta` is the weight of the KL on the scale of success: a step that maximised rewards divided by their
    standard deviation s under a penalty w has beta = w s. `gap` is a known shortfall delta; where less than
    beta KL was gained on Q^, the step cannot have been optimal and the difference is charged as well.

    Raises ValueError for a figure that is not finite, negative where that has no meaning, or out of order.
    """
    _check(movement, measured, q_error=q_error, horizon=horizon, beta=beta, gap=gap)
    charged = max(gap, shortfall(movement, beta=beta))
    term = bound_per_turn(movement.kl_per_response, beta=beta, gap=charged, error=q_error.value)
    bound = horizon.mean_turns * term
    promised = horizon.mean_turns * movement.q_gain_per_turn
    direct = promised - 2 * q_error.value * horizon.mean_turns
    agreement = compare(promised, measured, guaranteed=max(bound, direct))
    return Certificate(
        kl_per_response=movement.kl_per_response,
        kl_largest_state=movement.kl_largest_state,
        beta=beta,
        q_error=q_error,
        horizon=horizon,
        gap=charged,
        bound=bound,
        bound_worst_case=worst_case(term, max_turns=horizon.max_turns),
        direct_bound=direct,
        vacuous=max(bound, direct) <= 0,
        promised=promised,
        measured=measured,
        delivered=measured.mean / promised if promised else None,
        agreement=agreement,
        verdict=_verdict(agreement, promised, measured=measured, guaranteed=max(bound, direct)),
    )


def bound_per_turn(kl: float, *, beta: float, gap: float, error: float) -> float:
    """What Theorem 2 leaves of one visited state: beta KL - delta - 2 eps."""
    return beta * kl - gap - 2 * error


def weight_on_success(kl_weight: float, *, reward_std: float, gain_raw: float, gain: float) -> float:
    """beta of a step that took raw rewards over their deviation `reward_std` under a penalty `kl_weight`.

    `gain` (on the scale of success) over `gain_raw` (on Q's raw scale) is how much success a unit of raw
    reward was worth in this step; a quarter, the most that a logit can be worth, where they do not tell.
    """
    slope = gain / gain_raw if gain_raw and gain / gain_raw > 0 else STEEPEST_LOGIT
    return kl_weight * reward_std * slope


def shortfall(movement: Movement, *, beta: float) -> float:
    """The least delta that fits the figures: an optimal step gains at least beta KL on Q^."""
    return max(0.0, beta * movement.kl_per_response - movement.q_gain_per_turn)


def worst_case(term: float, *, max_turns: int) -> float:
    """The bound when nothing is known about the turns but their limit: a loss is counted at each one.

    A gain is counted once, as every conversation has a turn.
    """
    return term * (max_turns if term < 0 else 1)


def compare(promised: float, measured: Gain, *, guaranteed: float) -> Agreement:
    """Disagree: less than guaranteed, or a proven change against the promise. Agree: a proven one with it."""
    if measured.upper < guaranteed:
        return Agreement.DISAGREE
    if promised == 0 or measured.lower <= 0 <= measured.upper:
        return Agreement.UNDECIDED
    return Agreement.AGREE if (measured.lower > 0) == (promised > 0) else Agreement.DISAGREE


def _verdict(agreement: Agreement, promised: float, *, measured: Gain, guaranteed: float) -> str:
    interval = f"[{100 * measured.lower:+.1f}, {100 * measured.upper:+.1f}]"
    change = f"success changed by {100 * measured.mean:+.1f} points {interval}"
    bound = f"a bound of {100 * guaranteed:+.1f}"
    note = " that is vacuous" if guaranteed <= 0 else ""
    return f"{agreement.value}: {change}, against {100 * promised:+.1f} promised by Q and {bound}{note}"


def _check(
    movement: Movement, measured: Gain, *, q_error: QError, horizon: Horizon, beta: float, gap: float
) -> None:
    figures = {
        "kl_per_response": movement.kl_per_response,
        "kl_largest_state": movement.kl_largest_state,
        "q_gain_per_turn": movement.q_gain_per_turn,
        "q_error": q_error.value,
        "mean_turns": horizon.mean_turns,
        "beta": beta,
        "gap": gap,
        "measured.mean": measured.mean,
        "measured.lower": measured.lower,
        "measured.upper": measured.upper,
    }
    for name, value in figures.items():
        if not math.isfinite(value):
            raise ValueError(f"{name} is {value}: a certificate needs finite figures, so measure it again")
    for name in ("kl_per_response", "kl_largest_state", "q_error", "beta", "gap"):
        if figures[name] < 0:
            raise ValueError(f"{name} is {figures[name]}, below 0: use an estimator that cannot be negative")
    if not 1 <= horizon.mean_turns <= horizon.max_turns:
        raise ValueError(
            f"mean turns {horizon.mean_turns} is not between 1 and the {horizon.max_turns} that are allowed"
        )
    if not measured.lower <= measured.mean <= measured.upper:
        raise ValueError(
            f"measured {measured.mean} lies outside its interval [{measured.lower}, {measured.upper}]"
        )
