"""The three shapes of log, row by row: ids, scenarios, outcomes; consultations rebuilt from their turns."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from itpo_core.logs.formats import LOG_FORMATS
from itpo_core.logs.parsed import Note, Parsed, ParsedConversation, Rejected, RejectReason
from itpo_core.types import Scored, Split, StopReason, Unscored
from tests.log_shapes import Json, assistant, doctor_rows, numbered, openai_row, tau_row, user


def parse(log_format: str, rows: list[Json], outcome_column: str = "outcome") -> list[Parsed]:
    """All that a parser makes of the rows."""
    return list(LOG_FORMATS[log_format].parse(numbered(rows), outcome_column=outcome_column))


def conversations(parsed: list[Parsed]) -> list[ParsedConversation]:
    """The accepted ones."""
    return [item for item in parsed if isinstance(item, ParsedConversation)]


def test_an_openai_row_says_who_and_what_in_its_metadata() -> None:
    facts = {
        "scenario_id": "s1",
        "scenario": {"b": 1, "a": 2},
        "split": "unseen",
        "persona_id": "rude",
        "seed": 9,
    }

    (parsed,) = conversations(
        parse("openai", [openai_row(id="c7", outcome=1, metadata=facts | {"stop_reason": "user_left"})])
    )

    assert (parsed.rows, parsed.logged_id, parsed.outcome) == ((1,), "c7", Scored(1.0))
    assert (parsed.scenario_id, parsed.split, parsed.persona_id) == ("s1", Split.UNSEEN, "rude")
    assert (parsed.seed, parsed.stop) == (9, StopReason.USER_LEFT)
    assert parsed.latent_json == '{"a":2,"b":1}'


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": "x"}, RejectReason.MISSING_MESSAGES),
        ({"conversations": [{"from": "human", "value": "x"}]}, RejectReason.SHAREGPT_KEYS),
        (openai_row(metadata=3), RejectReason.BAD_METADATA),
        (openai_row(metadata={"split": "test"}), RejectReason.BAD_METADATA),
        (openai_row(metadata={"seed": "x"}), RejectReason.BAD_METADATA),
        (openai_row(metadata={"seed": 2**63}), RejectReason.BAD_METADATA),
        (openai_row(metadata={"stop_reason": "failed"}), RejectReason.BAD_METADATA),
        (openai_row(metadata={"note": "\ud800"}), RejectReason.BAD_TEXT),
        (openai_row(id="\udfff"), RejectReason.BAD_TEXT),
    ],
)
def test_a_refused_row_does_not_stop_the_next(row: Json, reason: RejectReason) -> None:
    first, second = parse("openai", [row, openai_row()])

    assert isinstance(first, Rejected)
    assert (first.rows, first.reason) == ((1,), reason)
    assert isinstance(second, ParsedConversation)


def test_trials_of_one_tau_bench_task_share_its_scenario() -> None:
    rows = [tau_row(task, trial, reward=float(trial)) for trial in (0, 1) for task in (0, 1)]

    parsed = conversations(parse("tau_bench", rows, "reward"))

    assert [item.scenario_id for item in parsed] == ["tau_bench/task-0", "tau_bench/task-1"] * 2
    assert [item.outcome for item in parsed] == [Scored(0.0), Scored(0.0), Scored(1.0), Scored(1.0)]
    assert parsed[0].logged_id == "task-0/trial-0"
    assert parsed[1].persona_id == "user_1"


@pytest.mark.parametrize(
    ("missing", "reason"), [("traj", "missing_messages"), ("task_id", "missing_scenario")]
)
def test_a_tau_bench_row_without_its_parts_is_refused(missing: str, reason: str) -> None:
    row = tau_row(0, 0)
    del row[missing]

    (rejected,) = parse("tau_bench", [row])

    assert isinstance(rejected, Rejected)
    assert rejected.reason == reason


def test_a_consultation_is_rebuilt_from_its_rows() -> None:
    rows = [*doctor_rows("cough", 3), *doctor_rows("fever", 2)]

    first, second = conversations(parse("mtmeddialog", rows))

    assert (first.rows, second.rows) == ((1, 2, 3), (4, 5))
    assert [message.content for message in first.messages][-1] == "question 2 to cough"
    assert len(first.messages) == 7
    assert isinstance(first.outcome, Unscored)
    assert first.scenario_id != second.scenario_id


@given(st.permutations(list(range(7))))
def test_rows_in_any_order_give_the_same_consultations(order: list[int]) -> None:
    rows = [*doctor_rows("cough", 4), *doctor_rows("fever", 3)]

    parsed = parse("mtmeddialog", [rows[index] for index in order])

    # A turn met before an earlier one carries the whole history, so the earlier row only confirms it.
    kept = conversations(parsed)
    assert sorted(len(item.messages) for item in kept) == [7, 9]
    assert sum(len(item.rows) for item in kept) == 7


def test_a_lost_row_is_noted_and_its_turn_is_kept() -> None:
    rows = doctor_rows("cough", 4)

    (parsed,) = conversations(parse("mtmeddialog", [rows[0], rows[3]]))

    assert parsed.notes == (Note.ROWS_MISSING,)
    assert len(parsed.suggestions) == 4


def test_a_repeated_row_is_a_duplicate_and_a_branch_is_a_conversation_of_its_own() -> None:
    rows = doctor_rows("cough", 2)
    branch = {**rows[1], "response": "another question"}

    parsed = parse("mtmeddialog", [*rows, rows[1], branch])

    assert [item.reason for item in parsed if isinstance(item, Rejected)] == [RejectReason.DUPLICATE]
    assert [item.rows for item in conversations(parsed)] == [(1, 2), (4,)]


def test_two_assistant_turns_in_a_row_stay_two() -> None:
    (parsed,) = conversations(parse("openai", [openai_row(user("q"), assistant("a"), assistant("b"))]))

    assert len(parsed.suggestions) == 2
