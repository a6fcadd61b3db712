"""Rows of outcomes files on their way to the conversations that they are about, every row accounted."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from itpo_core.logs.labels import Columns, Label, Refusal, Refused, label_of
from itpo_core.logs.settling import Disposition, disposition, verdict
from itpo_core.types import Outcome, Unscored
from tasks.config import Outcomes
from tasks.label_rows import TOLD, Known, label_row
from tasks.log_privacy import Privacy
from tasks.records import Row, outcome_columns

if TYPE_CHECKING:
    from storage.json_rows import Item


@dataclass(slots=True)
class Joined:
    """The rows of one joining: accepted + duplicate + contradicting in `told`, the others in `refused`."""

    told: list[Row] = field(default_factory=list)
    refused: list[Row] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)


class Joining:
    """One joining: what is known so far, and how the files are read."""

    def __init__(self, known: Known, settings: Outcomes, *, privacy: Privacy, newest_wins: bool) -> None:
        self._known = known
        self._settings = settings
        self._columns = Columns(settings.key_column, settings.outcome_column)
        self._privacy = privacy
        self._newest_wins = newest_wins

    def read(self, files: Mapping[Path, str]) -> Joined:
        """All rows of all files, in order."""
        from storage.outcome_files import is_csv, read_outcome_rows

        joined = Joined()
        for path, name in files.items():
            for number, item in read_outcome_rows(path):
                self._take(joined, item, place=(name, number), is_text=is_csv(path))
        return joined

    def changes(self) -> dict[str, Row]:
        """By conversation, its columns that are others by now."""
        found = {name: self._verdict(name, labels) for name, labels in self._known.labels.items()}
        return {name: columns for name, columns in found.items() if columns is not None}

    def _verdict(self, conversation: str, labels: Sequence[Label]) -> Row | None:
        logged = self._known.logged.get(conversation)
        if logged is None:  # it was forgotten
            return None
        found = verdict(logged, labels, newest_wins=self._newest_wins)
        if found.label is None:
            return None
        return {**outcome_columns(found.outcome), "judge_version": f"{TOLD}{found.label.source}"}

    def _take(self, joined: Joined, item: "Item", *, place: tuple[str, int], is_text: bool) -> None:
        label = self._label(item, is_text=is_text)
        found = label if isinstance(label, Refused) else self._known.match(label, key=self._settings.key)
        row: Row = {"source_file": place[0], "source_row": place[1]}
        if isinstance(label, Label) and isinstance(found, str):
            what, told = self._met(label, found, source=place[0])
            raw = None if what is Disposition.ACCEPTED else self._privacy.raw(item, masks=None)
            joined.told.append({**row, **told, "raw": raw})
            joined.counts[what.value] += 1
            joined.counts["of_turns"] += label.turn_index is not None
        elif isinstance(found, Refused):
            reason = f"{found.reason.value}: {self._privacy.reason(found.detail)}"
            raw = self._privacy.raw(item, masks=None)
            joined.refused.append({**row, "disposition": "quarantined", "reason": reason, "raw": raw})
            joined.counts["unmatched" if found.reason is Refusal.UNMATCHED else "refused"] += 1
            joined.reasons[found.reason.value] += 1

    def _label(self, item: "Item", *, is_text: bool) -> Label | Refused:
        from storage.json_rows import BadRow

        if isinstance(item, BadRow):
            return Refused(Refusal.UNREADABLE, item.reason)
        return label_of(item, self._columns, is_text=is_text)

    def _met(self, label: Label, conversation: str, *, source: str) -> tuple[Disposition, Row]:
        """A label of a conversation: what becomes of it, and its row."""
        label = replace(
            label, outcome=self._kept(label.outcome), source=self._privacy.text(label.source or source)
        )
        earlier = self._known.labels.setdefault(conversation, [])
        what = disposition(
            label, earlier, logged=self._known.logged[conversation], newest_wins=self._newest_wins
        )
        earlier.append(label)
        return what, {"conversation_id": conversation, **label_row(label, what)}

    def _kept(self, outcome: Outcome) -> Outcome:
        return Unscored(self._privacy.text(outcome.reason)) if isinstance(outcome, Unscored) else outcome
