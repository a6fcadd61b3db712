"""Looking into log rows of any shape without trusting them: what is not there is None or empty."""

import json
from collections.abc import Mapping, Sequence

from itpo_core.logs.parsed import RejectReason, Row, RowRejected

Json = dict[str, object]


def mapping(value: object) -> Mapping[str, object]:
    """The value when it is an object, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def listing(value: object) -> Sequence[object]:
    """The value when it is a list, else an empty one."""
    return value if isinstance(value, list | tuple) else ()


def filled(value: object) -> Mapping[str, object]:
    """An object without its nulls, which Parquet writes for every key that some other row has."""
    return {name: inner for name, inner in mapping(value).items() if inner is not None}


def first(value: object) -> Mapping[str, object]:
    """The first element of a list when it is an object, else an empty one."""
    listed = listing(value)
    return mapping(listed[0]) if listed else {}


def either(row: Mapping[str, object], *names: str) -> object:
    """The value of the first of these keys that the row has and that is not null."""
    return next((row[name] for name in names if row.get(name) is not None), None)


def decoded(value: object) -> object:
    """Exports keep objects as JSON text: what it says, or the text itself when it is no JSON."""
    if not isinstance(value, str) or not value.lstrip().startswith(("{", "[", '"')):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def encoded(value: object) -> str:
    """Text as it is, nothing as nothing, anything else as JSON."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value, ensure_ascii=False, default=str)
    except (ValueError, TypeError, RecursionError) as error:
        detail = f"a value that is not expressible as JSON ({error})"
        raise RowRejected(RejectReason.CONTENT_NOT_TEXT, detail) from None


def name_of(value: object) -> str | None:
    """An id or a name as text; None for nothing, an empty text, and what is no id."""
    if isinstance(value, bool) or value is None or value == "":
        return None
    return str(value) if isinstance(value, str | int | float) else None


def chosen(row: Mapping[str, object], *names: str) -> Json:
    """Of the row only these keys, as far as it has them."""
    return {name: row[name] for name in names if row.get(name) is not None}


def metadata_of(value: object) -> Json:
    """What somebody gave a record to be known by (a ticket, a case, an order), without its nulls."""
    return dict(filled(decoded(value)))


def required(row: Row, *names: str) -> tuple[object, ...]:
    """The values of these keys. Raises RowRejected when the row lacks one."""
    missing = [name for name in names if name not in row]
    if missing:
        keys = ", ".join(sorted(map(str, row)))[:200]
        raise RowRejected(
            RejectReason.MISSING_MESSAGES, f"the row has no `{missing[0]}`; its keys are: {keys}"
        )
    return tuple(row[name] for name in names)
