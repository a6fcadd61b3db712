"""The outcome column that a person named, looked for before anything is committed."""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from itpo_core.logs.outcome_search import like_outcomes
from itpo_core.logs.parsed import Row
from tasks.config import Config, ConfigError
from tasks.import_counts import ImportCounts
from tasks.log_batches import LogFile, batches_of
from tasks.log_detection import Found
from tasks.log_intake import DEFAULT_OUTCOME_COLUMN, source_names

NO_OUTCOMES = ("outcome is not a number", "outcome out of range", "outcome is NaN")  # and not null
LOOKED_AT = 256  # records of each file
SUGGESTED = 6


class UnknownOutcomeColumn(ConfigError):
    """Not one conversation has the outcome column that was named; nothing is committed."""


def check_outcome_column(
    config: Config, counts: ImportCounts, *, paths: Sequence[Path], found: Sequence[Found]
) -> None:
    """Raise UnknownOutcomeColumn where a column was named that not one conversation of the import has.

    The default names none: logs without outcomes are logs too.
    """
    asked = config.logs.outcome_column
    absent = counts.unscored.get("no outcome column", 0)
    if asked == DEFAULT_OUTCOME_COLUMN or absent < counts.conversations:
        return
    fit = like_outcomes(_rows(paths, found), asked=asked) if paths else [DEFAULT_OUTCOME_COLUMN]
    where = ", ".join(map(str, paths)) or "scripted logs"
    numbers = "numbers from 0 to 1, or true and false"
    named = (
        f"{', '.join(fit[:SUGGESTED])} hold {numbers}: name one with --outcome-column (logs.outcome_column)"
    )
    raise UnknownOutcomeColumn(
        f"not one of {counts.conversations} conversations has the outcome column {asked!r}; nothing is "
        f"committed. In {where} {named if fit else f'no column holds {numbers}'}. To import without outcomes "
        "leave it out; `itpo outcomes` joins those that come later"
    )


def doubts(counts: ImportCounts) -> dict[str, str]:
    """What a person should look at who imported outcomes that are none; nothing where there are no such."""
    bad = sum(counts.unscored.get(reason, 0) for reason in NO_OUTCOMES)
    if not bad:
        return {}
    scored = counts.conversations - sum(counts.unscored.values())
    is_scale = bool(scored and counts.unscored.get("outcome out of range"))
    said = f"{bad} of {counts.conversations} are no number from 0 to 1, nor true or false"
    scale = (
        f"; if they are on another scale, the {scored} that count as scored are wrong too" if is_scale else ""
    )
    remedy = (
        "write them so and import under another name, or leave them out and join them with `itpo outcomes`"
    )
    return {"outcomes": f"({said}{scale}: {remedy})"}


def _rows(paths: Sequence[Path], found: Sequence[Found]) -> Iterator[Row]:
    from storage.json_rows import BadRow

    for path, source, each in zip(paths, source_names(paths), found, strict=True):
        (batch,) = batches_of([LogFile(path, source, each.format, DEFAULT_OUTCOME_COLUMN)])
        for _, item in islice(batch.records(), LOOKED_AT):
            if not isinstance(item, BadRow):
                yield item
