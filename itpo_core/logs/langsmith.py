"""LangSmith run exports: `{id, run_type, inputs, outputs, trace_id, dotted_order, start_time, extra,
error}`.

Only runs of type `llm` are calls of a model; chains, tools and retrievers around them repeat the same
words. Runs of one thread (`thread_id`, `session_id` or `conversation_id` in the metadata), else of one
trace, are put together by their histories; `session_id` of a run itself is the project.
"""

from itpo_core.logs.folding import Request
from itpo_core.logs.parsed import RejectReason, Row, RowRejected
from itpo_core.logs.shapes import chosen, decoded, either, listing, mapping, metadata_of, name_of
from itpo_core.logs.talks import Columns
from itpo_core.logs.traces import ModelCall, answer_of, first_error, prompt_of, refuse_failed, request


def claims(row: Row) -> bool:
    """Whether a row looks like one of this format."""
    return "run_type" in row and "inputs" in row


def records(row: Row) -> list[object]:
    """A run, then the runs below it where the export nests them."""
    children = listing(row.get("child_runs"))
    if not children:
        return [row]
    alone = {name: value for name, value in row.items() if name != "child_runs"}
    pending = list(reversed(children))
    found: list[object] = [alone]
    while pending:  # not by recursion: nobody limits how deep a file may nest
        run = pending.pop()
        pending.extend(reversed(listing(mapping(run).get("child_runs"))))
        below = mapping(run)
        found.append({n: v for n, v in below.items() if n != "child_runs"} if below else run)
    return found


def request_of(number: int, row: Row, *, columns: Columns) -> Request:
    """One call of a model. Raises RowRejected."""
    kind = row.get("run_type")
    if kind != "llm":
        raise RowRejected(
            RejectReason.NOT_A_MODEL_CALL,
            f"a run of the type {str(kind)[:40]!a}; the llm runs below it are read",
        )
    refuse_failed(first_error(row, "error"))
    about = mapping(mapping(decoded(row.get("extra"))).get("metadata"))
    inputs, outputs = decoded(row.get("inputs")), decoded(row.get("outputs"))
    call = ModelCall(
        prompt=prompt_of(inputs),
        answer=answer_of(outputs),
        call_id=name_of(either(row, "id", "run_id")),
        thread=name_of(
            either(about, "thread_id", "session_id", "conversation_id")
            or either(row, "thread_id", "trace_id")
        ),
        began=row.get("start_time"),
        ended=row.get("end_time"),
        user=either(about, "user_id", "user"),
        facts={**metadata_of(about), **chosen(row, "trace_id", "thread_id")},
    )
    return request(call, row, number=number, name="langsmith", columns=columns)
