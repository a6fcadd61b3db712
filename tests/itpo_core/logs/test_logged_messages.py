"""Message lists of logs: what is kept as it is, and what is refused under which name."""

import json

import pytest

from itpo_core.logs.messages import parse_messages
from itpo_core.logs.parsed import Note, RejectReason, RowRejected, Suggestion
from itpo_core.types import Message, Role
from tests.log_shapes import Json, assistant, call, result, user

CALL = call("search")
IMAGE = {"type": "image_url", "image_url": {"url": "x"}}


def refusal(items: object) -> tuple[RejectReason, str]:
    """The reason and the detail under which a message list is refused."""
    with pytest.raises(RowRejected) as caught:
        parse_messages(items)
    return caught.value.reason, caught.value.detail


@pytest.mark.parametrize(
    ("items", "reason", "named"),
    [
        ([], RejectReason.EMPTY_CONVERSATION, "empty"),
        ("not json", RejectReason.MISSING_MESSAGES, "not json"),
        (7, RejectReason.MISSING_MESSAGES, "int"),
        (["hello"], RejectReason.MESSAGE_NOT_AN_OBJECT, "message 0 is a str"),
        ([user("hello")], RejectReason.NO_ASSISTANT_TURN, "user"),
        ([{"role": "system", "content": "x"}], RejectReason.NO_ASSISTANT_TURN, "system"),
        ([{"role": "robot", "content": "x"}], RejectReason.UNKNOWN_ROLE, "'robot'"),
        ([{"role": "human", "content": "x"}], RejectReason.UNKNOWN_ROLE, "rename it to user"),
        ([{"role": "function", "content": "x"}], RejectReason.UNKNOWN_ROLE, "rename it to tool"),
        ([{"content": "x"}], RejectReason.UNKNOWN_ROLE, "None"),
        ([{"from": "gpt", "value": "x"}], RejectReason.SHAREGPT_KEYS, "value to content"),
        ([user(None), assistant("x")], RejectReason.CONTENT_NOT_TEXT, "NoneType"),
        ([user(3.5), assistant("x")], RejectReason.CONTENT_NOT_TEXT, "3.5"),
        ([user(True), assistant("x")], RejectReason.CONTENT_NOT_TEXT, "bool"),
        ([user([IMAGE]), assistant("x")], RejectReason.IMAGE_PART, "image_url"),
        ([user([{"type": "audio"}]), assistant("x")], RejectReason.CONTENT_NOT_TEXT, "audio"),
        ([user("x"), result("r"), assistant("x")], RejectReason.TOOL_RESULT_WITHOUT_CALL, "'c1'"),
        ([CALL, result("r", call_id="c2")], RejectReason.TOOL_RESULT_WITHOUT_CALL, "'c2'"),
        ([assistant("", tool_calls=[{"id": "c1"}])], RejectReason.BAD_TOOL_CALLS, "name"),
        ([assistant("", tool_calls="[{")], RejectReason.BAD_TOOL_CALLS, "not JSON"),
        ([user("broken \ud83d emoji"), assistant("x")], RejectReason.BAD_TEXT, "lone surrogate"),
        ([assistant("x", suggested_text="y", acceptance="liked")], RejectReason.BAD_METADATA, "'liked'"),
    ],
)
def test_what_cannot_be_kept_is_refused_by_name(items: object, reason: RejectReason, named: str) -> None:
    found, detail = refusal(items)

    assert found is reason
    assert named in detail


@pytest.mark.parametrize(
    ("items", "note"),
    [
        ([user("x"), CALL], Note.TOOL_CALL_WITHOUT_RESULT),
        ([user("x"), assistant("a"), assistant("b")], Note.ASSISTANT_TWICE_IN_A_ROW),
        ([assistant("hello"), user("hi")], Note.STARTS_WITH_ASSISTANT),
        ([user("x"), assistant(" ")], Note.EMPTY_ASSISTANT_TURN),
        ([user("a\0b"), assistant("x")], Note.NUL_CHARACTER),
    ],
)
def test_what_is_unusual_is_kept_and_noted(items: list[Json], note: Note) -> None:
    parsed = parse_messages(items)

    assert parsed.notes == (note,)
    assert len(parsed.messages) == len(items)


def test_messages_come_back_as_logged() -> None:
    items = [{"role": "system", "content": "s"}, user("u"), CALL, result("r"), assistant("a"), user("bye")]

    messages = parse_messages(items).messages

    assert [message.role for message in messages] == [
        "system",
        "user",
        "assistant",
        "tool",
        "assistant",
        "user",
    ]
    assert messages[2] == Message(Role.ASSISTANT, "", json.dumps(CALL["tool_calls"]))
    assert messages[3] == Message(Role.TOOL, "r", tool_call_id="c1")
    assert parse_messages(items).notes == ()


def test_text_parts_are_joined_and_roles_may_be_in_any_case() -> None:
    parts = [{"type": "text", "text": "two "}, "tickets"]

    messages = parse_messages(
        [{"role": "User", "content": parts}, {"role": "ASSISTANT", "content": "ok"}]
    ).messages

    assert messages == (Message(Role.USER, "two tickets"), Message(Role.ASSISTANT, "ok"))


def test_a_developer_message_is_a_system_message() -> None:
    assert (
        parse_messages([{"role": "developer", "content": "d"}, assistant("x")]).messages[0].role
        is Role.SYSTEM
    )


def test_parallel_calls_want_a_result_each() -> None:
    both = assistant("", tool_calls=[{"id": i, "function": {"name": "f"}} for i in ("a", "b")])

    answered = parse_messages([user("x"), both, result("1", call_id="a"), result("2", call_id="b")])
    half = parse_messages([user("x"), both, result("1", call_id="a")])

    assert answered.notes == ()
    assert half.notes == (Note.TOOL_CALL_WITHOUT_RESULT,)


def test_unnumbered_tool_results_are_accepted_after_any_call() -> None:
    plain = assistant("", tool_calls=[{"function": {"name": "f"}}])

    assert parse_messages([plain, {"role": "tool", "content": "r"}]).notes == (Note.STARTS_WITH_ASSISTANT,)


@pytest.mark.parametrize(
    "text", ["x" * 1_000_000, "a\r\nb", "\u202eright to left", "👩‍👩‍👧", "&lt;b&gt;", "<eot>"]
)
def test_strange_text_is_kept_letter_by_letter(text: str) -> None:
    assert parse_messages([user(text), assistant("x")]).messages[0].content == text


def test_five_hundred_turns_are_fine_and_more_than_the_lake_can_number_are_not() -> None:
    turn = [user("x"), assistant("y")]

    assert len(parse_messages(turn * 500).suggestions) == 500
    assert refusal(turn * 32_001)[0] is RejectReason.TOO_MANY_TURNS


@pytest.mark.parametrize(
    ("logged", "expected"),
    [
        ({}, None),
        ({"suggested_text": "x"}, Suggestion("x", "verbatim")),
        ({"suggested_text": "y"}, Suggestion("y", "edited")),
        ({"suggested_text": "y", "acceptance": "ignored"}, Suggestion("y", "ignored")),
    ],
)
def test_a_suggestion_stands_beside_what_was_sent(logged: Json, expected: Suggestion | None) -> None:
    assert parse_messages([user("q"), assistant("x", **logged)]).suggestions == (expected,)


def test_messages_may_be_json_text_as_in_many_parquet_files() -> None:
    assert len(parse_messages(json.dumps([user("q"), assistant("x")])).messages) == 2
