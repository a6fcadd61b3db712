"""Which parsed conversations are kept when a log says the same thing twice, or two things under one id."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from itpo_core.logs.parsed import ParsedConversation, Rejected, RejectReason
from itpo_core.types import Outcome, Scored, Unscored

CONTRADICTING = "contradicting outcomes"  # what the reason begins with


@dataclass(frozen=True, slots=True)
class Body:
    """What equal conversations have in common."""

    logged_id: str | None
    digest: str


@dataclass(frozen=True, slots=True)
class Said:
    """What tells a conversation from others: what is said, as a digest, where, and with what outcome."""

    source: str
    rows: tuple[int, ...]
    body: Body
    outcome: Outcome
    id_scope: str = ""  # ids mean the same conversation within it: a format, or one file of it


@dataclass(frozen=True)
class Sourced:
    """A parsed conversation and the file that it came from."""

    source: str
    conversation: ParsedConversation
    id_scope: str = ""

    @cached_property
    def body(self) -> Body:
        """Kept once it was asked for: the digest is not cheap."""
        return Body(self.conversation.logged_id, self.conversation.body_digest)

    @property
    def said(self) -> Said:
        """What is remembered of it."""
        return Said(self.source, self.conversation.rows, self.body, self.conversation.outcome, self.id_scope)


@dataclass(frozen=True, slots=True)
class LateOutcome:
    """A conversation whose repetitions say another outcome than it said itself."""

    body: Body
    first: Outcome
    settled: Outcome


@dataclass(slots=True)
class _Seen:
    source: str
    row: int
    outcome: Outcome
    later: list[Outcome] = field(default_factory=list)


class Duplicates:
    """Keeps the first of equal conversations; refuses another body under an id that is taken.

    Equal means the same id, messages and metadata. When equal conversations carry different outcomes, a
    known outcome beats an unknown one (a late label), and two different known ones leave the conversation
    unscored. Conversations are taken one by one, and of each only its digest is remembered.
    """

    def __init__(self) -> None:
        self._seen: dict[Body, _Seen] = {}
        self._by_id: dict[tuple[str, str], _Seen] = {}

    def take(self, said: Said) -> Rejected | None:
        """None when it is kept, else why not."""
        body = said.body
        if body in self._seen:
            first = self._seen[body]
            first.later.append(said.outcome)
            return Rejected(said.rows, RejectReason.DUPLICATE, f"repeats {_place(first)}")
        named = None if body.logged_id is None else (said.id_scope, body.logged_id)
        if named is not None and named in self._by_id:
            detail = (
                f"the id {str(body.logged_id)[:60]!a} is taken by {_place(self._by_id[named])}, "
                "which says something else"
            )
            return Rejected(said.rows, RejectReason.REUSED_ID, detail)
        self._seen[body] = _Seen(said.source, said.rows[0], said.outcome)
        if named is not None:
            self._by_id[named] = self._seen[body]
        return None

    def late_outcomes(self) -> Iterator[LateOutcome]:
        """Of the conversations that were kept, those whose outcome is another by now."""
        for body, seen in self._seen.items():
            final = settled([seen.outcome, *seen.later])
            if final != seen.outcome:
                yield LateOutcome(body, seen.outcome, final)


def settled(outcomes: Sequence[Outcome]) -> Outcome:
    """One of several: a known one beats unknown ones; known ones that contradict leave it unknown."""
    scored = {outcome.value: outcome for outcome in outcomes if isinstance(outcome, Scored)}
    if len(scored) > 1:
        return Unscored(f"{CONTRADICTING}: {', '.join(f'{value:g}' for value in scored)}")
    return next(iter(scored.values()), outcomes[0])


def _place(seen: _Seen) -> str:
    return f"row {seen.row} of {seen.source}"
