"""Rows out of JSON text that may be damaged: what cannot be read is handed over, never skipped."""

import json
import re
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass

MAX_RAW_CHARACTERS = 65_536
_DECODER = json.JSONDecoder()
_NOT_SPACE = re.compile(r"\S|$")


@dataclass(frozen=True, slots=True)
class BadRow:
    """A stretch of a log file that is not a row: what is wrong with it, and its text as far as it is kept."""

    reason: str
    raw: str


Item = dict[str, object] | BadRow


def bad_row(reason: str, raw: str) -> BadRow:
    """A bad row whose text can be stored: damaged characters escaped, the length limited."""
    text = raw.encode("utf-8", "backslashreplace").decode()
    more = len(text) - MAX_RAW_CHARACTERS
    return BadRow(reason, text if more <= 0 else f"{text[:MAX_RAW_CHARACTERS]}… and {more} more characters")


def json_lines(lines: Iterable[bytes]) -> Iterator[tuple[int, Item]]:
    """One row per line, numbered by line from 1; blank lines are no rows."""
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield number, _line(line.decode("utf-8", "surrogateescape"))


def json_list(data: bytes) -> Iterator[tuple[int, Item]]:
    """The elements of one JSON list, numbered from 1.

    After a damaged stretch reading goes on at the next object that has the keys of a row; all between is one
    bad row. Without an earlier row, the longest object that can be read says what a row looks like.
    """
    # Bytes that are no UTF-8 become lone surrogates here, so that they spoil their own row only.
    text = data.decode("utf-8", "surrogateescape").removeprefix("\ufeff")
    return enumerate(_elements(text), start=1)


def _line(line: str) -> Item:
    text = line.removeprefix("\ufeff").strip()
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        return bad_row(f"not JSON: {_short(error)}", text)
    return _row(value, text)


def _row(value: object, text: str) -> Item:
    if not isinstance(value, dict):
        return bad_row(f"the row is a {type(value).__name__}, not an object", text)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return bad_row(f"not UTF-8 at character {error.start} of the row", text)
    return value


def _elements(text: str) -> Iterator[Item]:
    shapes: set[frozenset[str]] = set()
    position, damage = _after(text, 0, "[")
    while True:
        if damage is not None:
            start, position = position, _next_row(text, position, shapes)
            yield bad_row(damage, text[start:position])
            if position == len(text):
                return
        position = _skip_space(text, position)
        if text.startswith("]", position):
            break
        value, end, damage = _decode(text, position)
        if damage is None:
            row = _row(value, text[position:end])
            shapes |= {frozenset(row)} if isinstance(row, dict) else set()
            yield row
            position, damage = _after(text, end, ",]")
    if text[position + 1 :].strip():
        yield bad_row("text after the end of the list", text[position + 1 :])


def _after(text: str, position: int, expected: str) -> tuple[int, str | None]:
    """Step over one separator (a closing bracket is left in place), or say what is wrong here."""
    found = _skip_space(text, position)
    character = text[found : found + 1]
    if not character or character not in expected:
        return position, f"{' or '.join(expected)} is missing before {text[found : found + 20]!a}"
    return found + (character != "]"), None


def _decode(text: str, position: int) -> tuple[object, int, str | None]:
    try:
        value, end = _DECODER.raw_decode(text, position)
    except (ValueError, RecursionError) as error:
        return None, position, f"not JSON: {_short(error)}"
    return value, end, None


def _next_row(text: str, position: int, shapes: Set[frozenset[str]]) -> int:
    """Where the next object with the keys of a row starts; the end of the text when there is none."""
    wanted = shapes or _shape_of_longest(text, position)
    found = (start for start, _, value in _objects(text, position) if frozenset(value) in wanted)
    return next(found, len(text))


def _shape_of_longest(text: str, position: int) -> Set[frozenset[str]]:
    sizes = ((end - start, frozenset(value)) for start, end, value in _objects(text, position))
    return {max(sizes, key=lambda sized: sized[0], default=(0, frozenset[str]()))[1]}


def _objects(text: str, position: int) -> Iterator[tuple[int, int, dict[str, object]]]:
    """Every outermost object that can be read from here on, with its span."""
    start = text.find("{", position)
    while start >= 0:
        value, end, damage = _decode(text, start)
        if damage is None and isinstance(value, dict):
            yield start, end, value
        start = text.find("{", max(end, start + 1))


def _skip_space(text: str, position: int) -> int:
    match = _NOT_SPACE.search(text, position)
    return match.start() if match else len(text)


def _short(error: Exception) -> str:
    return str(error)[:120] or type(error).__name__
