"""Who spoke with the assistant: found where logs keep it, and never made up."""

import pytest

from itpo_core.logs.duplicates import Duplicates, Sourced
from itpo_core.logs.formats import LOG_FORMATS
from itpo_core.logs.parsed import Note, ParsedConversation, Row
from itpo_core.logs.users import user_of
from tests.log_shapes import assistant, doctor_rows, numbered, openai_row, tau_row, user


def parsed(log_format: str, *rows: Row, user_column: str = "user") -> list[ParsedConversation]:
    """The conversations of these rows."""
    parse = LOG_FORMATS[log_format].parse
    found = parse(numbered(rows), outcome_column="outcome", user_column=user_column)
    return [each for each in found if isinstance(each, ParsedConversation)]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"user": "u1"}, "u1"),
        ({"user_id": 7}, "7"),
        ({"metadata": {"user": "u2"}}, "u2"),
        ({"user": "", "metadata": {"user_id": "u3"}}, "u3"),
        ({"user": float("nan"), "user_id": 12.0}, "12"),
        ({"user": None}, None),
        ({}, None),
    ],
)
def test_the_default_column_means_the_usual_places(row: Row, expected: str | None) -> None:
    assert user_of(row, "user") == (expected, ())


def test_a_column_that_was_named_is_the_only_place() -> None:
    row = {"user": "no", "customer": {"id": "yes"}}

    assert user_of(row, "customer.id") == ("yes", ())
    assert user_of(row, "customer.name") == (None, ())


@pytest.mark.parametrize("value", [{"id": 1}, ["a"], True, 0.5, float("inf")])
def test_what_is_no_id_is_noted_and_not_made_up(value: object) -> None:
    assert user_of({"user": value}, "user") == (None, (Note.USER_UNREADABLE,))


def test_every_format_reads_the_user() -> None:
    rows = {"openai": [openai_row(user="u")], "tau_bench": [{**tau_row(1, 1), "user": "u"}],
            "mtmeddialog": [{**row, "user": "u"} for row in doctor_rows("cough", 3)]}  # fmt: skip

    found = {name: [each.user_id for each in parsed(name, *given)] for name, given in rows.items()}

    assert found == {"openai": ["u"], "tau_bench": ["u"], "mtmeddialog": ["u"]}


def test_simulated_customers_are_no_users_unless_their_column_is_named() -> None:
    assert [each.user_id for each in parsed("tau_bench", tau_row(1, 1))] == [None]
    assert [each.user_id for each in parsed("tau_bench", tau_row(1, 1), user_column="info.task.user_id")] == [
        "user_1"
    ]


def test_two_users_who_say_the_same_are_two_conversations() -> None:
    talks = parsed("openai", *(openai_row(user=name) for name in ("u1", "u2", "u1")))
    duplicates = Duplicates()

    taken = [each.user_id for each in talks if duplicates.take(Sourced("log", each).said) is None]

    assert taken == ["u1", "u2"]


def test_turns_of_two_users_are_never_one_consultation() -> None:
    rows = [{**row, "user": name} for row in doctor_rows("cough", 2) for name in ("u1", "u2")]

    found = parsed("mtmeddialog", *rows)

    assert [(each.user_id, each.rows) for each in found] == [("u1", (1, 3)), ("u2", (2, 4))]


def test_a_log_without_users_keeps_the_identities_that_it_had() -> None:
    (talk,) = parsed("openai", openai_row(user("two tickets"), assistant("booked"), id="c1"))

    assert talk.body_digest == "15ee33e754b57c3281e46fd9b79c8469eed6a1e905e5fe951a34d97e4b4ce3ea"
