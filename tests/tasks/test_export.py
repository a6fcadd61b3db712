"""Exports of a lake: conversations come back as they were, and every row that is not there is counted."""

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from storage import commits
from storage.errors import MissingCommit
from storage.exports import ExportRefused, about_path
from tasks.config import ConfigError
from tasks.context import Context
from tasks.export import Counts, Request, run
from tasks.log_intake import import_files
from tasks.logged_rows import Place
from tasks.records import messages_from_json
from tests.builders import make_context, make_lake
from tests.log_shapes import assistant, openai_row, user
from tests.storage.frozen import FIXTURES


def old_lake(folder: Path, *, version: int, iteration: int) -> Context:
    """A copy of a fixture as an experiment."""
    shutil.copytree(FIXTURES / f"v{version}" / "lake", folder / "lake")
    return make_context(folder, iteration=iteration)


def exported(
    context: Context, folder: Path, name: str, **asked: object
) -> tuple[Counts, list[dict[str, object]]]:
    """The counts and, of a JSONL file, its records."""
    path = folder / f"{name}.jsonl"
    counts = run(context, Request(path, name, **asked))
    return counts, [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def comparable(row: dict[str, object]) -> dict[str, object]:
    """What a conversation is apart from ids that its new experiment gives it; tool calls by their meaning."""
    names = ("outcome", "outcome_reason", "scenario_id", "split", "persona_id", "seed", "stop_reason",
             "n_turns", "latent_json", "user_id", "simulator")  # fmt: skip
    messages = [
        (m.role, m.content, json.loads(m.tool_calls or "null"), m.tool_call_id)
        for m in messages_from_json(str(row["messages_json"]))
    ]
    return {**{name: row[name] for name in names}, "messages": messages}


@pytest.mark.parametrize("version", [1, 2])
def test_exported_conversations_are_imported_as_they_were(tmp_path: Path, version: int) -> None:
    context = old_lake(tmp_path, version=version, iteration=0)
    before = commits.read_table(context.store, context.read("rollouts"), table="conversations").to_pylist()

    counts, _ = exported(context, tmp_path, "openai")
    back = import_files([tmp_path / "openai.jsonl"], log_format="openai", place=Place("again"))

    after = back.tables["conversations"].to_pylist()
    assert (counts.written, back.counts.accepted, len(before)) == (3, 3, 3)
    assert [comparable(row) for row in after] == [comparable(row) for row in before]


def test_what_was_suggested_survives_the_way_out_and_back(tmp_path: Path) -> None:
    log = openai_row(
        user("x"),
        assistant("sent", suggested_text="proposed", acceptance="edited"),
        user("y"),
        assistant("own"),
    )
    (tmp_path / "log.jsonl").write_text(json.dumps(log))
    first = import_files([tmp_path / "log.jsonl"], log_format="openai", place=Place("shop"))
    context = make_context(tmp_path)
    commits.commit(
        context.store, context.key("rollouts"), tables=first.tables, parents={}, inputs={}, attempt="a"
    )

    exported(context, tmp_path, "openai")
    back = import_files([tmp_path / "openai.jsonl"], log_format="openai", place=Place("shop"))

    columns = ["suggested_text", "sent_text", "acceptance"]
    assert back.tables["turns"].select(columns).equals(first.tables["turns"].select(columns))


def test_failed_conversations_are_counted_and_never_exported(tmp_path: Path) -> None:
    context = old_lake(tmp_path, version=2, iteration=1)

    counts, records = exported(context, tmp_path, "openai")

    assert counts == Counts(6, {"failed": 2}, {}, 4)
    assert {record["id"] for record in records} == {"sim-0-0", "sim-0-1", "sim-1-0", "sim-1-1"}


def test_prompts_of_turns_are_histories_and_tell_their_commit(tmp_path: Path) -> None:
    context = old_lake(tmp_path, version=2, iteration=1)

    counts, records = exported(context, tmp_path, "openrlhf", unit="turn")

    assert counts == Counts(6, {"failed": 2}, {"same_prompt": 4}, 4)
    assert [len(record["input"]) for record in records] == [2, 4, 2, 4]
    assert records[1]["input"][2]["tool_calls"][0]["function"]["name"] == "stock"
    assert {record["label"] for record in records} == {'{"product":"bike"}'}
    assert {record["commit"] for record in records} == {context.read("rollouts").digest}


def test_liked_turns_are_those_of_conversations_that_ended_well(tmp_path: Path) -> None:
    context = old_lake(tmp_path, version=2, iteration=0)

    counts, records = exported(context, tmp_path, "trl-kto")

    assert counts == Counts(3, {"unscored": 1}, {}, 4)
    assert [(record["conversation_id"], record["label"]) for record in records] == [
        ("log-a", True), ("log-a", True), ("log-b", False), ("log-b", False),
    ]  # fmt: skip
    assert [record["completion"][0]["content"] for record in records[:2]] == ["", "Yes, three."]


def test_prompts_for_grpo_carry_what_a_reward_function_needs(tmp_path: Path) -> None:
    counts, records = exported(make_lake(tmp_path), tmp_path, "trl")

    assert counts == Counts(2, {}, {"same_prompt": 1}, 1)
    assert records[0]["prompt"] == [{"role": "user", "content": "hi i need a bike ."}]
    assert json.loads(str(records[0]["ground_truth"]))["product"] == "bike"
    assert (records[0]["outcomes"], records[0]["mean_outcome"]) == (2, 0.5)


def test_verl_prompts_are_parquet_with_typed_tool_calls(tmp_path: Path) -> None:
    context = old_lake(tmp_path, version=2, iteration=1)
    path = tmp_path / "prompts.parquet"

    run(context, Request(path, "verl", unit="turn"))

    found = pq.read_table(path)
    second = found["prompt"][1].as_py()
    assert second[2]["tool_calls"][0]["function"] == {"name": "stock", "arguments": '{"item":"🚲"}'}
    assert second[0] == {
        "role": "system",
        "content": "You sell bikes.",
        "tool_calls": None,
        "tool_call_id": None,
    }
    assert found["extra_info"][1].as_py()["turn_index"] == 1
    assert json.loads(found.schema.metadata[b"itpo"])["commit"] == context.read("rollouts").digest


def test_an_evaluation_is_exported_too(tmp_path: Path) -> None:
    context = old_lake(tmp_path, version=2, iteration=1)

    _, records = exported(context, tmp_path, "openai", kind="evaluation", min_outcome=0.5)

    assert [record["id"] for record in records] == ["eval-incumbent"]


def test_only_what_was_kept_is_exported_when_that_is_asked_for(tmp_path: Path) -> None:
    context = old_lake(tmp_path, version=2, iteration=0)

    counts, _ = exported(context, tmp_path, "openai", kept_only=True)

    about = json.loads(about_path(tmp_path / "openai.jsonl").read_text())
    assert counts.conversations_left_out == {"dropped_unscored": 1}
    assert about["conversations"] == {"read": 3, "left_out": {"dropped_unscored": 1}}
    assert (about["rows"]["written"], about["curated"]) == (2, context.read("curated").digest)


def test_the_same_commit_gives_the_same_bytes(tmp_path: Path) -> None:
    context = old_lake(tmp_path, version=2, iteration=1)
    for name in ("a", "b"):
        run(context, Request(tmp_path / name, "verl", unit="turn"))

    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"format": "csv"}, "'csv': use one of openai, verl"),
        ({"format": "openai", "kind": "reward"}, "use rollouts or evaluation"),
        ({"format": "openai", "unit": "turn"}, "holds whole conversations"),
        ({"format": "trl-kto", "unit": "conversation"}, "train on the words of the user"),
        ({"format": "trl", "unit": "word"}, "use conversation or turn"),
        ({"format": "trl", "kind": "evaluation", "kept_only": True}, "only rollouts are curated"),
    ],
)
def test_what_does_not_go_together_is_refused(tmp_path: Path, asked: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        run(make_context(tmp_path), Request(tmp_path / "out", **asked))


@pytest.mark.parametrize(
    ("name", "ending", "better"),
    [
        ("trl", ".parquet", "out.jsonl"),
        ("openai", ".Parquet", "out.jsonl"),
        ("verl", ".jsonl", "out.parquet"),
    ],
)
def test_an_ending_that_says_another_format_is_refused(
    tmp_path: Path, name: str, ending: str, better: str
) -> None:
    with pytest.raises(ConfigError, match=f"name it .*{better}"):
        run(make_context(tmp_path), Request(tmp_path / f"out{ending}", name))


def test_an_export_of_nothing_says_why_and_writes_nothing(tmp_path: Path) -> None:
    context = old_lake(tmp_path, version=2, iteration=0)

    with pytest.raises(ExportRefused, match="below_min_outcome 2, unscored 1; 0 rows written; no file"):
        run(context, Request(tmp_path / "out", "trl", min_outcome=2.0))
    with pytest.raises(MissingCommit, match="shop/rollouts/0007"):
        run(make_context(tmp_path, iteration=7), Request(tmp_path / "out", "trl"))

    assert [path.name for path in tmp_path.iterdir()] == ["lake"]
