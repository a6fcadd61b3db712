"""Langfuse exports: observations (one per row, or in their trace), and traces with an input and an output.

Generations are the calls of a model; spans and events around them are not. A trace that comes with its
generations is read from them, one without from its own input and output. Scores beside a trace become
columns `score.<name>` of its records, those of one observation only of that one; where a name was given
several values that differ, no number stands there but all of them. Names are read in both spellings,
`sessionId` and `session_id`.
"""

from collections.abc import Mapping, Sequence

from itpo_core.logs.folding import Request
from itpo_core.logs.parsed import RejectReason, Row, RowRejected
from itpo_core.logs.shapes import Json, chosen, decoded, either, listing, mapping, metadata_of, name_of
from itpo_core.logs.talks import Columns
from itpo_core.logs.traces import ModelCall, answer_of, first_error, prompt_of, refuse_failed, request

CONTEXT = ("sessionId", "session_id", "userId", "user_id", "traceId", "trace_id", "projectId", "project_id")
SHARED = ("sessionId", "session_id", "userId", "user_id", "metadata", "tags", "release", "version")


NAMES = ("sessionId", "session_id", "traceId", "trace_id")  # by which others know the conversation
FACTS = ("model", "name", "providedModelName", "provided_model_name", *NAMES)


def claims(row: Row) -> bool:
    """Whether a row looks like one of this format."""
    nested = isinstance(row.get("observations"), list | tuple) or isinstance(row.get("trace"), Mapping)
    return nested or ({"input", "output"} <= row.keys() and bool(set(CONTEXT) & row.keys()))


def records(row: Row) -> list[object]:
    """The generations of a trace with its session, user and scores; the trace itself where it has none."""
    trace = mapping(row.get("trace")) or row
    below = list(listing(row.get("observations")))
    scores = [mapping(each) for each in listing(either(row, "scores"))]
    if not any(_is_generation(mapping(each)) for each in below):
        # Whatever lies below it, no call of a model does: the trace is the record.
        alone = {name: value for name, value in trace.items() if name != "observations"}
        return [{**alone, "score": {**_scores(scores, of=trace.get("id")), **_scores(scores)}}]
    shared = {**chosen(trace, *SHARED), "traceId": trace.get("id")}
    return [_observed(each, shared, scores) if isinstance(each, Mapping) else each for each in below]


def request_of(number: int, row: Row, *, columns: Columns) -> Request:
    """One call of a model. Raises RowRejected."""
    kind = row.get("type")
    if kind is not None and not _is_generation(row):
        raise RowRejected(
            RejectReason.NOT_A_MODEL_CALL,
            f"an observation of the type {str(kind)[:40]!a}; generations are read",
        )
    if row.get("level") == "ERROR":
        refuse_failed(first_error(row, "statusMessage", "status_message") or "level ERROR")
    call = ModelCall(
        prompt=prompt_of(decoded(row.get("input"))),
        answer=answer_of(decoded(row.get("output"))),
        call_id=name_of(row.get("id")),
        thread=name_of(either(row, "sessionId", "session_id", "traceId", "trace_id", "id")),
        began=either(row, "startTime", "start_time", "timestamp"),
        ended=either(row, "endTime", "end_time"),
        user=either(row, "userId", "user_id"),
        facts={**metadata_of(row.get("metadata")), **chosen(row, *FACTS)},
    )
    return request(call, row, number=number, name="langfuse", columns=columns)


def _is_generation(row: Mapping[str, object]) -> bool:
    kind = row.get("type")
    return isinstance(kind, str) and kind.upper() == "GENERATION"


def _observed(row: Row, shared: Json, scores: Sequence[Row]) -> Json:
    """An observation with what its trace says of it; a score of the whole trace goes before its own."""
    own = _scores(scores, of=row.get("id"))
    about = {**metadata_of(shared.get("metadata")), **metadata_of(row.get("metadata"))}
    return {**shared, **row, "metadata": about, "score": {**own, **_scores(scores)}}


def _scores(scores: Sequence[Row], *, of: object = None) -> dict[str, object]:
    """The scores of the trace, or of one observation, by name."""
    found: dict[str, list[object]] = {}
    for score in scores:
        if name_of(score.get("name")) and either(score, "observationId", "observation_id") == of:
            values = found.setdefault(str(score["name"]), [])
            values += [] if score.get("value") in values else [score.get("value")]
    return {name: values[0] if len(values) == 1 else values for name, values in found.items()}
