"""Anthropic messages: `{system, messages: [{role, content: text or blocks}], response}`.

The system prompt stands beside the messages, the results of tools in blocks of user messages. `response` is
the answer to them where the log keeps it apart. Thinking stays before the answer as a <think> block; what
was redacted is gone, and noted.
"""

from collections.abc import Mapping

from itpo_core.logs.foreign import collect
from itpo_core.logs.parsed import RejectReason, Row, RowRejected
from itpo_core.logs.shapes import chosen, either, listing, mapping, metadata_of, name_of, required
from itpo_core.logs.talks import Talk

BLOCKS = ("tool_use", "tool_result", "thinking", "redacted_thinking")
LOOKED_AT = 64  # messages of a row, when it is asked whose it is


def claims(row: Row) -> bool:
    """Whether a row looks like one of this format: blocks that only it has, or its system prompt beside."""
    if not isinstance(row.get("messages"), list | tuple):
        return False
    said = [mapping(each) for each in listing(row["messages"])[:LOOKED_AT]]
    if not all("role" in each for each in said):
        return False
    beside = row.get("system") is not None and not any(each.get("role") == "system" for each in said)
    answered = mapping(row.get("response")).get("type") == "message"
    return (
        beside or answered or any(_is_block(part) for each in said for part in listing(each.get("content")))
    )


def read(row: Row) -> Talk:
    """One whole conversation. Raises RowRejected."""
    (said,) = required(row, "messages")
    if not isinstance(said, list | tuple):
        raise RowRejected(RejectReason.MISSING_MESSAGES, f"messages are a {type(said).__name__}, not a list")
    system = row.get("system")
    beside = [{"role": "system", "content": system}] if system else []
    answer = row.get("response")
    found = collect([*beside, *said, *([answer] if answer else [])])
    return Talk(
        messages=found.messages,
        logged_id=name_of(either(row, "id", "request_id")) or name_of(mapping(answer).get("id")),
        facts={**metadata_of(row.get("metadata")), **chosen(row, "model")},
        user=mapping(row.get("metadata")).get("user_id"),
        notes=found.noted(),
    )


def _is_block(part: object) -> bool:
    said: Mapping[str, object] = mapping(part)
    return said.get("type") in BLOCKS or (said.get("type") == "image" and "source" in said)
