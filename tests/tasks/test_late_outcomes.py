"""Outcomes joined later: every row accounted, one new revision, nothing that was committed changes."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from itpo_core.types import Unscored
from storage import commits, leases
from storage.errors import ConflictingCommit
from storage.verification import verify
from tasks import curate, import_logs, late_outcomes, pipeline
from tasks.config import ConfigError, Outcomes
from tasks.context import Context
from tasks.label_intake import Joining
from tasks.label_rows import Known
from tasks.late_outcomes import AlreadyLearnt, NothingJoined
from tasks.log_privacy import POLICIES
from tests.log_shapes import Json, openai_row
from tests.told_logs import context_of, imported, rows_of, write

JOINED = {"accepted", "duplicate", "contradicting", "unmatched", "refused"}


def outcomes_of(context: Context) -> dict[str, object]:
    """Outcome, or why there is none, by the id of the log."""
    names = {str(row["conversation_id"]): str(row["logged_id"]) for row in rows_of(context, "logged_ids")}
    return {
        names[str(row["conversation_id"])]: row["outcome_reason"]
        if row["outcome"] is None
        else row["outcome"]
        for row in rows_of(context, "conversations")
    }


def test_outcomes_find_their_conversations_by_the_id_of_the_log(tmp_path: Path) -> None:
    imported(tmp_path)
    context = context_of(tmp_path, [{"key": "c1", "outcome": 1}, {"key": "c2", "outcome": False}])

    result = late_outcomes.run(context)

    assert (result.commit, result.resumed) == ("talks/rollouts-0001/0000", False)
    assert outcomes_of(context) == {"c1": 1.0, "c2": 0.0, "c3": "no outcome column: 'outcome' is not among "
                                    "id, messages"}  # fmt: skip
    assert {row["judge_version"] for row in rows_of(context, "conversations")} == {
        "joined:crm.jsonl",
        "logged:outcome",
    }


def test_every_row_is_counted_once_under_its_name_and_none_is_lost(tmp_path: Path) -> None:
    imported(tmp_path)
    told: list[Json] = [
        {"key": "c1", "outcome": 1},
        {"key": "c1", "outcome": 1},
        {"key": "c1", "outcome": 0},
        {"key": "c9", "outcome": 1},
        {"key": "c2", "outcome": 7},
        {"key": "c2", "outcome": 1, "turn": 1},
        {"key": "c2", "outcome": 1, "turn": 0},
    ]

    result = late_outcomes.run(context := context_of(tmp_path, told))

    counts = {name: result.figures[name] for name in sorted(JOINED)}
    assert counts == {"accepted": 2, "contradicting": 1, "duplicate": 1, "refused": 2, "unmatched": 1}
    assert result.figures["read"] == 7
    assert result.figures["because"] == "(bad_outcome 1, no_such_turn 1, unmatched 1)"
    kept = [row["raw"] for name in ("outcomes", "quarantine") for row in rows_of(context, name) if row["raw"]]
    assert sorted(map(json.loads, kept), key=str) == sorted(told[1:6], key=str)


def test_the_same_file_again_changes_nothing(tmp_path: Path) -> None:
    imported(tmp_path)
    context = context_of(tmp_path, [{"key": "c1", "outcome": 1}])

    first, second = late_outcomes.run(context), late_outcomes.run(context)

    assert (second.digest, second.resumed) == (first.digest, True)
    assert context.key("rollouts").text == "talks/rollouts-0001/0000"


def test_the_import_stays_as_it_was_and_the_revision_names_the_file(tmp_path: Path) -> None:
    imported(tmp_path)
    context = context_of(tmp_path, [{"key": "c1", "outcome": 1}])
    before = context.read("rollouts")

    late_outcomes.run(context)

    after = context.read("rollouts")
    assert commits.read(context.store, before.key) == before
    assert after.parents == {"rollouts": before.digest}
    assert [list(each["files"]) for each in late_outcomes.history(after)] == [["crm.jsonl"]]
    assert verify(context.store, after) == []


def test_a_week_later_another_file_is_another_revision_of_all_that_is_known(tmp_path: Path) -> None:
    imported(tmp_path)
    late_outcomes.run(context_of(tmp_path, [{"key": "c1", "outcome": 1}, {"key": "c7", "outcome": 1}]))
    later = write(tmp_path / "later.jsonl", [{"key": "c1", "outcome": 0}, {"key": "c2", "outcome": 1}])

    result = late_outcomes.run(context := context_of(tmp_path, later))

    assert result.commit == "talks/rollouts-0002/0000"
    assert outcomes_of(context)["c1"] == "contradicting outcomes: 1, 0"
    assert outcomes_of(context)["c2"] == 1.0
    assert [row["joined"] for row in rows_of(context, "outcomes")].count(1) == 1
    assert [row["source_file"] for row in rows_of(context, "quarantine")] == ["crm.jsonl"]


def test_read_again_under_newest_wins_a_contradiction_is_settled_by_time(tmp_path: Path) -> None:
    imported(tmp_path)
    told: list[Json] = [
        {"key": "c1", "outcome": 0, "time": "2026-05-09"},
        {"key": "c1", "outcome": 1, "time": "2026-05-02"},
    ]
    torn = outcomes_of(_joined(context_of(tmp_path, told)))["c1"]

    settled = outcomes_of(_joined(context_of(tmp_path, told, newest_wins=True)))["c1"]

    assert (torn, settled) == ("contradicting outcomes: 0, 1", 0.0)


def _joined(context: Context) -> Context:
    late_outcomes.run(context)
    return context


def test_a_fact_of_the_metadata_may_be_the_key(tmp_path: Path) -> None:
    imported(tmp_path, {"id": "c1", "metadata": {"order": {"number": 17}}}, {"id": "c2"})
    told: list[Json] = [{"order": "17", "bought": True}]
    how = {"key": "metadata.order.number", "key_column": "order", "outcome_column": "bought"}

    assert outcomes_of(_joined(context_of(tmp_path, told, **how)))["c1"] == 1.0


def test_a_key_of_two_conversations_is_of_neither(tmp_path: Path) -> None:
    shop = {"metadata": {"shop": "north"}}
    imported(
        tmp_path, {"id": "c1", **shop}, {"id": "c2", **shop}, {"id": "c3", "metadata": {"shop": "south"}}
    )
    told: list[Json] = [{"key": "north", "outcome": 1}, {"key": "south", "outcome": 1}]

    result = late_outcomes.run(context := context_of(tmp_path, told, key="metadata.shop"))

    assert result.figures["because"] == "(ambiguous_key 1)"
    assert [name for name, said in outcomes_of(context).items() if said == 1.0] == ["c3"]


def test_where_no_key_meets_a_conversation_nothing_is_committed(tmp_path: Path) -> None:
    imported(tmp_path)
    context = context_of(tmp_path, [{"key": "order 9", "outcome": 1}])

    with pytest.raises(NothingJoined, match=r"unmatched 1.*--key"):
        late_outcomes.run(context)

    assert context.key("rollouts").text == "talks/rollouts/0000"


@pytest.mark.parametrize(
    ("row", "remedy"),
    [
        ({"order": "c1", "outcome": 1}, "--key-column names"),
        ({"key": "c1", "won": 1}, "--outcome-column names"),
        ({"key": "c1", "outcome": "yes"}, "a number from 0 to 1"),
    ],
)
def test_the_commonest_defect_is_told_with_its_remedy(tmp_path: Path, row: Json, remedy: str) -> None:
    imported(tmp_path)

    with pytest.raises(NothingJoined, match=remedy):
        late_outcomes.run(context_of(tmp_path, [row]))


def test_what_is_curated_afterwards_is_curated_from_the_outcomes(tmp_path: Path) -> None:
    imported(tmp_path)
    context = context_of(tmp_path, [{"key": "c1", "outcome": 1}, {"key": "c2", "outcome": None}])
    before = curate.run(context)

    late_outcomes.run(context)
    after = curate.run(context)

    assert (before.figures, after.figures) == ({"unscored": 3}, {"kept": 1, "unscored": 2})
    assert after.commit == "talks/curated-0001/0000"
    assert context.read("curated").parents == {"rollouts": context.read("rollouts").digest}


@pytest.mark.parametrize("kind", ["policy", "reward"])
def test_what_was_learnt_from_stays_as_it_is(tmp_path: Path, kind: str) -> None:
    imported(tmp_path)
    context = context_of(tmp_path, [{"key": "c1", "outcome": 1}])
    commits.commit(context.store, context.key(kind), tables={}, parents={}, inputs={}, attempt="a")

    with pytest.raises(AlreadyLearnt, match=rf"talks/{kind}/0000.*another experiment name"):
        late_outcomes.run(context)


def test_an_import_whose_configuration_names_outcomes_joins_them_and_again_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ITPO_WORK", str(tmp_path / "work"))
    write(tmp_path / "talks.jsonl", [openai_row(id="c1")])
    context = context_of(tmp_path, [{"key": "c1", "outcome": 1}])

    first, second = pipeline.run_in(context, "import"), pipeline.run_in(context, "import")

    assert (first["commit"], first["figures"]["outcomes_accepted"]) == ("talks/rollouts-0001/0000", 1)
    assert (second["digest"], second["resumed"]) == (first["digest"], True)


def test_an_import_that_joins_another_file_holds_a_lease_though_the_logs_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ITPO_WORK", str(tmp_path / "work"))
    imported(tmp_path)
    context = context_of(tmp_path, [{"key": "c1", "outcome": 1}])

    pipeline.run_in(context, "import")

    lease = leases.read_lease(context.store, leases.lease_place("talks", "import-0000"))
    assert lease is not None
    assert lease.fence == 1


def test_a_joining_that_was_killed_is_finished_by_the_next(tmp_path: Path) -> None:
    imported(tmp_path)
    context = context_of(tmp_path, [{"key": "c1", "outcome": 1}])
    late_outcomes.run(context)
    done = context.read("rollouts")
    (tmp_path / "lake" / done.key.prefix / "commit.json").unlink()

    later = write(tmp_path / "later.jsonl", [{"key": "c2", "outcome": 1}])
    late_outcomes.run(other := context_of(tmp_path, later))

    assert commits.read(context.store, done.key) == done
    assert {outcomes_of(other)[name] for name in ("c1", "c2")} == {1.0}


def test_of_two_joinings_at_once_the_second_goes_on_from_the_first(tmp_path: Path) -> None:
    imported(tmp_path)
    context = context_of(tmp_path, [{"key": "c1", "outcome": 1}])
    other = context_of(tmp_path, write(tmp_path / "other.jsonl", [{"key": "c2", "outcome": 1}]))
    logs = late_outcomes.Logs(other.read("rollouts"), other.read("rollouts"))

    late_outcomes.run(context)

    assert late_outcomes.revise(other, logs, new={tmp_path / "other.jsonl": ("other.jsonl", "hash")}) is None
    assert late_outcomes.run(other).commit == "talks/rollouts-0002/0000"


def test_other_settings_of_the_import_are_still_refused(tmp_path: Path) -> None:
    imported(tmp_path)
    _joined(context_of(tmp_path, [{"key": "c1", "outcome": 1}]))

    with pytest.raises(ConflictingCommit, match="outcome_column"):
        import_logs.run(context_of(tmp_path, "unused", logs={"outcome_column": "won"}))


@pytest.mark.parametrize("told", ["nowhere.jsonl", "nowhere.csv"])
def test_a_missing_file_is_named(tmp_path: Path, told: str) -> None:
    imported(tmp_path)

    with pytest.raises(ConfigError, match="nowhere"):
        late_outcomes.run(context_of(tmp_path, told))


def test_without_an_import_there_is_nothing_to_join_to(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="itpo import"):
        late_outcomes.run(context_of(tmp_path, [{"key": "c1", "outcome": 1}]))


def test_under_masking_no_personal_key_value_or_reason_is_kept(tmp_path: Path) -> None:
    mask = {"personal_data": "mask"}
    imported(tmp_path, {"id": "c1"}, {"id": "ann@example.com"}, logs=mask)
    told: list[Json] = [
        {"key": "c1", "outcome": None, "reason": "wrote to ann@example.com", "source": "ann@example.com"},
        {"key": "ann@example.com", "outcome": 1},
        {"key": "c1", "outcome": "see ann@example.com"},
    ]

    # The policy of the import holds, whatever the configuration says by now.
    result = late_outcomes.run(context := context_of(tmp_path, told))

    kept = json.dumps(
        [rows_of(context, name) for name in ("conversations", "outcomes", "quarantine", "logged_ids")]
    )
    assert result.figures["because"] == "(bad_outcome 1, unmatched 1)"
    assert "ann" not in kept
    assert "wrote to [email 1]" in kept


ROWS = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "key": st.sampled_from(["c1", "c2", "zz", 7, None, "", [1]]),
            "outcome": st.sampled_from([0, 1, 0.5, True, None, "x", 2, float("nan")]),
            "turn": st.sampled_from([0, 1, 9, "0", "x", None, -1]),
            "time": st.sampled_from([None, "2026-01-01", 5, "soon"]),
            "reason": st.sampled_from([None, "gone", 5]),
        },
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=40)
@given(rows=ROWS)
def test_whatever_a_file_holds_its_rows_are_conserved(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Json]
) -> None:
    path = Path(write(tmp_path_factory.mktemp("told") / "crm.jsonl", rows))
    unknown = Unscored("no outcome column")
    known = Known({"c1": ["c1"], "c2": ["c2"]}, {"c1": 1, "c2": 2}, {"c1": unknown, "c2": unknown})

    joined = Joining(known, Outcomes(), privacy=POLICIES["keep"], newest_wins=False).read({path: "crm.jsonl"})

    assert len(joined.told) + len(joined.refused) == len(rows)
    assert sum(joined.counts[name] for name in JOINED) == len(rows)
    assert joined.reasons.total() == joined.counts["unmatched"] + joined.counts["refused"]
