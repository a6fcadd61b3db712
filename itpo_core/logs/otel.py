"""OpenTelemetry spans of the GenAI conventions: OTLP JSON (resourceSpans), or one span a row.

Messages are read from `gen_ai.input.messages` and `gen_ai.output.messages` (text or structure, on the span
or on an event of it), or from the older `gen_ai.prompt.N.*` and `gen_ai.completion.N.*`. Spans of one
`gen_ai.conversation.id`, else of one trace, are put together by their histories.
"""

import re
from collections.abc import Mapping

from itpo_core.logs.folding import Request
from itpo_core.logs.order import by_number
from itpo_core.logs.parsed import RejectReason, Row, RowRejected
from itpo_core.logs.shapes import Json, chosen, decoded, either, listing, mapping, name_of
from itpo_core.logs.talks import Columns
from itpo_core.logs.traces import ModelCall, refuse_failed, request

FACTS = ("gen_ai.request.model", "gen_ai.response.model", "gen_ai.provider.name", "gen_ai.system")
NAMES = ("gen_ai.conversation.id", "session.id")
OPERATIONS = ("chat", "text_completion", "generate_content")
_TOP = (("resourceSpans", "resource_spans"), ("scopeSpans", "scope_spans", "instrumentationLibrarySpans"))
_INDEXED = re.compile(r"(\d+)\.([a-z_]+)(?:\.(\d+)\.([a-z_]+(?:\.[a-z_]+)?))?")
_CONTENTS = ("stringValue", "intValue", "doubleValue", "boolValue", "bytesValue")


def claims(row: Row) -> bool:
    """Whether a row looks like one of this format."""
    nested = any(isinstance(row.get(name), list | tuple) for names in _TOP for name in names)
    named = {"spanId", "span_id", "context"} & row.keys()
    return nested or ("attributes" in row and bool(named))


def records(row: Row) -> list[object]:
    """The spans of a row, however deep OTLP nests them."""
    level: list[object] = [row]
    for names in _TOP:
        level = [inner for each in level for inner in _inner(each, *names)]
    return [span for each in level for span in _inner(each, "spans")]


def _inner(item: object, *names: str) -> list[object]:
    below = either(mapping(item), *names)
    return list(below) if isinstance(below, list | tuple) else [item]


def request_of(number: int, row: Row, *, columns: Columns) -> Request:
    """One call of a model. Raises RowRejected."""
    said = _attributes(row.get("attributes"))
    for event in listing(row.get("events")):
        said = {**_attributes(mapping(event).get("attributes")), **said}
    operation = said.get("gen_ai.operation.name")
    prompt, answer = _prompt(said), _messages(said, "gen_ai.output.messages", "gen_ai.completion")
    if (operation is not None and operation not in OPERATIONS) or not (prompt or answer):
        raise RowRejected(
            RejectReason.NOT_A_MODEL_CALL,
            f"the span {str(row.get('name'))[:40]!a} holds no messages of a model (gen_ai.input.messages)",
        )
    refuse_failed(_error(row))
    if len(answer) > 1:
        raise RowRejected(RejectReason.SEVERAL_ANSWERS, f"there are {len(answer)} answers in one span")
    context = mapping(row.get("context"))
    call = ModelCall(
        prompt=prompt,
        answer=answer,
        call_id=name_of(either(row, "spanId", "span_id") or context.get("span_id")),
        thread=name_of(
            said.get("gen_ai.conversation.id")
            or either(row, "traceId", "trace_id")
            or context.get("trace_id")
        ),
        began=either(row, "startTimeUnixNano", "start_time_unix_nano", "start_time"),
        ended=either(row, "endTimeUnixNano", "end_time_unix_nano", "end_time"),
        user=either(said, "user.id", "enduser.id"),
        facts={**chosen(said, *FACTS, *NAMES), **chosen(row, "traceId", "trace_id")},
    )
    return request(call, {**row, **said}, number=number, name="otel", columns=columns)


def _prompt(said: Mapping[str, object]) -> list[object]:
    system = decoded(said.get("gen_ai.system_instructions"))
    parts = list(listing(system)) if not isinstance(system, str) else [{"type": "text", "content": system}]
    beside: list[object] = [{"role": "system", "parts": parts}] if parts else []
    return [*beside, *_messages(said, "gen_ai.input.messages", "gen_ai.prompt")]


def _messages(said: Mapping[str, object], name: str, older: str) -> list[object]:
    current = decoded(said.get(name))
    if isinstance(current, list | tuple):
        return list(current)
    return _indexed(said, f"{older}.")


def _indexed(said: Mapping[str, object], prefix: str) -> list[object]:
    """Messages whose fields are attributes of their own: `N.role`, `N.content`, `N.tool_calls.M.name`."""
    messages: dict[int, Json] = {}
    calls: dict[int, dict[int, Json]] = {}
    for name, value in said.items():
        match = _INDEXED.fullmatch(name[len(prefix) :]) if name.startswith(prefix) else None
        if match is None:
            continue
        index, key, inner, inner_key = match.groups()
        message = messages.setdefault(int(index), {})
        if inner is None:
            message[key] = decoded(value) if key == "tool_calls" else value
        elif key == "tool_calls":
            called = calls.setdefault(int(index), {}).setdefault(int(inner), {})
            called[str(inner_key).removeprefix("function.")] = value
    for index, called in calls.items():
        messages[index]["tool_calls"] = [called[number] for number in sorted(called)]
    order, _ = by_number(sorted(messages))
    return [{"content": None, **messages[sorted(messages)[place]]} for place in order]


def _attributes(said: object) -> dict[str, object]:
    """OTLP's list of keys and typed values, or the plain object that other exporters write."""
    if isinstance(said, Mapping):
        return dict(said)
    pairs = (mapping(each) for each in listing(said))
    return {str(pair.get("key")): _value(pair.get("value")) for pair in pairs}


def _value(value: object) -> object:
    said = mapping(value)
    plain = either(said, *_CONTENTS)
    if plain is not None:
        return plain
    if said.get("arrayValue") is not None:
        return [_value(each) for each in listing(mapping(said["arrayValue"]).get("values"))]
    listed = mapping(said.get("kvlistValue")).get("values")
    return None if listed is None else _attributes(listed)


def _error(row: Row) -> str | None:
    status = mapping(row.get("status"))
    code = either(status, "code", "status_code")
    is_error = code in (2, "2", "STATUS_CODE_ERROR", "ERROR") if not isinstance(code, list | dict) else False
    return str(either(status, "message", "description") or "status ERROR")[:80] if is_error else None
