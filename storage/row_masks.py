"""Which rows of a text column are meant: masks over rows, False for nulls."""

from collections.abc import Collection

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def is_among(column: pa.ChunkedArray, values: Collection[str]) -> np.ndarray:
    """Rows whose text is one of these."""
    return np.array([value in values for value in column.to_pylist()], dtype=bool)


def contains(column: pa.ChunkedArray, text: str) -> np.ndarray:
    """Rows whose text holds this one somewhere."""
    found = pc.call_function("match_substring", [column], pc.MatchSubstringOptions(text))
    return pc.fill_null(found, False).to_numpy().astype(bool)
