"""What log rows are in quarantine: kept beside a conversation until it is known whether it is refused."""

import pickle
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from itpo_core.logs.parsed import Rejected
from itpo_core.logs.personal_data_masks import Masks
from tasks.log_privacy import Privacy
from tasks.logged_rows import quarantine_rows
from tasks.records import Row

if TYPE_CHECKING:
    from storage.json_rows import Item


@dataclass(frozen=True, slots=True)
class RawRows:
    """The rows of one conversation as (file, place, row), and what was found in it that is not to be kept."""

    rows: "tuple[tuple[str, int, Item], ...]"
    masks: Masks | None = None


Raw = RawRows | bytes  # packed, they go to another process without being looked at there


def packed(raw: RawRows) -> Raw:
    """The same as bytes: opening them costs, and hardly any are ever opened."""
    return pickle.dumps(raw, pickle.HIGHEST_PROTOCOL)


def as_it_is(raw: RawRows) -> Raw:
    """For who stays in this process."""
    return raw


def refused_rows(rejected: Rejected, raw: Raw, *, privacy: Privacy) -> list[Row]:
    """Rows of `quarantine`, one for every log row of what was refused."""
    opened: RawRows = pickle.loads(raw) if isinstance(raw, bytes) else raw
    return [
        row
        for source, place, item in opened.rows
        for row in quarantine_rows(
            source, replace(rejected, rows=(place,)), raw={place: privacy.raw(item, masks=opened.masks)}
        )
    ]
