"""OpenAI Responses: the response object with its `input` beside it, or `{request, response}`.

A response that names a `previous_response_id` goes on from that one, which must be among the files;
histories are put together along the names. Several responses to one are branches. Reasoning is not text
that anybody read: left out, noted.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from itpo_core.logs.folding import Request, fold
from itpo_core.logs.foreign import Collected
from itpo_core.logs.order import moment_s
from itpo_core.logs.parsed import Note, Parsed, Rejected, RejectReason, Row, RowRejected
from itpo_core.logs.responses_items import collect_items, instructions, response_messages
from itpo_core.logs.shapes import chosen, either, mapping, metadata_of, name_of
from itpo_core.logs.talks import Columns, Talk, conversation
from itpo_core.logs.users import DEFAULT_USER_COLUMN

LONGEST_CHAIN = 10_000


@dataclass(frozen=True, slots=True)
class _Step:
    """One response: the row, what was asked and answered, without what went before."""

    number: int
    row: Row
    response: Mapping[str, object]
    system: list[object]
    messages: list[object]
    notes: tuple[Note, ...]


def claims(row: Row) -> bool:
    """Whether a row looks like one of this format."""
    return "custom_id" not in row and "response" in (
        row.get("object"),
        mapping(row.get("response")).get("object"),
    )


def parse(
    rows: Iterable[tuple[int, Row]], *, outcome_column: str, user_column: str = DEFAULT_USER_COLUMN
) -> Iterator[Parsed]:
    """Rejected rows as they come, then the conversations in the order of their first responses."""
    columns = Columns(outcome_column, user_column)
    steps: list[_Step] = []
    for number, row in rows:
        try:
            steps.append(_step(number, row))
        except RowRejected as error:
            yield Rejected((number,), error.reason, error.detail)
    yield from fold(_requests(steps, columns))


def _step(number: int, row: Row) -> _Step:
    response = mapping(row.get("response")) or row
    request = mapping(row.get("request")) or row
    asked = either(request, "input", "input_items")
    if asked is None:
        raise RowRejected(
            RejectReason.MISSING_MESSAGES, "the response has no `input` beside it: what was asked is lost"
        )
    before, answer = collect_items(asked), response_messages(response)
    return _Step(
        number,
        row,
        response,
        instructions(request) or instructions(response),
        [*before.messages, *answer.messages],
        tuple(sorted(before.notes | answer.notes)),
    )


def _requests(steps: list[_Step], columns: Columns) -> Iterator[Request | Rejected]:
    by_id = {name_of(step.response.get("id")): step for step in reversed(steps)}
    for step in steps:
        try:
            yield _request(step, _chain(step, by_id), columns)
        except RowRejected as error:
            yield Rejected((step.number,), error.reason, error.detail)


def _chain(step: _Step, by_id: Mapping[str | None, _Step]) -> list[_Step]:
    """The response and all that went before it, first one first."""
    chain = [step]
    while (parent := _parent(chain[-1])) is not None:
        if parent not in by_id or len(chain) == LONGEST_CHAIN:
            raise RowRejected(
                RejectReason.MISSING_PARENT,
                f"the response goes on from {parent[:60]!a}, which is not among the files, or from itself",
            )
        chain.append(by_id[parent])
    return chain[::-1]


def _parent(step: _Step) -> str | None:
    asked = mapping(step.row.get("request"))
    return name_of(step.response.get("previous_response_id") or asked.get("previous_response_id"))


def _request(step: _Step, chain: list[_Step], columns: Columns) -> Request:
    found = Collected([*step.system, *(message for each in chain for message in each.messages)])
    talk = Talk(
        found.messages,
        logged_id=name_of(step.response.get("id")),
        facts={**metadata_of(step.response.get("metadata")), **chosen(step.response, "model")},
        user=either(step.response, "user", "safety_identifier"),
        notes=step.notes,
    )
    said = conversation(talk, step.row, number=step.number, name="openai_responses", columns=columns)
    return Request(said, moment_s=moment_s(step.response.get("created_at")))
