"""OpenAI-style logs: one row per conversation, `{"id", "messages": [...], "outcome", "metadata": {...}}`.

Of the metadata the keys `scenario_id`, `scenario` (the hidden facts of a simulated scenario), `domain`,
`split`, `persona_id`, `seed` and `stop_reason` mean something; where there is no `scenario`, all of the
metadata is kept in its place. The user is read from `user` or `user_id`, here or in the metadata. What a row
says of the version that spoke: see `itpo_core.logs.speakers`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from itpo_core.logs import anthropic_messages
from itpo_core.logs.messages import parse_messages
from itpo_core.logs.outcomes import outcome_of
from itpo_core.logs.parsed import (
    Parsed,
    ParsedConversation,
    RejectReason,
    Row,
    RowRejected,
    canonical,
    parse_each,
    storable,
)
from itpo_core.logs.shapes import decoded, first
from itpo_core.logs.speakers import claim_of
from itpo_core.logs.users import DEFAULT_USER_COLUMN, user_of
from itpo_core.types import Split, StopReason

_OTHERS = ("chosen", "rejected", "traj", "reward_info", "termination_reason", "conv_id")
_HONEST_ENDINGS = tuple(stop for stop in StopReason if stop is not StopReason.FAILED)


def claims(row: Row) -> bool:
    """Whether a row looks like one of this format: messages with roles, and nothing that only others have."""
    if set(_OTHERS) & row.keys() or anthropic_messages.claims(row):
        return False
    said = decoded(row.get("messages"))
    return isinstance(said, list | tuple) and (not said or "role" in first(said))


def parse(
    rows: Iterable[tuple[int, Row]], *, outcome_column: str, user_column: str = DEFAULT_USER_COLUMN
) -> Iterator[Parsed]:
    """One conversation or rejection per row, in order."""
    return parse_each(rows, lambda number, row: _conversation(number, row, outcome_column, user_column))


def _conversation(number: int, row: Row, outcome_column: str, user_column: str) -> ParsedConversation:
    parsed = parse_messages(_messages(row))
    metadata = _metadata(row)
    user, user_notes = user_of(row, user_column)
    claim = claim_of(row, metadata)
    return ParsedConversation(
        rows=(number,),
        messages=parsed.messages,
        outcome=outcome_of(row, outcome_column),
        suggestions=parsed.suggestions,
        logged_id=_text(row, "id") or _text(row, "conversation_id"),
        scenario_id=_text(metadata, "scenario_id"),
        domain=_text(metadata, "domain") or "logs",
        split=Split(_named(metadata, "split", tuple(Split)) or Split.SEEN),
        persona_id=_text(metadata, "persona_id") or "default",
        seed=_seed(metadata),
        latent_json=_latent(metadata),
        stop=StopReason(_named(metadata, "stop_reason", _HONEST_ENDINGS) or StopReason.COMPLETED),
        notes=(*parsed.notes, *user_notes, *claim.notes),
        user_id=user,
        speaker=claim.speaker,
        draws=claim.draws,
        cut=claim.cut,
    )


def _messages(row: Row) -> object:
    if "messages" in row:
        return row["messages"]
    if "conversations" in row:
        raise RowRejected(
            RejectReason.SHAREGPT_KEYS,
            "the row has ShareGPT's `conversations` with from and value: rename it to messages, from to role "
            "(human is user, gpt is assistant) and value to content",
        )
    keys = ", ".join(sorted(map(str, row)))[:200]
    raise RowRejected(RejectReason.MISSING_MESSAGES, f"the row has no `messages`; its keys are: {keys}")


def _metadata(row: Row) -> Mapping[str, object]:
    metadata = row.get("metadata")
    if metadata is None:
        return {}
    if not isinstance(metadata, Mapping):
        raise RowRejected(
            RejectReason.BAD_METADATA, f"metadata is a {type(metadata).__name__}, not an object"
        )
    return metadata


def _text(row: Mapping[str, object], key: str) -> str | None:
    value = row.get(key)
    return None if value is None or value == "" else storable(str(value), where=key)


def _named(metadata: Mapping[str, object], key: str, allowed: Sequence[str]) -> str | None:
    value = metadata.get(key)
    if value is not None and value not in allowed:
        raise RowRejected(
            RejectReason.BAD_METADATA,
            f"metadata.{key} is {str(value)[:60]!a}, not one of {', '.join(allowed)}",
        )
    return None if value is None else str(value)


def _latent(metadata: Mapping[str, object]) -> str:
    scenario = metadata.get("scenario", metadata)
    return storable(scenario, where="scenario") if isinstance(scenario, str) else canonical(scenario)


def _seed(metadata: Mapping[str, object]) -> int:
    seed = metadata.get("seed")
    if seed is None:
        return 0
    if not isinstance(seed, int) or not -(2**63) <= seed < 2**63:
        raise RowRejected(
            RejectReason.BAD_METADATA, f"metadata.seed is {str(seed)[:60]!a}, not a 64-bit integer"
        )
    return int(seed)
