"""What two commits of one key differ in, in words: of JSON documents the entries that are others. Pure."""

import json
from collections.abc import Iterator, Mapping
from itertools import takewhile

SHOWN = 100  # characters of a value: a digest is shown whole
BEFORE = 20  # of these, what stands before the place where two long values part
LISTED = 12  # entries of one document
ABSENT = "nothing"  # an entry that one of two documents has not


def differences(found: Mapping[str, str], wanted: Mapping[str, str]) -> str:
    """`seed: committed '0', now '5'; train.epochs: committed 1, now 2`; empty where nothing differs.

    Short values are whole. Of long ones the stretch is shown in which they part.
    """
    names = [name for name in sorted({*found, *wanted}) if found.get(name) != wanted.get(name)]
    return "; ".join(_difference(name, found.get(name), wanted.get(name)) for name in names)


def _difference(name: str, committed: str | None, now: str | None) -> str:
    documents = (_document(committed), _document(now))
    if None in documents:
        return _told(name, repr(committed), repr(now))
    before, after = (dict(_leaves(name, each)) for each in documents)
    paths = [path for path in {**before, **after} if before.get(path) != after.get(path)]
    if not paths:  # the same value, written in another way
        return _told(name, repr(committed), repr(now))
    told = [_told(path, before.get(path, ABSENT), after.get(path, ABSENT)) for path in paths[:LISTED]]
    more = len(paths) - len(told)
    return "; ".join([*told, *([f"and {more} more of {name}"] if more else [])])


def _document(text: str | None) -> object:
    """What a JSON object or list says; None for every other text."""
    if text is None or not text.startswith(("{", "[")):
        return None
    try:
        return json.loads(text)
    except ValueError:
        return None


def _leaves(path: str, value: object) -> Iterator[tuple[str, str]]:
    """Every entry of a document by its path, as JSON; an empty part is an entry itself."""
    if isinstance(value, dict) and value:
        for name in sorted(value):
            yield from _leaves(f"{path}.{name}", value[name])
    elif isinstance(value, list) and any(isinstance(each, dict | list) for each in value):
        for place, each in enumerate(value):
            yield from _leaves(f"{path}[{place}]", each)
    else:
        yield path, json.dumps(value, ensure_ascii=False)


def _told(path: str, committed: str, now: str) -> str:
    same = len(list(takewhile(lambda pair: pair[0] == pair[1], zip(committed, now, strict=False))))
    start = max(0, same - BEFORE)
    return f"{path}: committed {_shortened(committed, start)}, now {_shortened(now, start)}"


def _shortened(text: str, start: int) -> str:
    if len(text) <= SHOWN:
        return text
    start = min(start, len(text) - SHOWN)
    end = start + SHOWN
    return (
        f"{'…' if start else ''}{text[start:end]}{f'… ({len(text)} characters)' if end < len(text) else ''}"
    )
