"""The format of every log file: the one that was named, or the one that alone claims its rows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from itpo_core.logs.detection import Claims, claims_of
from itpo_core.logs.formats import LOG_FORMATS
from itpo_core.logs.parsed import Row
from tasks.config import ConfigError
from tasks.import_counts import listed

if TYPE_CHECKING:
    from storage.json_rows import BadRow

AUTO = "auto"
LOOKED_AT = 64  # rows at the beginning of a file


class UnknownLogFormat(ConfigError):
    """No format claims the rows of a file, or several do: nothing is guessed."""


@dataclass(frozen=True, slots=True)
class Found:
    """The format of one file, and why it is that one."""

    format: str
    why: str


def formats_of(asked: str, paths: Sequence[Path]) -> list[Found]:
    """The format of each file. Raises UnknownLogFormat, and LogFileError for a file that cannot be opened."""
    return [Found(asked, "named") if asked != AUTO else _detected(path) for path in paths]


def summary(found: Sequence[Found]) -> str:
    """Every format with its reasons, each said once."""
    said = dict.fromkeys(f"{each.format}: {each.why}" for each in found)
    return f"({'; '.join(said)})"


def _detected(path: Path) -> Found:
    claims = claims_of(islice(_rows(path), LOOKED_AT))
    if claims.only is None:
        raise UnknownLogFormat(_refusal(path, claims))
    count = claims.by_format[claims.only]
    return Found(claims.only, f"it alone claims {count} of the first {claims.rows} rows")


def _rows(path: Path) -> Iterator[Row]:
    from storage.json_rows import BadRow
    from storage.log_files import read_rows

    # Damage counts among the rows that are looked at, so that a damaged file is not read to its end.
    for _, item in islice(read_rows(path), LOOKED_AT):
        if not isinstance(item, BadRow):
            yield item


def _damage(path: Path) -> "Iterator[BadRow]":
    from storage.json_rows import BadRow
    from storage.log_files import read_rows

    return (item for _, item in islice(read_rows(path), LOOKED_AT) if isinstance(item, BadRow))


def _refusal(path: Path, claims: Claims) -> str:
    remedy = f"name it with --format, one of {', '.join(LOG_FORMATS)} (docs/real-logs.md shows their rows)"
    if claims.by_format:
        return f"{path}: rows are claimed by several formats ({listed(claims.by_format)}); {remedy}"
    if not claims.rows:
        why = next((f" ({each.reason})" for each in _damage(path)), "")
        return f"{path}: no readable row{why}, so no format is found; give a file that holds conversations"
    return f"{path}: none of its first {claims.rows} readable rows is of a known format; {remedy}"
