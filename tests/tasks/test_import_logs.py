"""The import stage: committed once, resumed when repeated, refused when the files or settings changed."""

import json
import re
from pathlib import Path

import pytest

from storage import commits
from storage.errors import ConflictingCommit
from storage.verification import verify
from tasks import import_logs
from tasks.config import Config, ConfigError, Domain, Lake, Logs
from tasks.context import Context
from tasks.log_columns import UnknownOutcomeColumn
from tasks.log_detection import UnknownLogFormat
from tasks.log_intake import NothingImported
from tests.log_shapes import Json, assistant, openai_row, tau_row, user


def context_of(folder: Path, logs: Logs, *, seed: int = 0) -> Context:
    """Iteration 0 of a fresh experiment in a lake below the folder."""
    return Context(Config(experiment="talks", seed=seed, lake=Lake(root=str(folder / "lake")), logs=logs), 0)


def log_of(folder: Path, rows: list[Json]) -> Logs:
    """A configured OpenAI-style log file with these rows."""
    path = folder / "talks.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Logs(paths=(str(path),))


def test_an_import_is_committed_with_its_three_tables(tmp_path: Path) -> None:
    context = context_of(tmp_path, log_of(tmp_path, [openai_row(outcome=1), {"x": 1}]))

    result = import_logs.run(context)

    commit = context.read("rollouts")
    assert (result.digest, result.resumed) == (commit.digest, False)
    assert {file.table: file.rows for file in commit.files} == {
        "conversations": 1,
        "turns": 1,
        "quarantine": 1,
    }
    assert result.figures["because"] == "(missing_messages 1)"
    assert verify(context.store, commit) == []


def test_ids_of_the_log_are_kept_beside_the_conversations_that_have_one(tmp_path: Path) -> None:
    rows = [openai_row(user("one"), assistant("ok"), id="Ä-007"), openai_row(user("two"), assistant("ok"))]
    import_logs.run(context := context_of(tmp_path, log_of(tmp_path, rows)))

    commit = context.read("rollouts")
    kept = commits.read_table(context.store, commit, table="logged_ids").to_pylist()

    said = commits.read_table(context.store, commit, table="conversations").to_pylist()
    named = [row["conversation_id"] for row in said if "one" in row["messages_json"]]
    assert kept == [{"conversation_id": named[0], "logged_id": "Ä-007"}]


def test_a_repeated_import_changes_nothing(tmp_path: Path) -> None:
    context = context_of(tmp_path, log_of(tmp_path, [openai_row(outcome=1)]))

    first, second = import_logs.run(context), import_logs.run(context)

    assert (first.digest, second.resumed) == (second.digest, True)


def test_other_rows_under_the_same_experiment_are_refused(tmp_path: Path) -> None:
    import_logs.run(context_of(tmp_path, log_of(tmp_path, [openai_row(outcome=1)])))

    with pytest.raises(ConflictingCommit, match="files"):
        import_logs.run(context_of(tmp_path, log_of(tmp_path, [openai_row(outcome=0)])))


def test_nothing_is_committed_when_nothing_was_accepted(tmp_path: Path) -> None:
    context = context_of(tmp_path, log_of(tmp_path, [{"x": 1}]))

    with pytest.raises(NothingImported):
        import_logs.run(context)

    assert context.find("rollouts") is None


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.jsonl"):
        import_logs.run(context_of(tmp_path, Logs(paths=("nowhere.jsonl",))))


def test_the_outcome_column_is_the_one_of_the_format_unless_another_is_named(tmp_path: Path) -> None:
    path = tmp_path / "tau.json"
    path.write_text(json.dumps([tau_row(0, 0, reward=1.0)]))

    import_logs.run(context := context_of(tmp_path, Logs(paths=(str(path),), format="tau_bench")))

    (row,) = commits.read_table(context.store, context.read("rollouts"), table="conversations").to_pylist()
    assert (row["outcome"], row["judge_version"]) == (1.0, "logged:reward")


def test_an_outcome_column_that_nothing_has_is_refused_with_those_that_are_there(tmp_path: Path) -> None:
    rows = [openai_row(resolved=1, metadata={"score": 0.5, "city": "Bern"}), {"x": "?"}]
    wrong = context_of(tmp_path, Logs(paths=log_of(tmp_path, rows).paths, outcome_column="resolvd"))

    with pytest.raises(UnknownOutcomeColumn, match=r"not one of 1 conversations has .* 'resolvd'") as refused:
        import_logs.run(wrong)

    assert "resolved, metadata.score hold numbers from 0 to 1" in str(refused.value)
    assert "without outcomes leave it out" in str(refused.value)
    assert wrong.find("rollouts") is None


