"""MTMedDialog: one row per doctor turn, `{prompt: messages so far, response, reward_model, ...}`.

A conversation is rebuilt by following the histories: a row continues the conversation whose last doctor turn
is the last one of its prompt. This holds for interleaved rows too, and where earlier rows are lost.
The set has no outcome, so its conversations are unscored.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from itpo_core.logs.messages import ParsedMessages, parse_messages
from itpo_core.logs.outcomes import outcome_of
from itpo_core.logs.parsed import (
    Note,
    Parsed,
    ParsedConversation,
    Rejected,
    RejectReason,
    Row,
    RowRejected,
    canonical,
    storable,
)
from itpo_core.logs.users import DEFAULT_USER_COLUMN, user_of
from itpo_core.types import Message, Outcome, Role


@dataclass(slots=True)
class _Draft:
    """A conversation that grows: its newest row's whole history, and the turns that rows vouch for."""

    parsed: ParsedMessages
    turns: list[str]
    outcome: Outcome
    facts: str
    user: str | None
    user_notes: tuple[Note, ...]
    row_of_turn: dict[str, int] = field(default_factory=dict)


def parse(
    rows: Iterable[tuple[int, Row]], *, outcome_column: str, user_column: str = DEFAULT_USER_COLUMN
) -> Iterator[Parsed]:
    """Rejected rows as they come, then the rebuilt conversations in the order of their first rows."""
    drafts: list[_Draft] = []
    by_turn: dict[str, _Draft] = {}
    for number, row in rows:
        try:
            rejected = _place(drafts, by_turn, number, _draft(row, outcome_column, user_column))
        except RowRejected as error:
            rejected = Rejected((number,), error.reason, error.detail)
        if rejected is not None:
            yield rejected
    yield from (_finished(draft) for draft in drafts)


def _draft(row: Row, outcome_column: str, user_column: str) -> _Draft:
    missing = [name for name in ("prompt", "response") if name not in row]
    if missing:
        keys = ", ".join(sorted(map(str, row)))[:200]
        raise RowRejected(
            RejectReason.MISSING_MESSAGES, f"the row has no `{missing[0]}`; its keys are: {keys}"
        )
    prompt = row["prompt"]
    if not isinstance(prompt, list | tuple):
        raise RowRejected(RejectReason.MISSING_MESSAGES, f"prompt is a {type(prompt).__name__}, not a list")
    if not isinstance(row["response"], str):
        kind = type(row["response"]).__name__
        raise RowRejected(RejectReason.CONTENT_NOT_TEXT, f"response is a {kind}, not text")
    parsed = parse_messages([*prompt, {"role": "assistant", "content": row["response"]}])
    user, user_notes = user_of(row, user_column)
    turns = _turn_keys(parsed.messages, user)
    return _Draft(parsed, turns, outcome_of(row, outcome_column), _facts(row), user, user_notes)


def _turn_keys(messages: Sequence[Message], user: str | None) -> list[str]:
    """Per assistant message a digest of the user and the whole history up to and including it."""
    running = hashlib.sha256(b"" if user is None else json.dumps(user).encode())
    keys: list[str] = []
    for message in messages:
        running.update(json.dumps([message.role.value, message.content]).encode())
        if message.role is Role.ASSISTANT:
            keys.append(running.hexdigest())
    return keys


def _place(drafts: list[_Draft], by_turn: dict[str, _Draft], number: int, row: _Draft) -> Rejected | None:
    """Put one row where its history belongs: a known turn, the next turn of a draft, or a new draft."""
    own_turn = row.turns[-1]
    known = by_turn.get(own_turn)
    if known is not None and own_turn in known.row_of_turn:
        return Rejected((number,), RejectReason.DUPLICATE, f"repeats row {known.row_of_turn[own_turn]}")
    draft = known or _continued(by_turn, row)
    if draft is None:
        draft = row
        drafts.append(row)
    elif known is None:
        draft.parsed, draft.turns, draft.outcome = row.parsed, row.turns, row.outcome
    draft.row_of_turn[own_turn] = number
    by_turn.update(dict.fromkeys((turn for turn in draft.turns if turn not in by_turn), draft))
    return None


def _continued(by_turn: Mapping[str, _Draft], row: _Draft) -> _Draft | None:
    """The draft whose last turn lies in this row's history; None for a first turn, or for a branch."""
    for turn in reversed(row.turns[:-1]):
        draft = by_turn.get(turn)
        if draft is not None:
            return draft if draft.turns[-1] == turn else None
    return None


def _facts(row: Row) -> str:
    return canonical(row.get("reward_model") or {})


def _finished(draft: _Draft) -> ParsedConversation:
    rows = tuple(sorted(draft.row_of_turn.values()))
    lost = len(draft.turns) > len(rows)
    opening = next((message.content for message in draft.parsed.messages if message.role is Role.USER), "")
    patient = hashlib.sha256(storable(opening + draft.facts, where="prompt").encode()).hexdigest()[:16]
    return ParsedConversation(
        rows=rows,
        messages=draft.parsed.messages,
        outcome=draft.outcome,
        suggestions=draft.parsed.suggestions,
        scenario_id=f"mtmeddialog/{patient}",
        domain="mtmeddialog",
        latent_json=draft.facts,
        notes=(*draft.parsed.notes, *((Note.ROWS_MISSING,) if lost else ()), *draft.user_notes),
        user_id=draft.user,
    )
