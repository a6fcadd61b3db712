"""Which parsed conversations are kept when a log says the same thing twice, or two things under one id."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from itpo_core.logs.parsed import ParsedConversation, Rejected, RejectReason
from itpo_core.types import Outcome, Scored, Unscored


@dataclass(frozen=True, slots=True)
class Sourced:
    """A parsed conversation and the file that it came from."""

    source: str
    conversation: ParsedConversation


@dataclass(frozen=True, slots=True)
class Settled:
    """What is kept, in order, and what is not, each with its file."""

    kept: list[Sourced]
    rejected: list[tuple[str, Rejected]]


@dataclass(slots=True)
class _Seen:
    first: Sourced
    outcomes: list[Outcome] = field(default_factory=list)


def settle(found: Sequence[Sourced], *, ids_span_files: bool) -> Settled:
    """Keep the first of equal conversations; refuse another body under an id that is taken.

    Equal means the same id, messages and metadata. When equal conversations carry different outcomes, a
    known outcome beats an unknown one (a late label), and two different known ones leave the conversation
    unscored. `ids_span_files` says whether an id means the same conversation in every file.
    """
    seen: dict[tuple[str | None, str], _Seen] = {}
    by_id: dict[tuple[str, str], Sourced] = {}
    rejected: list[tuple[str, Rejected]] = []
    for item in found:
        refusal = _take(item, seen, by_id, scope="" if ids_span_files else item.source)
        if refusal is not None:
            rejected.append((item.source, refusal))
    return Settled([_with_one_outcome(entry) for entry in seen.values()], rejected)


def _take(
    item: Sourced,
    seen: dict[tuple[str | None, str], _Seen],
    by_id: dict[tuple[str, str], Sourced],
    *,
    scope: str,
) -> Rejected | None:
    parsed = item.conversation
    body = (parsed.logged_id, parsed.body_digest)
    if body in seen:
        seen[body].outcomes.append(parsed.outcome)
        return Rejected(parsed.rows, RejectReason.DUPLICATE, f"repeats {_place(seen[body].first)}")
    if parsed.logged_id is not None and (scope, parsed.logged_id) in by_id:
        first = _place(by_id[scope, parsed.logged_id])
        detail = f"the id {parsed.logged_id[:60]!a} is taken by {first}, which says something else"
        return Rejected(parsed.rows, RejectReason.REUSED_ID, detail)
    seen[body] = _Seen(item, [parsed.outcome])
    if parsed.logged_id is not None:
        by_id[scope, parsed.logged_id] = item
    return None


def _with_one_outcome(entry: _Seen) -> Sourced:
    scored = {outcome.value: outcome for outcome in entry.outcomes if isinstance(outcome, Scored)}
    if len(scored) > 1:
        values = ", ".join(f"{value:g}" for value in scored)
        outcome: Outcome = Unscored(f"contradicting outcomes: {values}")
    else:
        outcome = next(iter(scored.values()), entry.outcomes[0])
    return replace(entry.first, conversation=replace(entry.first.conversation, outcome=outcome))


def _place(item: Sourced) -> str:
    return f"row {item.conversation.rows[0]} of {item.source}"
