"""ShareGPT: `{id, conversations: [{from, value}], system, tools}`; the speakers go by many names.

`function_call` is a turn of the assistant that calls tools (its value the call, or a list of calls, as
JSON), and `observation` what a tool returned. Rows with role and content in `conversations` are read as
well.
"""

from collections.abc import Mapping

from itpo_core.logs.foreign import collect, openai_call
from itpo_core.logs.parsed import RejectReason, Row, RowRejected
from itpo_core.logs.shapes import Json, chosen, decoded, either, first, listing, mapping, metadata_of, name_of
from itpo_core.logs.talks import Talk

SPEAKERS = {
    "observation": "tool",
    "function_response": "tool",
    "chatbot": "assistant",
}
CALLERS = ("function_call", "tool_call")


def claims(row: Row) -> bool:
    """Whether a row looks like one of this format."""
    if isinstance(row.get("conversations"), list | tuple):
        return not row["conversations"] or bool({"from", "role"} & first(row["conversations"]).keys())
    return "from" in first(either(row, "conversation", "messages"))


def read(row: Row) -> Talk:
    """One whole conversation. Raises RowRejected."""
    said = either(row, "conversations", "conversation", "messages")
    if not isinstance(said, list | tuple):
        keys = ", ".join(sorted(map(str, row)))[:200]
        raise RowRejected(
            RejectReason.MISSING_MESSAGES, f"the row has no list of `conversations`; its keys are: {keys}"
        )
    system = row.get("system")
    beside = [{"role": "system", "content": system}] if isinstance(system, str) and system else []
    found = collect([*beside, *(_message(each, index) for index, each in enumerate(said))])
    return Talk(
        messages=found.messages,
        logged_id=name_of(either(row, "id", "conversation_id")),
        facts={**metadata_of(row.get("metadata")), **chosen(row, "model", "source", "tools")},
        notes=found.noted(),
    )


def _message(item: object, index: int) -> object:
    said = mapping(item)
    if said.get("from") is None:
        return item
    speaker = said["from"].strip().lower() if isinstance(said["from"], str) else said["from"]
    if isinstance(speaker, str) and speaker in CALLERS:
        return {"role": "assistant", "content": None, "tool_calls": _calls(said, index)}
    if said.get("value") is None:
        raise RowRejected(RejectReason.CONTENT_NOT_TEXT, f"message {index} has no value: its words are lost")
    role = SPEAKERS.get(speaker, speaker) if isinstance(speaker, str) else speaker
    return {"role": role, "content": said["value"]}


def _calls(said: Mapping[str, object], index: int) -> list[object]:
    value = decoded(said.get("value"))
    calls: list[Json] = [dict(each) for each in listing(value) or [value] if isinstance(each, Mapping)]
    if not calls or not all(isinstance(call.get("name"), str) for call in calls):
        raise RowRejected(
            RejectReason.BAD_TOOL_CALLS,
            f"message {index} is a function_call, and its value no JSON of a name and arguments: "
            f"{str(said.get('value'))[:60]!a}",
        )
    return [openai_call(call) for call in calls]
