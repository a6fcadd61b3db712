"""Who spoke with the assistant, as far as a log says so: what `forget --user` later looks for."""

import math

from itpo_core.logs.outcomes import look_up
from itpo_core.logs.parsed import Note, Row, storable

DEFAULT_USER_COLUMN = "user"
_USUAL_PLACES = ("user", "user_id", "metadata.user", "metadata.user_id")


def user_of(row: Row, column: str) -> tuple[str | None, tuple[Note, ...]]:
    """The user in `column`, which may be a dotted path, and what was unusual about it; None where none is.

    The default column means the first of the places where OpenAI-style logs have a user that is not empty.
    Whole numbers become text. Anything else (an object, a list) is no id: None, and noted.
    """
    places = _USUAL_PLACES if column == DEFAULT_USER_COLUMN else (column,)
    values = [value for found, value in (look_up(row, place) for place in places) if found]
    given = [value for value in values if not _is_empty(value)]
    user = _text(given[0]) if given else None
    return user, () if user is not None or not given else (Note.USER_UNREADABLE,)


def _is_empty(value: object) -> bool:
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def _text(value: object) -> str | None:
    if isinstance(value, str):
        return storable(value, where="user")
    if isinstance(value, float) and value.is_integer():  # a column of whole numbers that lacks some
        value = int(value)
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None
