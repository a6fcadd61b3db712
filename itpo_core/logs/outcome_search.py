"""Which columns of a log may hold outcomes: for a person who named one that no row has. Pure."""

import math
from collections.abc import Iterable, Iterator, Mapping
from difflib import SequenceMatcher

from itpo_core.logs.parsed import Row


def like_outcomes(rows: Iterable[Row], *, asked: str) -> list[str]:
    """Columns, by their dotted path, all of whose values are outcomes or null; the most similar name first.

    Numbers from 0 to 1, true and false are outcomes. What lies in lists (messages) is of turns and left out.
    """
    fit: dict[str, bool] = {}
    for row in rows:
        for path, value in _values(row):
            if value is not None:
                fit[path] = fit.get(path, True) and _is_outcome(value)
    return sorted((path for path, fits in fit.items() if fits), key=lambda path: (-_alike(path, asked), path))


def _values(row: Mapping[str, object], before: str = "") -> Iterator[tuple[str, object]]:
    for name, value in row.items():
        if isinstance(value, Mapping):
            yield from _values(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value


def _is_outcome(value: object) -> bool:
    if not isinstance(value, int | float):
        return False
    return not math.isnan(value) and 0 <= value <= 1


def _alike(path: str, asked: str) -> float:
    """How similar the names are, with or without the objects that they lie in."""
    last = path.rpartition(".")[2]
    return max(SequenceMatcher(None, each.lower(), asked.lower()).ratio() for each in (path, last))
