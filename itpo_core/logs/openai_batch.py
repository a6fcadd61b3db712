"""OpenAI batches: the lines of the request file and of the output and error files, paired by `custom_id`.

Requests of the chat and of the Responses API. Requests and outputs may lie in different files of one
import. A line whose request failed says so as its reason; it is not an empty answer.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from itpo_core.logs.foreign import Collected, collect
from itpo_core.logs.parsed import (
    Parsed,
    ParsedConversation,
    Rejected,
    RejectReason,
    Row,
    RowRejected,
    canonical,
)
from itpo_core.logs.responses_items import collect_items, instructions, response_messages
from itpo_core.logs.shapes import chosen, filled, first, listing, mapping, metadata_of, name_of
from itpo_core.logs.talks import Columns, Talk, conversation
from itpo_core.logs.users import DEFAULT_USER_COLUMN


@dataclass(frozen=True, slots=True)
class _Line:
    number: int
    row: Row
    custom_id: str
    is_output: bool


def claims(row: Row) -> bool:
    """Whether a row looks like one of this format."""
    asked = {"custom_id", "url", "body"} <= row.keys()
    return asked or {"custom_id", "response", "error"} <= row.keys()


def parse(
    rows: Iterable[tuple[int, Row]], *, outcome_column: str, user_column: str = DEFAULT_USER_COLUMN
) -> Iterator[Parsed]:
    """Lines without a place as they come, then the pairs in the order of their ids' first lines."""
    columns = Columns(outcome_column, user_column)
    lines: dict[tuple[str, bool], _Line] = {}
    ids: dict[str, None] = {}
    for number, row in rows:
        line = _line(number, row)
        known = lines.get((line.custom_id, line.is_output)) if isinstance(line, _Line) else None
        if isinstance(line, Rejected) or known is not None:
            yield line if isinstance(line, Rejected) else _again(line, known)
            continue
        lines[line.custom_id, line.is_output] = line
        ids[line.custom_id] = None
    for name in ids:
        yield _pair(lines.get((name, False)), lines.get((name, True)), columns)


def _line(number: int, row: Row) -> _Line | Rejected:
    custom_id = name_of(row.get("custom_id"))
    if custom_id is None or not {"body", "response", "error"} & row.keys():
        keys = ", ".join(sorted(map(str, row)))[:200]
        detail = f"a line of a batch has a custom_id and a body, a response or an error; its keys are: {keys}"
        return Rejected((number,), RejectReason.MISSING_MESSAGES, detail)
    return _Line(number, row, custom_id, row.get("body") is None)


def _again(line: _Line, known: _Line | None) -> Rejected:
    place = known.number if known else 0
    if known is not None and _text(line.row) == _text(known.row):
        return Rejected((line.number,), RejectReason.DUPLICATE, f"repeats row {place}")
    detail = f"the custom_id {line.custom_id[:60]!a} is taken by row {place}, which says something else"
    return Rejected((line.number,), RejectReason.REUSED_ID, detail)


def _text(row: Row) -> str | None:
    try:
        return canonical(row)
    except RowRejected:
        return None


def _pair(asked: _Line | None, answered: _Line | None, columns: Columns) -> Parsed:
    rows = tuple(sorted(line.number for line in (asked, answered) if line is not None))
    try:
        return _conversation(asked, answered, columns)
    except RowRejected as error:
        return Rejected(rows, error.reason, error.detail)


def _conversation(asked: _Line | None, answered: _Line | None, columns: Columns) -> ParsedConversation:
    if answered is None:
        raise RowRejected(RejectReason.REQUEST_WITHOUT_RESPONSE, "no output line has its custom_id")
    answer = _answer(answered.row)
    if asked is None:
        raise RowRejected(
            RejectReason.RESPONSE_WITHOUT_REQUEST,
            "no request line has its custom_id: import the request file with the output file",
        )
    body = mapping(asked.row["body"])
    before = _asked(body)
    talk = Talk(
        [*before.messages, *answer.messages],
        logged_id=asked.custom_id,
        facts={**metadata_of(body.get("metadata")), **chosen(body, "model")},
        user=body.get("user"),
        notes=tuple(sorted(before.notes | answer.notes)),
    )
    row = {**answered.row, **mapping(body.get("metadata"))}
    said = conversation(talk, row, number=asked.number, name="openai_batch", columns=columns)
    return replace(said, rows=tuple(sorted((asked.number, answered.number))))


def _asked(body: Mapping[str, object]) -> Collected:
    if body.get("messages") is not None:
        return collect(listing(body["messages"]))
    found = collect_items(body.get("input"))
    found.messages[:0] = instructions(body)
    return found


def _answer(row: Row) -> Collected:
    response = mapping(row.get("response"))
    body = mapping(response.get("body"))
    error = filled(row.get("error")) or filled(body.get("error"))
    status = response.get("status_code")
    if error or status not in (200, None) or not body:
        said = error.get("code") or error.get("message") or f"status {status}"
        raise RowRejected(RejectReason.REQUEST_FAILED, f"the request failed: {str(said)[:80]}")
    if body.get("choices") is None:
        return response_messages(body)
    if len(listing(body["choices"])) != 1:
        count = len(listing(body["choices"]))
        raise RowRejected(
            RejectReason.SEVERAL_ANSWERS, f"there are {count} answers, and nobody says which one was sent"
        )
    return collect([first(body["choices"]).get("message")])
