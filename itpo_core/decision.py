"""From evidence to a verdict: promote the candidate, hold it, or roll the incumbent back. Pure arithmetic."""

from dataclasses import dataclass
from enum import StrEnum


class Action(StrEnum):
    """What happens to the current version."""

    PROMOTE = "promote"
    HOLD = "hold"
    ROLLBACK = "rollback"


@dataclass(frozen=True, slots=True)
class Gain:
    """A paired difference of mean success (fractions), with its interval and the number of pairs."""

    mean: float
    lower: float
    upper: float
    pairs: int


@dataclass(frozen=True, slots=True)
class Drift:
    """How far the candidate moved: nats per token to its parent, entropy left, share of failed talks.

    `entropy` is None for a candidate that is its parent: no step measured it.
    """

    kl: float
    entropy: float | None
    failed_share: float


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What the evidence is held against."""

    min_gain: float
    rollback_loss: float
    max_kl: float
    min_entropy: float
    max_failed_share: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """The action and, in words with the numbers, why."""

    action: Action
    reason: str


def decide(
    gain: Gain,
    drift: Drift,
    *,
    thresholds: Thresholds,
    incumbent_loss: Gain | None,
    withheld: str | None = None,
    doubt: str | None = None,
) -> Verdict:
    """Promote only on a proven gain by a healthy candidate; roll back only on a proven loss; otherwise hold.

    `gain` is candidate minus incumbent. `incumbent_loss` is the incumbent's predecessor minus the incumbent,
    measured afresh on the same scenarios; None when there is no predecessor. `withheld` says why no step was
    taken: such a candidate is its parent and never promoted. `doubt` says why a proven gain is not enough
    (see `family_doubt`).
    """
    is_proven = gain.lower > thresholds.min_gain
    alarm = withheld or drift_alarm(drift, thresholds) or (doubt if is_proven else None)
    if is_proven and alarm is None:
        return Verdict(
            Action.PROMOTE, f"gain {_percent(gain)} is above {100 * thresholds.min_gain:+.1f} points"
        )
    if incumbent_loss is not None and incumbent_loss.lower > thresholds.rollback_loss:
        return Verdict(
            Action.ROLLBACK, f"the incumbent lost {_percent(incumbent_loss)} against its predecessor"
        )
    if alarm is not None:
        return Verdict(Action.HOLD, alarm)
    return Verdict(
        Action.HOLD, f"gain {_percent(gain)} is not proven above {100 * thresholds.min_gain:+.1f} points"
    )


def decide_first(
    *, copy_accuracy: float | None, start_success: float, min_copy_accuracy: float, min_start_success: float
) -> Verdict:
    """Version 0 has no incumbent: promoted when it copies facts and succeeds often enough to learn from.

    `copy_accuracy` is None where the logs hold nothing to examine copying on; success alone decides then.
    """
    copying = "copying not examined" if copy_accuracy is None else f"copy accuracy {copy_accuracy:.3f}"
    if copy_accuracy is not None and not copy_accuracy >= min_copy_accuracy:
        return Verdict(Action.HOLD, f"{copying} is below {min_copy_accuracy:.3f}")
    if not start_success >= min_start_success:
        return Verdict(Action.HOLD, f"start success {start_success:.1%} is below {min_start_success:.1%}")
    return Verdict(Action.PROMOTE, f"{copying}, start success {start_success:.1%}")


def start_doubt(success: float, *, least: float, somebody_speaks: bool) -> str | None:
    """Why the successor of a version 0 that was held may not speak either: it succeeds too seldom, too."""
    if somebody_speaks or success >= least:
        return None
    return f"version 0 was held, and success {success:.1%} is below {least:.1%}, too"


def unjudged(*, heldout: int, remedy: str) -> Verdict:
    """Nobody is there to answer the candidate: it is held, however well it imitates.

    `heldout` counts the logged conversations that it was read against. What was said to another assistant
    does not say what would be said to this one.
    """
    return Verdict(
        Action.HOLD,
        f"no users to judge it: {heldout} held-out logged conversations tell how it imitates, not how it "
        f"would be answered; {remedy}",
    )


def family_doubt(second: Gain | None, *, min_gain: float) -> str | None:
    """Why a gain with the experiment's own users is doubted: it is not proven with a second family of users.

    `second` is None where no pair with those users was scored. None when the gain survives.
    """
    if second is None:
        return "the gain could not be measured with the second family of users: no pair was scored"
    if second.lower > min_gain:
        return None
    needed = f"{100 * min_gain:+.1f} points"
    return f"with the second family of users the gain {_percent(second)} is not proven above {needed}"


def drift_alarm(drift: Drift, thresholds: Thresholds) -> str | None:
    """The first limit that the candidate broke, in words; None when it is healthy."""
    if not drift.kl <= thresholds.max_kl:
        return f"KL to the parent {drift.kl:.3f} nats per token is above {thresholds.max_kl:.3f}"
    if drift.entropy is not None and not drift.entropy >= thresholds.min_entropy:
        return f"entropy {drift.entropy:.3f} nats per token is below {thresholds.min_entropy:.3f}"
    if not drift.failed_share <= thresholds.max_failed_share:
        return f"{drift.failed_share:.1%} of the evaluation failed, above {thresholds.max_failed_share:.1%}"
    return None


def _percent(gain: Gain) -> str:
    interval = f"[{100 * gain.lower:+.1f}, {100 * gain.upper:+.1f}]"
    return f"{100 * gain.mean:+.1f} points {interval} on {gain.pairs} pairs"
