"""Outcomes that say nothing new change nothing, and none are joined to what somebody is learning from."""

from pathlib import Path

import pytest

from storage import commits, revisions
from storage.errors import SupersededLogs
from tasks import late_outcomes
from tasks.late_outcomes import AlreadyLearnt
from tests.log_shapes import Json
from tests.told_logs import context_of, imported, rows_of, write


@pytest.mark.parametrize("asked", ["id", "conversation_id", "order", "metadata.order"])
def test_the_same_said_under_another_key_is_nothing_new(tmp_path: Path, asked: str) -> None:
    imported(tmp_path, {"id": "c1", "metadata": {"order": "o1"}}, {"id": "c2", "metadata": {"order": "o2"}})
    context = context_of(tmp_path, [{"key": "o1", "outcome": 1}], key="metadata.order")
    first = late_outcomes.run(context)
    [of_lake] = [row["conversation_id"] for row in rows_of(context, "logged_ids") if row["logged_id"] == "c1"]
    named = {"id": " c1 ", "conversation_id": of_lake}.get(asked, "o1")

    again = write(tmp_path / "again.jsonl", [{"key": named, "outcome": True}])
    second = late_outcomes.run(context_of(tmp_path, again, key=asked))

    assert (second.commit, second.digest, second.resumed) == (first.commit, first.digest, True)
    assert second.figures["duplicate"] == 1


@pytest.mark.parametrize(
    "more",
    [
        {"key": "c1", "outcome": 0},
        {"key": "c2", "outcome": 1},
        {"key": "c1", "outcome": 1, "time": "2026-05-02"},
        {"key": "c9", "outcome": 1},
        {"key": "c1", "outcome": 7},
    ],
)
def test_a_row_that_says_more_beside_those_that_repeat_is_another_revision(
    tmp_path: Path, more: Json
) -> None:
    imported(tmp_path)
    late_outcomes.run(context_of(tmp_path, [{"key": "c1", "outcome": 1}]))
    later = write(tmp_path / "later.jsonl", [{"key": "c1", "outcome": 1}, more])

    result = late_outcomes.run(context_of(tmp_path, later))

    assert (result.commit, result.resumed) == ("talks/rollouts-0002/0000", False)


def test_rows_that_were_refused_before_are_nothing_new(tmp_path: Path) -> None:
    imported(tmp_path)
    told: list[Json] = [{"key": "c1", "outcome": 1}, {"key": "c9", "outcome": 1}]
    first = late_outcomes.run(context_of(tmp_path, told))

    again = write(tmp_path / "again.jsonl", [*told, told[0]])
    second = late_outcomes.run(context_of(tmp_path, again))

    assert (second.digest, second.resumed) == (first.digest, True)


def test_what_adds_nothing_may_come_when_something_was_learnt(tmp_path: Path) -> None:
    imported(tmp_path)
    context = context_of(tmp_path, [{"key": "c1", "outcome": 1}])
    late_outcomes.run(context)
    commits.commit(context.store, context.key("policy"), tables={}, parents={}, inputs={}, attempt="a")
    again = write(tmp_path / "again.jsonl", [{"key": "c1", "outcome": 1.0}])

    assert late_outcomes.run(context_of(tmp_path, again)).resumed


def test_what_is_learning_when_outcomes_come_shuts_them_out(tmp_path: Path) -> None:
    imported(tmp_path)
    context = context_of(tmp_path, [{"key": "c1", "outcome": 1}])
    read = context.read("rollouts").key

    # The look for what was learnt finds nothing: the policy is committed just afterwards.
    late_outcomes.check_untaught(context)
    revisions.hold(context.store, read, by=context.key("policy"))

    with pytest.raises(AlreadyLearnt, match=r"talks/rollouts-0001/0000 is closed.*another experiment name"):
        late_outcomes.run(context)
    assert context.key("rollouts") == read


def test_a_policy_of_logs_to_which_outcomes_were_joined_meanwhile_is_not_committed(tmp_path: Path) -> None:
    imported(tmp_path)
    context = context_of(tmp_path, [{"key": "c1", "outcome": 1}])
    read = context.read("rollouts").key
    late_outcomes.run(context)

    with pytest.raises(SupersededLogs, match=r"talks/policy/0000 was made from talks/rollouts/0000.*curate"):
        revisions.hold(context.store, read, by=context.key("policy"))
