"""From the outcome column of a log to an outcome: a number in [0, 1], or unscored with the reason."""

import math
from collections.abc import Mapping

from itpo_core.types import Outcome, Scored, Unscored


def outcome_of(row: Mapping[str, object], column: str) -> Outcome:
    """The outcome in `column`, which may be a dotted path (`metadata.score`).

    True and false count as 1 and 0. Missing, null, NaN, infinite, textual and out-of-range values are
    unscored; the reason starts with a short name and, after a colon, gives the value.
    """
    found, value = look_up(row, column)
    if not found:
        return Unscored(f"no outcome column: {column!r} is not among {', '.join(sorted(map(str, row)))}")
    return _score(value)


def look_up(row: Mapping[str, object], column: str) -> tuple[bool, object]:
    """Whether the row has the column, which may be a dotted path, and its value."""
    if column in row:
        return True, row[column]
    head, dot, rest = column.partition(".")
    inner = row.get(head)
    return look_up(inner, rest) if dot and isinstance(inner, Mapping) else (False, None)


def _score(value: object) -> Outcome:
    if value is None:
        return Unscored("null outcome")
    if not isinstance(value, int | float):
        return Unscored(f"outcome is not a number: {str(value)[:80]!a}")
    if isinstance(value, float) and math.isnan(value):
        return Unscored("outcome is NaN")
    if not 0 <= value <= 1:
        return Unscored(f"outcome out of range: {str(value)[:40]} is not in [0, 1]")
    return Scored(float(value))
