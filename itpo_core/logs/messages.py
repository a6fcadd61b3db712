"""OpenAI-style message lists become core messages, as logged; what cannot be kept as it is, is refused."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from itpo_core.logs.parsed import Note, RejectReason, RowRejected, Suggestion, storable
from itpo_core.types import Message, Role

MAX_TURNS = 32_000  # turn indices are 16-bit in the lake
ACCEPTANCES = ("verbatim", "edited", "ignored", "autonomous")
ROLES = {role.value: role for role in Role} | {"developer": Role.SYSTEM}
FOREIGN_ROLES = {
    "human": "user",
    "gpt": "assistant",
    "bing": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "ai": "assistant",
    "function": "tool",
    "observation": "tool",
    "function_call": "assistant with tool_calls",
}


@dataclass(frozen=True, slots=True)
class ParsedMessages:
    """The messages, per assistant message what had been suggested, and what was unusual about them."""

    messages: tuple[Message, ...]
    suggestions: tuple[Suggestion | None, ...]
    notes: tuple[Note, ...]


def parse_messages(items: object) -> ParsedMessages:
    """Check and convert a whole message list; raises RowRejected with the first thing that is wrong."""
    listed = _listed(items)
    pairs = [_message(item, index) for index, item in enumerate(listed)]
    messages = tuple(message for message, _ in pairs)
    turns = sum(message.role is Role.ASSISTANT for message in messages)
    if turns == 0:
        roles = ", ".join(sorted({message.role.value for message in messages}))
        raise RowRejected(RejectReason.NO_ASSISTANT_TURN, f"{len(messages)} messages, all of {roles}")
    if turns > MAX_TURNS:
        raise RowRejected(RejectReason.TOO_MANY_TURNS, f"{turns} assistant turns; at most {MAX_TURNS}")
    suggestions = tuple(suggestion for message, suggestion in pairs if message.role is Role.ASSISTANT)
    return ParsedMessages(messages, suggestions, (*_pairing_notes(messages), *_shape_notes(messages)))


def _listed(items: object) -> Sequence[object]:
    if isinstance(items, str):
        items = _json(items, RejectReason.MISSING_MESSAGES, "messages are text, but not JSON")
    if not isinstance(items, list | tuple):
        raise RowRejected(RejectReason.MISSING_MESSAGES, f"messages are a {type(items).__name__}, not a list")
    if not items:
        raise RowRejected(RejectReason.EMPTY_CONVERSATION, "the message list is empty")
    return items


def _message(item: object, index: int) -> tuple[Message, Suggestion | None]:
    if not isinstance(item, Mapping):
        raise RowRejected(RejectReason.MESSAGE_NOT_AN_OBJECT, f"message {index} is a {type(item).__name__}")
    role = _role(item, index)
    content = item.get("content")
    if len(item) == 2 and isinstance(content, str):  # most messages: a role, a text, and nothing to look for
        return Message(role, storable(content, where=f"message {index}")), None
    calls = _tool_calls(item, index) if role is Role.ASSISTANT else None
    content = storable(_content(item, role, index), where=f"message {index}")
    message = Message(role, content, calls, _call_id(item, index) if role is Role.TOOL else None)
    return message, _suggestion(item, message, index)


def _role(item: Mapping[str, object], index: int) -> Role:
    named = item.get("role")
    if isinstance(named, str) and named in ROLES:
        return ROLES[named]
    if named is None and "from" in item:
        raise RowRejected(
            RejectReason.SHAREGPT_KEYS,
            f"message {index} has ShareGPT keys: rename from to role (human is user, gpt is "
            "assistant) and value to content",
        )
    text = named.strip().lower() if isinstance(named, str) else ""
    if text in ROLES:
        return ROLES[text]
    remedy = f"; rename it to {FOREIGN_ROLES[text]}" if text in FOREIGN_ROLES else ""
    raise RowRejected(
        RejectReason.UNKNOWN_ROLE,
        f"message {index} has the role {str(named)[:60]!a}, not one of {', '.join(ROLES)}{remedy}",
    )


def _content(item: Mapping[str, object], role: Role, index: int) -> str:
    content = item.get("content")
    if isinstance(content, str):
        return content
    if content is None and role in (Role.ASSISTANT, Role.TOOL):
        return ""  # a turn that only calls tools, or a tool that returns nothing
    if isinstance(content, list | tuple):
        return "".join(_part(part, index) for part in content)
    raise RowRejected(
        RejectReason.CONTENT_NOT_TEXT,
        f"message {index} ({role.value}) has the content {str(content)[:60]!a} of type "
        f"{type(content).__name__}; text or a list of text parts is needed",
    )


def _part(part: object, index: int) -> str:
    if isinstance(part, str):
        return part
    kind = str(part.get("type")) if isinstance(part, Mapping) else type(part).__name__
    text = part.get("text") if isinstance(part, Mapping) else None
    if isinstance(text, str):
        return text
    reason = RejectReason.IMAGE_PART if "image" in kind else RejectReason.CONTENT_NOT_TEXT
    raise RowRejected(
        reason, f"message {index} has a content part of type {kind[:60]!a}; only text can be kept"
    )


def _tool_calls(item: Mapping[str, object], index: int) -> str | None:
    """The call list as JSON text, in the key order of the log."""
    logged = item.get("tool_calls")
    if logged is None or logged == [] or logged == "":
        return None
    text = logged if isinstance(logged, str) else json.dumps(logged, ensure_ascii=False, default=str)
    calls = _json(text, RejectReason.BAD_TOOL_CALLS, f"tool calls of message {index} are text, but not JSON")
    if not isinstance(calls, list) or not all(_call_name(call) for call in calls):
        raise RowRejected(
            RejectReason.BAD_TOOL_CALLS,
            f"tool calls of message {index} are not a list of {{id, function: {{name, arguments}}}}: "
            f"{text[:80]!a}",
        )
    return storable(text, where=f"tool calls of message {index}")


def _call_name(call: object) -> str | None:
    function = call.get("function", call) if isinstance(call, Mapping) else None
    name = function.get("name") if isinstance(function, Mapping) else None
    return name if isinstance(name, str) else None


def _call_id(item: Mapping[str, object], index: int) -> str | None:
    named = item.get("tool_call_id")
    return None if named is None else storable(str(named), where=f"tool_call_id of message {index}")


def _suggestion(item: Mapping[str, object], message: Message, index: int) -> Suggestion | None:
    """What was proposed, where the log says so; acceptance is derived from the texts unless it is logged."""
    suggested, acceptance = item.get("suggested_text"), item.get("acceptance")
    if message.role is not Role.ASSISTANT or not isinstance(suggested, str):
        return None
    derived = "verbatim" if suggested == message.content else "edited"
    if acceptance is not None and acceptance not in ACCEPTANCES:
        raise RowRejected(
            RejectReason.BAD_METADATA,
            f"acceptance of message {index} is {str(acceptance)[:60]!a}, not one of {', '.join(ACCEPTANCES)}",
        )
    return Suggestion(storable(suggested, where=f"suggestion of message {index}"), str(acceptance or derived))


def _pairing_notes(messages: Sequence[Message]) -> tuple[Note, ...]:
    """A result whose call is not in the log is refused: an assistant turn is lost, and credit would stray.

    A call without a result is kept: a conversation may well end on the call that hands it over.
    """
    if not any(message.tool_calls is not None or message.role is Role.TOOL for message in messages):
        return ()
    called: set[str] = set()
    answered: set[str] = set()
    any_call = False
    for index, message in enumerate(messages):
        called |= _call_ids(message)
        any_call = any_call or message.tool_calls is not None
        if message.role is Role.TOOL:
            _check_called(message, index, called=called, any_call=any_call)
            answered.add(str(message.tool_call_id))
    return (Note.TOOL_CALL_WITHOUT_RESULT,) if called - answered else ()


def _call_ids(message: Message) -> set[str]:
    calls = json.loads(message.tool_calls) if message.tool_calls is not None else []
    return {str(call["id"]) for call in calls if call.get("id") is not None}


def _check_called(message: Message, index: int, *, called: set[str], any_call: bool) -> None:
    # Older logs number neither calls nor results: there it is enough that something was called before.
    unnumbered = message.tool_call_id is None or not called
    if not any_call or not (unnumbered or message.tool_call_id in called):
        raise RowRejected(
            RejectReason.TOOL_RESULT_WITHOUT_CALL,
            f"message {index} answers the call {str(message.tool_call_id)[:60]!a}, which no message made",
        )


def _shape_notes(messages: Sequence[Message]) -> tuple[Note, ...]:
    spoken = [message for message in messages if message.role is not Role.SYSTEM]
    seen = {
        Note.ASSISTANT_TWICE_IN_A_ROW: any(a.role is b.role is Role.ASSISTANT for a, b in pairwise(spoken)),
        Note.STARTS_WITH_ASSISTANT: spoken[0].role is Role.ASSISTANT,
        Note.EMPTY_ASSISTANT_TURN: any(_says_nothing(message) for message in spoken),
        Note.NUL_CHARACTER: any("\0" in message.content for message in messages),
    }
    return tuple(note for note, present in seen.items() if present)


def _says_nothing(message: Message) -> bool:
    return message.role is Role.ASSISTANT and not message.content.strip() and message.tool_calls is None


def _json(text: str, reason: RejectReason, what: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RowRejected(reason, f"{what} ({str(error)[:80]}): {text[:60]!a}") from None
