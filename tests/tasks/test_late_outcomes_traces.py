"""What points back at joined outcomes: receipts name the files, forgetting reaches every revision."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from storage import commits, registry
from storage.deep_verification import verify_deep
from storage.digests import file_sha256
from storage.forget_look import look
from storage.forgetting import forget
from storage.registry import PolicyVersion
from storage.tombstones import Selector
from tasks import curate, import_logs, late_outcomes
from tasks.__main__ import app
from tasks.config import Config, Lake, Logs, Outcomes
from tasks.context import Context
from tasks.receipt_text import policy_tree
from tasks.receipts import Desk
from tasks.text_tree import Branch
from tasks.why import receipt_of
from tests.log_shapes import Json, assistant, openai_row, user


def write(path: Path, rows: list[Json]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def labelled(folder: Path) -> Context:
    """Two conversations of two users, told of, and curated before and after."""
    said = {"c1": "I will call at nine in the morning", "c2": "we never spoke of a fridge here"}
    rows = [
        openai_row(user(text), assistant("ok"), id=name, user=f"user-{name}", metadata={"order": 77 + number})
        for number, (name, text) in enumerate(said.items())
    ]
    told: list[Json] = [{"key": name, "outcome": value} for name in said for value in (1, 0)]
    config = Config(
        experiment="talks",
        lake=Lake(root=str(folder / "lake")),
        logs=Logs(paths=(write(folder / "talks.jsonl", rows),)),
        outcomes=Outcomes(paths=(write(folder / "crm.jsonl", [*told, {"key": "c9", "outcome": 1}]),)),
    )
    context = Context(config, 0)
    for stage in (import_logs, curate, late_outcomes, curate):
        stage.run(context)
    return context


def texts(tree: Branch) -> str:
    return "\n".join([tree.line, *map(texts, tree.under)])


def test_the_command_says_what_became_of_every_row_and_then_finds_nothing_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ITPO_WORK", str(tmp_path / "work"))
    labelled(tmp_path)
    (tmp_path / "won.csv").write_text("deal,won\nc2,true\nc8,false\n")
    named = ["--key-column", "deal", "--outcome-column", "won", "--lake", str(tmp_path / "lake")]
    arguments = ["outcomes", str(tmp_path / "won.csv"), "-e", "talks", *named]

    first, second = (CliRunner().invoke(app, arguments) for _ in range(2))

    assert "talks/rollouts-0002/0000 outcomes" in first.output
    assert "read 2, accepted 0, duplicate 1, contradicting 0, unmatched 1" in first.output
    assert "was there" in second.output


def test_the_receipt_of_a_policy_names_the_outcomes_that_were_joined(tmp_path: Path) -> None:
    context = labelled(tmp_path)
    key, parents = context.key("policy"), {"curated": context.read("curated").digest}
    made = commits.commit(context.store, key, tables={}, parents=parents, inputs={}, attempt="a")
    name = registry.version_name("talks", 0)
    version = PolicyVersion(name, "talks", 0, None, made.digest, key.text)
    registry.register_candidate(context.store, version)

    receipt = receipt_of(Desk(context.store, "talks"), "v0000")

    (joined,) = receipt["outcomes"]
    assert joined["files"] == {"crm.jsonl": file_sha256(tmp_path / "crm.jsonl")}
    assert joined["commit"] == "talks/rollouts-0001/0000"
    assert receipt["breaks"] == []
    assert [each["commit"] for each in receipt["logs"]] == ["talks/rollouts/0000"]
    assert "outcomes that were joined to them later" in texts(policy_tree(receipt))


def test_forgetting_reaches_the_import_its_revisions_and_every_label(tmp_path: Path) -> None:
    context = labelled(tmp_path)

    tombstone = forget(
        context.store,
        look(context.store, Selector(user="user-c1")),
        reason="asked for it",
        render=lambda commit: {},
    )

    assert tombstone.removed["rollouts"] == {"conversations": 1, "logged_ids": 1, "turns": 1}
    assert tombstone.removed["rollouts-0001"] == {
        "conversations": 1,
        "logged_ids": 1,
        "outcomes": 2,
        "turns": 1,
    }
    assert tombstone.removed["curated-0001"] == {"curated": 1}
    assert verify_deep(context.store, "talks").problems == ()


@pytest.mark.parametrize(
    ("key", "names"),
    [("id", ("c1", "c2")), ("metadata.order", ("77", "78"))],
)
def test_forgetting_reaches_what_was_refused_under_the_key_of_a_conversation(
    tmp_path: Path, key: str, names: tuple[str, str]
) -> None:
    context = labelled(tmp_path)
    angry = write(
        tmp_path / "angry.jsonl",
        [
            {"order": {"no": names[0]}, "outcome": "Ida rang and was angry"},
            {"order": {"no": names[1]}, "outcome": "nothing to say"},
            {"order": {"no": names[1]}, "outcome": 1, "time": "2026-05-03T12:00:00Z"},
        ],
    )
    told = Outcomes(paths=(angry,), key=key, key_column="order.no")
    late_outcomes.run(Context(context.config.model_copy(update={"outcomes": told}), 0))

    forget(
        context.store,
        look(context.store, Selector(user="user-c1")),
        reason="asked for it",
        render=lambda commit: {},
    )

    refused = commits.read_table(context.store, context.read("rollouts"), table="quarantine").to_pylist()
    assert sorted(row["source_file"] for row in refused) == ["angry.jsonl", "crm.jsonl"]
    assert not any("Ida" in row["raw"] for row in refused)


def test_after_a_forgetting_outcomes_are_joined_to_those_that_stay(tmp_path: Path) -> None:
    context = labelled(tmp_path)
    found = look(context.store, Selector(user="user-c1"))
    forget(context.store, found, reason="asked for it", render=lambda commit: {})
    later = write(
        tmp_path / "later.jsonl", [{"key": "c1", "outcome": 1}, {"key": "c2", "outcome": 1, "turn": 0}]
    )

    result = late_outcomes.run(
        Context(context.config.model_copy(update={"outcomes": Outcomes(paths=(later,))}), 0)
    )

    assert (result.figures["accepted"], result.figures["unmatched"]) == (1, 1)
    assert result.figures["unscored"] == 1