def test_an_outcome_column_that_some_conversation_has_is_taken(tmp_path: Path) -> None:
    rows = [openai_row(won=1), openai_row(user("hm"), assistant("yes"))]
    paths = log_of(tmp_path, rows).paths

    result = import_logs.run(context_of(tmp_path, Logs(paths=paths, outcome_column="won")))

    assert result.figures["unscored"] == "(no outcome column 1)"


@pytest.mark.parametrize(
    ("outcomes", "said"),
    [
        ([1, 2, 5], "2 of 3 are no number from 0 to 1.* the 1 that count as scored are wrong too"),
        (["yes", "no", None], r"2 of 3 are no number from 0 to 1, nor true or false: write them so"),
    ],
)
def test_outcomes_on_another_scale_or_in_words_are_doubted(
    tmp_path: Path, outcomes: list[object], said: str
) -> None:
    rows = [openai_row(user(f"I am {n}"), assistant("hm"), outcome=each) for n, each in enumerate(outcomes)]

    result = import_logs.run(context_of(tmp_path, log_of(tmp_path, rows)))

    assert re.search(said, str(result.figures["outcomes"]))


def test_outcomes_that_are_some_are_not_doubted(tmp_path: Path) -> None:
    rows = [openai_row(outcome=1), openai_row(user("hm"), assistant("yes"), outcome=None)]

    assert "outcomes" not in import_logs.run(context_of(tmp_path, log_of(tmp_path, rows))).figures


def test_a_null_in_the_outcome_column_is_an_outcome_that_is_not_known_yet(tmp_path: Path) -> None:
    paths = log_of(tmp_path, [openai_row(won=None)]).paths

    result = import_logs.run(context_of(tmp_path, Logs(paths=paths, outcome_column="won")))

    assert result.figures["unscored"] == "(null outcome 1)"


def test_a_user_column_in_which_nobody_is_named_is_said(tmp_path: Path) -> None:
    talks = [openai_row(outcome=1, customer="ann"), openai_row(user("hm"), assistant("yes"))]
    paths = log_of(tmp_path, talks).paths

    wrong = import_logs.run(context_of(tmp_path / "wrong", Logs(paths=paths, user_column="custommer")))
    right = import_logs.run(context_of(tmp_path / "right", Logs(paths=paths, user_column="customer")))
    usual = import_logs.run(context_of(tmp_path / "usual", Logs(paths=paths)))

    assert "names its user in 'custommer'" in str(wrong.figures["user_column"])
    assert "user_column" not in {**right.figures, **usual.figures}


def test_a_folder_in_the_place_of_a_log_file_is_called_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a folder, no log file; give the path of"):
        import_logs.run(context_of(tmp_path, Logs(paths=(str(tmp_path),))))


def test_without_files_the_scripted_logs_of_the_domain_are_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ITPO_WORK", str(tmp_path / "work"))
    logs = Logs(scripted_conversations=6, scripted_requests=4)

    digests = [import_logs.run(context_of(tmp_path / place, logs)).digest for place in ("a", "b")]

    assert digests[0] == digests[1]
    with pytest.raises(ConflictingCommit, match="seed"):
        import_logs.run(context_of(tmp_path / "a", logs, seed=1))


def test_another_preset_is_another_import(tmp_path: Path) -> None:
    logs = log_of(tmp_path, [openai_row(outcome=1)])
    inputs = [
        import_logs.import_inputs(Config(experiment="a", logs=logs, domain=Domain(preset=preset)), [])
        for preset in ("small", "hard")
    ]

    assert inputs[0] != inputs[1]


def test_an_empty_file_is_not_taken_for_an_unknown_format(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text("\n", encoding="utf-8")

    with pytest.raises(UnknownLogFormat, match=r"log\.jsonl: no readable row"):
        import_logs.run(context_of(tmp_path, Logs(paths=(str(path),), format="auto")))


def test_a_file_that_is_no_text_is_told_as_one(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text(json.dumps(openai_row()) + "\n", encoding="utf-16")

    with pytest.raises(UnknownLogFormat, match=r"no readable row \(not JSON.*\), so no format is found"):
        import_logs.run(context_of(tmp_path, Logs(paths=(str(path),), format="auto")))
