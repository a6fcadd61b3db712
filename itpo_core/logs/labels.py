"""Outcomes that came after their conversations: a row of such a file becomes a label, or says why not."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from itpo_core.logs.order import moment_s
from itpo_core.logs.outcomes import look_up, outcome_of
from itpo_core.logs.parsed import Row, RowRejected, storable
from itpo_core.logs.shapes import name_of
from itpo_core.types import Outcome, Unscored

KEY, OUTCOME, REASON, TIME, TURN, SOURCE = "key", "outcome", "reason", "time", "turn", "source"
NULL = "null outcome"  # what the importer says of a null
_MOST_TURNS = 32_767  # of a conversation in the lake
_TURN_TEXT = re.compile(r"\s*[0-9]{1,9}\s*")  # no more: Python refuses to read thousands of digits
_TRUTHS = {"true": True, "false": False}


class Refusal(StrEnum):
    """Why a row of an outcomes file is no label of a conversation."""

    UNREADABLE = "unreadable"
    MISSING_KEY = "missing_key"
    MISSING_OUTCOME = "missing_outcome"
    BAD_OUTCOME = "bad_outcome"
    BAD_TURN = "bad_turn"
    BAD_TIME = "bad_time"
    BAD_TEXT = "bad_text"
    NO_SUCH_TURN = "no_such_turn"
    AMBIGUOUS_KEY = "ambiguous_key"
    UNMATCHED = "unmatched"


@dataclass(frozen=True, slots=True)
class Refused:
    """A row that is no label, with what to do about it in `detail`."""

    reason: Refusal
    detail: str


@dataclass(frozen=True, slots=True)
class Label:
    """What somebody says about a conversation, or about one of its turns (from 0), and when it was seen."""

    key: str
    outcome: Outcome
    turn_index: int | None = None
    time_s: float | None = None
    source: str | None = None


@dataclass(frozen=True, slots=True)
class Columns:
    """Where a row holds its key and its outcome; dotted names look inside objects."""

    key: str = KEY
    outcome: str = OUTCOME


class _Bad(ValueError):
    def __init__(self, reason: Refusal, detail: str) -> None:
        super().__init__(detail)
        self.refused = Refused(reason, detail)


def label_of(row: Row, columns: Columns, *, is_text: bool = False) -> Label | Refused:
    """The label of a row. `is_text`: every value is text, as in CSV, so "0.5" and "true" are outcomes too.

    An outcome is a number in [0, 1], true or false; null is unknown, for the `reason` beside it. Everything
    else is refused: an outcomes file has nothing else to say.
    """
    try:
        return Label(
            key=_key(row, columns.key),
            outcome=_outcome(row, columns.outcome, is_text=is_text),
            turn_index=_turn(row.get(TURN)),
            time_s=_time_s(row.get(TIME)),
            source=_text(row, SOURCE),
        )
    except _Bad as bad:
        return bad.refused
    except RowRejected as odd:
        return Refused(Refusal.BAD_TEXT, odd.detail)


def _key(row: Row, column: str) -> str:
    found, value = look_up(row, column)
    name = name_of(value)
    if not found or name is None:
        said = f"{column!r} holds {str(value)[:40]!a}" if found else f"there is no {column!r}"
        raise _Bad(Refusal.MISSING_KEY, f"{said}: name the conversation, or another column by --key-column")
    return storable(name, where=column)


def _outcome(row: Row, column: str, *, is_text: bool) -> Outcome:
    found, value = look_up(row, column)
    if not found:
        raise _Bad(Refusal.MISSING_OUTCOME, f"there is no {column!r}: name its column by --outcome-column")
    outcome = outcome_of({column: _number(value) if is_text else value}, column)
    if not isinstance(outcome, Unscored):
        return outcome
    if outcome.reason != NULL:
        raise _Bad(Refusal.BAD_OUTCOME, outcome.reason)
    return Unscored(_text(row, REASON) or NULL)


def _number(value: object) -> object:
    """What a text of a CSV file says, else the text itself."""
    if not isinstance(value, str):
        return value
    text = value.strip().lower()
    if not text:
        return None
    if text in _TRUTHS:
        return _TRUTHS[text]
    if "_" in text:  # to Python 0_1 is a number
        return value
    try:
        return float(text)
    except ValueError:
        return value


def _turn(value: object) -> int | None:
    if value is None or value == "":
        return None
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    is_said = isinstance(value, str) and _TURN_TEXT.fullmatch(value) is not None
    if not (is_whole or is_said) or not 0 <= int(str(value)) <= _MOST_TURNS:
        raise _Bad(Refusal.BAD_TURN, f"{TURN} is {str(value)[:40]!a}: give the number of the answer, from 0")
    return int(str(value))


def _time_s(value: object) -> float | None:
    if value is None or value == "":
        return None
    moment = moment_s(value)
    if moment is None or not math.isfinite(moment):
        raise _Bad(Refusal.BAD_TIME, f"{TIME} is {str(value)[:40]!a}: write it as 2026-05-03T12:00:00Z")
    return moment


def _text(row: Mapping[str, object], name: str) -> str | None:
    value = name_of(row.get(name))
    return None if value is None else storable(value, where=name)
