"""Scripted logs are an ordinary log file: what was written comes back, hidden facts and truth included."""

import json
from pathlib import Path

from itpo_core.envs.catalogue import sales
from itpo_core.types import Conversation, Scored
from storage.tables import conform
from tasks.log_intake import ImportedLogs, import_files
from tasks.logged_rows import Place
from tasks.records import messages_from_json
from tasks.scripted_logs import DIRECT_REQUEST, log_line, write_scripted_logs

DOMAIN = sales("small")


def written(folder: Path, *, conversations: int = 30, requests: int = 10) -> Path:
    """A small log file."""
    return write_scripted_logs(folder, DOMAIN, conversations=conversations, requests=requests, seed=7)


def read_back(path: Path) -> ImportedLogs:
    """The file through the importer, annotated by the domain's oracle."""
    return import_files([path], log_format="openai", place=Place("sales"), domain=DOMAIN)


def test_the_same_seed_writes_the_same_bytes(tmp_path: Path) -> None:
    first, second = written(tmp_path / "a"), written(tmp_path / "b")

    assert first.read_bytes() == second.read_bytes()
    assert len(first.read_text().splitlines()) == 40


def test_conversations_come_back_as_they_were_written(tmp_path: Path) -> None:
    logging_policy = DOMAIN.logging_policy
    assert logging_policy is not None
    spoken: list[Conversation] = logging_policy.conversations(count=30, seed=3)
    lines = [log_line(each, logged_id=each.conversation_id, persona_id="default") for each in spoken]
    (tmp_path / "log.jsonl").write_text("".join(lines))

    rows = conform("conversations", read_back(tmp_path / "log.jsonl").tables["conversations"]).to_pylist()

    by_row = {row["source_row"]: row for row in rows}
    for number, each in enumerate(spoken, start=1):
        row, scored = by_row[number], each.outcome
        assert messages_from_json(row["messages_json"]) == each.messages
        assert isinstance(scored, Scored)
        assert (row["outcome"], row["stop_reason"], row["seed"]) == (scored.value, each.stop.value, each.seed)
        assert (row["scenario_id"], row["latent_json"]) == (
            each.scenario.scenario_id,
            each.scenario.latent_json,
        )


def test_every_turn_has_the_truth_that_it_had_when_it_was_spoken(tmp_path: Path) -> None:
    turns = read_back(written(tmp_path)).tables["turns"].to_pylist()

    assert {turn["turn_kind"] is None for turn in turns} == {False}
    assert all(0 <= turn["optimal_value"] <= 1 for turn in turns)


def test_direct_requests_can_be_told_apart(tmp_path: Path) -> None:
    rows = read_back(written(tmp_path)).tables["conversations"].to_pylist()

    assert sum(row["persona_id"] == DIRECT_REQUEST for row in rows) == 10
    assert {row["simulator"] for row in rows} == {"sales"}


def test_facts_of_another_shop_are_refused_by_row(tmp_path: Path) -> None:
    path = written(tmp_path, conversations=3, requests=1)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[1]["metadata"]["scenario"] = '{"product":"submarine","values":{},"volunteered":[]}'
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))

    logs = read_back(path)

    assert logs.counts.reasons == {"bad_metadata": 1}
    assert logs.counts.accepted == 3


def test_a_label_that_comes_late_for_what_was_refused_changes_nothing(tmp_path: Path) -> None:
    path = written(tmp_path, conversations=3, requests=1)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[0]["outcome"] = None
    foreign = {**lines[1], "id": "foreign", "outcome": None}
    foreign["metadata"] = {**foreign["metadata"], "scenario": '{"product":"submarine","values":{}}'}
    lines += [foreign, {**foreign, "outcome": 1.0}]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))

    logs = read_back(path)

    assert logs.counts.reasons == {"bad_metadata": 1, "duplicate": 1}
    assert logs.counts.unscored == {"null outcome": 1}
