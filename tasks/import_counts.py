"""What became of the rows of an import, counted as they come: accepted + quarantined + duplicate = read."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from itpo_core.logs.parsed import Rejected
from itpo_core.types import Outcome, Unscored


@dataclass(frozen=True, slots=True)
class ImportCounts:
    """Log rows by what became of them, and why; a damaged stretch of a file counts as one row.

    `read` is the sum of the other three row counts. `reasons`, `unscored` and `notes` count the rows that are
    not accepted, the conversations without an outcome, and peculiarities that were kept; `personal`
    the places of personal data by kind, in what was accepted (masked) or refused for them.
    """

    read: int
    accepted: int
    quarantined: int
    duplicate: int
    conversations: int
    turns: int
    reasons: Mapping[str, int]
    unscored: Mapping[str, int]
    notes: Mapping[str, int]
    personal: Mapping[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class Tally:
    """The counts so far."""

    accepted: int = 0
    conversations: int = 0
    turns: int = 0
    dispositions: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    unscored: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    personal: Counter[str] = field(default_factory=Counter)

    def accept(self, outcome: Outcome, *, rows: int, turns: int, notes: Sequence[str]) -> None:
        """Count a conversation that is kept."""
        self.accepted += rows
        self.conversations += 1
        self.turns += turns
        self.notes.update(notes)
        self._score(outcome, 1)

    def reject(self, rejected: Rejected) -> None:
        """Count rows that are not accepted."""
        self.dispositions[rejected.reason.disposition] += len(rejected.rows)
        self.reasons[rejected.reason.value] += len(rejected.rows)

    def correct(self, first: Outcome, settled: Outcome) -> None:
        """An accepted conversation has another outcome than it was counted with."""
        self._score(first, -1)
        self._score(settled, 1)

    def counts(self) -> ImportCounts:
        """What there is, without the names that count nothing."""
        quarantined, duplicate = self.dispositions["quarantined"], self.dispositions["duplicate"]
        return ImportCounts(
            read=self.accepted + quarantined + duplicate,
            accepted=self.accepted,
            quarantined=quarantined,
            duplicate=duplicate,
            conversations=self.conversations,
            turns=self.turns,
            reasons=+self.reasons,
            unscored=+self.unscored,
            notes=+self.notes,
            personal=+self.personal,
        )

    def _score(self, outcome: Outcome, count: int) -> None:
        if isinstance(outcome, Unscored):
            # By what stands before the colon; the offending values come after it.
            self.unscored[outcome.reason.partition(":")[0]] += count


def listed(counted: Mapping[str, int]) -> str:
    """Counts by name as one text, in order of the names."""
    return ", ".join(f"{name} {count}" for name, count in sorted(counted.items()))
