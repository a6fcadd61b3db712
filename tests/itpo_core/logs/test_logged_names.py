"""What else a log calls its conversations (ticket, session, trace) is kept: later outcomes come by it."""

import json
from typing import Any

import pytest

from itpo_core.logs.formats import LOG_FORMATS
from itpo_core.logs.parsed import ParsedConversation
from itpo_core.types import Outcome, Scored, Unscored

Json = dict[str, Any]  # Any: JSON
SAID = [{"role": "user", "content": "My tea is cold"}]
ANSWER = {"role": "assistant", "content": "Which tea?"}


def read(log_format: str, *rows: Json, outcome_column: str = "outcome") -> ParsedConversation:
    """The one conversation of these rows."""
    known = LOG_FORMATS[log_format]
    records = [each for row in rows for each in (known.records(row) if known.records else [row])]
    (found,) = known.parse(enumerate(records, 1), outcome_column=outcome_column)
    assert isinstance(found, ParsedConversation), found
    return found


def trace(*scores: Json, **more: object) -> Json:
    call = {"id": "g1", "type": "GENERATION", "input": SAID, "output": ANSWER, "metadata": {"try": 1}}
    return {"id": "t1", "sessionId": "s1", "observations": [call], "scores": list(scores), **more}


def score(value: object, **more: object) -> Json:
    return {"name": "solved", "value": value, **more}


@pytest.mark.parametrize(
    ("log_format", "row"),
    [
        ("anthropic", {"system": "s", "messages": [*SAID, ANSWER], "metadata": {"case": "C-1"}}),
        ("sharegpt", {"conversations": [{"from": "human", "value": "My tea is cold"},
                                        {"from": "gpt", "value": "Which?"}], "metadata": {"case": "C-1"}}),
        ("langfuse", trace(metadata='{"case": "C-1"}')),
        ("langsmith", {"id": "r", "run_type": "llm", "inputs": {"messages": SAID}, "outputs": ANSWER,
                       "extra": {"metadata": {"case": "C-1"}}}),
        ("openai_responses", {"request": {"input": "My tea is cold"}, "response": {
            "id": "r", "metadata": {"case": "C-1"}, "output": [{"type": "message", "role": "assistant",
            "content": [{"type": "output_text", "text": "Which?"}]}]}}),
    ],
)  # fmt: skip
def test_metadata_are_facts_of_the_conversation_in_every_format_that_has_them(
    log_format: str, row: Json
) -> None:
    assert json.loads(read(log_format, row).latent_json)["case"] == "C-1"


def test_a_conversation_of_traces_is_known_by_session_and_trace() -> None:
    facts = json.loads(read("langfuse", trace(metadata={"try": 0, "shop": "x"})).latent_json)

    assert facts == {"sessionId": "s1", "traceId": "t1", "try": 1, "shop": "x"}


@pytest.mark.parametrize(
    ("scores", "outcome"),
    [
        ([score(1)], Scored(1.0)),
        ([score(1), score(1.0)], Scored(1.0)),
        ([score(1), score(0)], Unscored("outcome is not a number: '[1, 0]'")),
        # What was said of another call than the last one is no outcome of the conversation.
        ([score(1), score(0, observationId="g1")], Scored(1.0)),
        ([score(0, observationId="g1")], Scored(0.0)),
    ],
)
def test_a_score_of_several_values_is_none_and_one_of_a_call_is_not_that_of_the_trace(
    scores: list[Json], outcome: Outcome
) -> None:
    assert read("langfuse", trace(*scores), outcome_column="score.solved").outcome == outcome


def test_a_score_of_another_call_is_nobodys_outcome() -> None:
    found = read("langfuse", trace(score(0, observationId="g0")), outcome_column="score.solved").outcome

    assert isinstance(found, Unscored)
