"""What several labels make of one conversation: one outcome, or none where they contradict each other."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from itpo_core.logs.duplicates import CONTRADICTING, settled
from itpo_core.logs.labels import NULL, Label
from itpo_core.types import Outcome, Scored, Unscored


class Disposition(StrEnum):
    """What becomes of a label that met a conversation."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    CONTRADICTING = "contradicting"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome of a conversation and whose word it is; None where it is as the log has it."""

    outcome: Outcome
    label: Label | None


def disposition(
    label: Label, earlier: Sequence[Label], *, logged: Outcome, newest_wins: bool = False
) -> Disposition:
    """Of a label after those of the same conversation: a repetition, a contradiction, or neither.

    `logged` is what the log itself said. Labels of a turn are held against labels of that turn.
    """
    same = [each for each in earlier if each.turn_index == label.turn_index]
    if any(_says_the_same(each, label) for each in same):
        return Disposition.DUPLICATE
    if label.turn_index is None:
        same = [Label(label.key, logged), *same]
    against = [each for each in same if _differ(each.outcome, label.outcome)]
    is_settled = newest_wins and all(_is_ordered(each, label) for each in against)
    return Disposition.CONTRADICTING if against and not is_settled else Disposition.ACCEPTED


def verdict(logged: Outcome, labels: Sequence[Label], *, newest_wins: bool = False) -> Verdict:
    """A known outcome beats an unknown one. Of different known ones the newest wins, where that is asked for
    and each has a time; else the conversation has none, as where the log contradicts itself.

    Labels of single turns do not count. Without a known outcome the last reason that was given stands.
    """
    said = [label for label in labels if label.turn_index is None]
    known = [label for label in (Label("", logged), *said) if _is_known(label.outcome)]
    if _is_torn(logged) or not said:
        return Verdict(logged, None)
    if not known:
        return _unknown(logged, said)
    outcome = settled([label.outcome for label in known])
    if isinstance(outcome, Unscored):
        newest = _newest(known) if newest_wins else None
        return Verdict(outcome, said[-1]) if newest is None else Verdict(newest.outcome, newest)
    return Verdict(outcome, None if outcome == logged else known[0])


def _says_the_same(one: Label, other: Label) -> bool:
    return (one.outcome, one.time_s) == (other.outcome, other.time_s)


def _unknown(logged: Outcome, labels: Sequence[Label]) -> Verdict:
    given = [label for label in labels if label.outcome != Unscored(NULL)]
    return Verdict(given[-1].outcome, given[-1]) if given else Verdict(logged, None)


def _newest(known: Sequence[Label]) -> Label | None:
    """The newest; None where one has no time, or two of the last moment differ."""
    if any(each.time_s is None for each in known):
        return None
    last = max(known, key=_moment_s)
    is_disputed = any(each.time_s == last.time_s and each.outcome != last.outcome for each in known)
    return None if is_disputed else last


def _is_known(outcome: Outcome) -> bool:
    return isinstance(outcome, Scored)


def _is_torn(outcome: Outcome) -> bool:
    """Whether the log said two things of the conversation."""
    return isinstance(outcome, Unscored) and outcome.reason.startswith(CONTRADICTING)


def _differ(one: Outcome, other: Outcome) -> bool:
    return _is_known(other) and (_is_torn(one) or (_is_known(one) and one != other))


def _is_ordered(one: Label, other: Label) -> bool:
    return one.time_s is not None and other.time_s is not None and one.time_s != other.time_s


def _moment_s(label: Label) -> float:
    return float("-inf") if label.time_s is None else label.time_s
