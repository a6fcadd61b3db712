"""Core types become lake rows without loss, and a failure never becomes a number."""

import json
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from itpo_core.types import (
    Conversation,
    Failure,
    FailureKind,
    FinishReason,
    Message,
    Role,
    Scenario,
    Scored,
    Split,
    StopReason,
    Turn,
    TurnTruth,
    Unscored,
)
from storage.rows import to_table
from tasks.records import (
    Lineage,
    conversation_row,
    message_record,
    messages_from_json,
    messages_json,
    tool_names,
    truths_of,
    turn_columns,
    turn_rows,
    user_texts,
)

LINEAGE = Lineage("shop", 3, 0, "shop/v0002", "sales", "1", "d" * 64, "rule-1")
TRUTH = TurnTruth("ask", 2, 6, 0.9, 0.8, None)
MESSAGES = (
    Message(Role.SYSTEM, "be kind"),
    Message(Role.USER, "hi"),
    Message(Role.ASSISTANT, "which color ?", '[{"function": {"name": "look_up"}}]'),
    Message(Role.TOOL, "red, blue"),
    Message(Role.USER, "blue"),
    Message(Role.ASSISTANT, "here"),
    Message(Role.USER, "thanks"),
)


def conversation(**changes: object) -> Conversation:
    turns = (
        Turn(0, "which color ?", FinishReason.END_OF_TURN, (1, 2), (3, 4), (-0.5, -0.25), TRUTH),
        Turn(1, "here", FinishReason.LENGTH, (5,), (6,), (-1.0,), TRUTH),
    )
    fields: dict[str, object] = {
        "conversation_id": "c" * 32,
        "group_id": "g" * 32,
        "sample_index": 1,
        "seed": 7,
        "scenario": Scenario("s1", "sales", Split.SEEN, MESSAGES[:2], "{}"),
        "messages": MESSAGES,
        "turns": turns,
        "outcome": Scored(1.0),
        "stop": StopReason.COMPLETED,
    }
    return Conversation(**{**fields, **changes})  # type: ignore[arg-type]


def test_messages_survive_the_round_trip():
    assert messages_from_json(messages_json(MESSAGES)) == MESSAGES


@given(
    st.lists(
        st.builds(
            Message,
            role=st.sampled_from(Role),
            content=st.text(),
            tool_calls=st.none() | st.text(),
            tool_call_id=st.none() | st.text(),
        )
    )
)
def test_messages_are_the_json_of_their_records(messages: list[Message]):
    records = [message_record(message) for message in messages]

    assert messages_json(messages) == json.dumps(records, ensure_ascii=False, separators=(",", ":"))


def test_columns_of_many_conversations_are_their_rows_one_after_the_other():
    asked = replace(conversation(), conversation_id="a" * 32)
    broken = replace(conversation(), conversation_id="b" * 32, turns=(), messages=MESSAGES[:2])
    other = replace(LINEAGE, policy_version="logs:x", temperature=0.7)

    columns = turn_columns([(asked, LINEAGE), (broken, LINEAGE), (conversation(), other)])

    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    assert rows == [*turn_rows(asked, LINEAGE), *turn_rows(conversation(), other)]
    assert columns["conversation_id"] == ["a" * 32] * 2 + ["c" * 32] * 2
    assert columns["temperature"] == [1.0, 1.0, 0.7, 0.7]
    assert columns["user_text"] == ["hi", "red, blue\nblue"] * 2


def test_a_turn_heard_everything_since_the_turn_before():
    assert user_texts(MESSAGES) == ["hi", "red, blue\nblue"]


def test_a_turn_names_the_tools_that_it_called():
    assert tool_names(MESSAGES) == ["look_up", None]


def test_rows_fit_the_schemas_and_count_the_policy_tokens():
    row, turns = conversation_row(conversation(), LINEAGE), turn_rows(conversation(), LINEAGE)

    assert to_table("conversations", [row]).num_rows == 1
    assert to_table("turns", turns).column("response_ids").to_pylist() == [[3, 4], [6]]
    assert (row["assistant_tokens"], row["outcome"], row["outcome_reason"]) == (3, 1.0, None)


def test_a_failed_conversation_has_a_cause_and_no_outcome():
    failure = Failure(FailureKind.USER_TIMEOUT, "no answer within 30 s")

    row = conversation_row(
        conversation(outcome=Unscored("failed"), stop=StopReason.FAILED, failure=failure), LINEAGE
    )

    assert (row["status"], row["failure_kind"], row["outcome"]) == ("failed", "user_timeout", None)
    assert row["outcome_reason"] == "failed"


def test_a_conversation_that_broke_before_its_first_turn_is_still_a_row():
    broken = conversation(turns=(), messages=MESSAGES[:2], outcome=Unscored("failed"), stop=StopReason.FAILED,
                          failure=Failure(FailureKind.ENGINE_ERROR, "out of memory"))  # fmt: skip

    assert conversation_row(broken, LINEAGE)["n_turns"] == 0
    assert turn_rows(broken, LINEAGE) == []


def test_turn_truths_come_back_from_rows():
    assert truths_of(turn_rows(conversation(), LINEAGE)) == [TRUTH, TRUTH]
