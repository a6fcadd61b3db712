"""What `why`, `where` and `diff` say about a lake whose every number is known."""

import json
import re
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from storage.errors import MissingCommit, MissingConversation, MissingPolicy
from storage.local_store import LocalStore
from storage.warehouse import ask
from tasks import diff, receipt_text, where, why
from tasks.__main__ import app
from tasks.context import code_revision
from tasks.options import Options
from tasks.receipts import Desk, Told, is_certain
from tasks.text_tree import Branch, aligned, lines
from tests.builders import CONFIG_FILE
from tests.receipts_lake import REVISION, make_receipts_lake


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("receipts")
    make_receipts_lake(folder)
    return folder / "lake"


@pytest.fixture(scope="module")
def desk(root: Path) -> Desk:
    return Desk(LocalStore(root), "shop")


def options(root: Path) -> Options:
    return Options(CONFIG_FILE, {"experiment": "shop", "lake.root": str(root)})


def texts(branch: Branch) -> str:
    return "\n".join(line for line, _ in lines(branch))


def of(receipt: Told, kind: str) -> Told:
    return receipt["made_of"][kind]


def test_the_chain_of_a_policy_ends_in_the_log_that_it_came_from(desk: Desk) -> None:
    receipt = why.receipt_of(desk, "shop/v0001")

    assert receipt["status"] == "current"
    assert receipt["breaks"] == []
    assert receipt["commits_behind"] == 8
    assert [step["version"] for step in receipt["versions_behind"]] == ["shop/v0001", "shop/v0000"]
    (log,) = receipt["logs"]
    assert log["settings"]["files"] == {"shop.jsonl": "5"}
    assert [(row["disposition"], row["rows_read"]) for row in log["rows"]] == [
        ("accepted", 4),
        ("quarantined", 1),
    ]


def test_users_judges_and_counts_are_those_of_the_rows(desk: Desk) -> None:
    receipt = why.receipt_of(desk, "v0001")

    (spoken,) = of(receipt, "rollouts")["rows"]
    assert (spoken["conversations"], spoken["policy_version"], spoken["success"]) == (2, "shop/v0000", 0.5)
    assert (spoken["simulator"], spoken["simulator_version"], spoken["judge_version"]) == (
        "sales",
        "1",
        "rule-1",
    )
    assert [(row["fate"], row["conversations"]) for row in of(receipt, "curated")["rows"]] == [("kept", 2)]
    assert of(receipt, "curated")["sql"][0]["same_here"]


def test_success_of_an_evaluation_is_said_of_the_conversations_that_it_is_of() -> None:
    row = {"policy_version": "shop/v0001", "conversations": 1792, "unseen": 1536, "unseen_scored": 1500,
           "success": 0.821, "simulator": "", "simulator_version": "", "simulator_digest": "",
           "judge_version": ""}  # fmt: skip

    said, _ = receipt_text.ROWS["evaluation"]([row])

    assert said == (
        "shop/v0001: 1792 conversations, 1536 of them on scenarios that are never collected: "
        "success 82.1 %, 36 unscored"
    )


def test_an_evaluation_counts_unseen_scenarios_apart(desk: Desk) -> None:
    rows = of(why.receipt_of(desk, "v0001"), "evaluation")["rows"]

    assert all(0 <= row["unseen_scored"] <= row["unseen"] <= row["conversations"] for row in rows)
    assert sum(row["unseen"] for row in rows) > 0


def test_a_policy_learns_from_its_credit_its_reward_from_more(desk: Desk) -> None:
    learnt = why.receipt_of(desk, "shop/v0002")["learnt_from"]

    assert [(row["relation"], row["source_key"], row["conversations"]) for row in learnt] == [
        ("direct", "shop/credit/0002", 2),
        ("inherited", "shop/credit/0001", 2),
        ("inherited", "shop/curated/0000", 4),
        ("inherited", "shop/curated/0001", 2),
        ("reward", "shop/curated/0001", 2),
        ("reward", "shop/curated/0002", 2),
    ]


def test_a_policy_that_was_held_has_the_decision_that_held_it(desk: Desk) -> None:
    receipt = why.receipt_of(desk, "shop/v0002")

    candidate, held = receipt["decisions"]
    assert receipt["status"] == "never current: its iteration ended in hold"
    assert (candidate["action"], held["action"], held["current_after"]) == ("candidate", "hold", "shop/v0001")
    assert held["evidence"]["gain"] == 0.5


def test_code_that_is_not_known_is_said_of_each_commit(desk: Desk) -> None:
    receipt = why.receipt_of(desk, "shop/v0000")

    assert receipt["notes"] == [
        "no side facts, so by which code they were made is not known: shop/policy/0000, shop/curated/0000",
        "made outside a checkout, by code of unknown revision: shop/rollouts/0000",
    ]
    made = why.receipt_of(desk, "shop/v0001")["training"]["attempts"]
    assert [each["code_revision"] for each in made] == [REVISION]


def test_a_chain_that_is_broken_says_where(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root, tmp_path / "lake")
    store = LocalStore(tmp_path / "lake")
    store.delete("shop/rollouts/iteration=0000/commit.json")

    receipt = why.receipt_of(Desk(store, "shop"), "current")

    assert len(receipt["breaks"]) == 2
    assert receipt["breaks"][0].startswith("shop/curated/0000 was made from rollouts ")
    assert receipt["breaks"][0].endswith("which the lake does not hold")
    assert receipt["breaks"][1] == "no import of logs is behind it"


@pytest.mark.parametrize(
    ("revision", "certain"), [(REVISION, True), (f"{REVISION}-dirty", False), ("unknown", False)]
)
def test_only_a_clean_checkout_names_its_code(revision: str, certain: bool) -> None:
    assert is_certain(revision) is certain


def test_this_checkout_names_its_code() -> None:
    assert re.fullmatch(r"[0-9a-f]{40}(-dirty)?|unknown", code_revision())


def test_a_version_that_is_not_there_lists_those_that_are(desk: Desk) -> None:
    with pytest.raises(MissingPolicy, match=r"shop/v0009.*shop/v0000, shop/v0001, shop/v0002"):
        why.receipt_of(desk, "v0009")


def test_a_conversation_leads_to_its_datasets_and_the_policies_that_learnt_from_it(desk: Desk) -> None:
    trail = where.trail_of(desk, "good")

    assert [(row["commit"], row["table"], row["rows"]) for row in trail["datasets"]] == [
        ("shop/rollouts/0001", "conversations", 1),
        ("shop/rollouts/0001", "turns", 2),
        ("shop/curated/0001", "curated", 1),
        ("shop/credit/0001", "credits", 2),
    ]
    assert [(row["relation"], row["policy_version"]) for row in trail["policies"]] == [
        ("direct", "shop/v0001"),
        ("inherited", "shop/v0002"),
        ("reward", "shop/v0001"),
        ("reward", "shop/v0002"),
    ]
    assert [(row["kept"], row["drop_reason"]) for row in trail["curated"]] == [(True, None)]
    assert [row["advantage"] for row in trail["credit"]] == [10.4, 10.41]


def test_a_conversation_of_an_evaluation_taught_nobody(desk: Desk) -> None:
    trail = where.trail_of(desk, "shop/v0002-0")

    assert [row["kind"] for row in trail["held"]] == ["evaluation"]
    assert trail["policies"] == []
    assert "policies: none learnt from it" in texts(where.conversation_tree(trail))


def test_an_imported_conversation_names_its_file_and_row(desk: Desk) -> None:
    tree = texts(where.conversation_tree(where.trail_of(desk, "log0")))

    assert "imported from shop.jsonl, row 1 in iteration 0" in tree
    assert "spoken by logs:shop, 2 turns" in tree


def test_an_id_may_be_cut_and_one_that_fits_several_lists_them(desk: Desk) -> None:
    assert where.find_conversation(desk, "shop/v0002-0") == "shop/v0002-0"
    assert where.find_conversation(desk, "good") == "good"

    with pytest.raises(MissingConversation, match=r"may be any of 2: shop/v0002-0, shop/v0002-1; give more"):
        where.find_conversation(desk, "shop/v0002")
    with pytest.raises(MissingConversation, match="'lo' is too short: give at least 6"):
        where.find_conversation(desk, "lo")


def test_an_unknown_id_gets_similar_ones(desk: Desk) -> None:
    with pytest.raises(MissingConversation, match=r"holds no conversation 'lag1', .* similar are log1"):
        where.find_conversation(desk, "lag1")
    with pytest.raises(MissingConversation, match=r"holds no conversation '\?\?\?', .*\. What was forgotten"):
        where.find_conversation(desk, "???")


def test_an_iteration_differs_from_itself_in_nothing(root: Path) -> None:
    one = diff.side(options(root), "1")

    found = diff.difference(one, diff.side(options(root), "shop/v0001"))

    assert all(stage["same_data"] for stage in found["stages"].values())
    assert [found[name] for name in ("figures", "users", "credit", "decision")] == [{}, {}, {}, {}]


def test_two_iterations_differ_in_who_spoke_and_in_what_was_decided(root: Path) -> None:
    found = diff.difference(diff.side(options(root), "1"), diff.side(options(root), "2"))

    rollouts = found["stages"]["rollouts"]
    assert not rollouts["same_data"]
    assert rollouts["settings"]["policy_version"] == ["shop/v0000", "shop/v0001"]
    assert found["stages"]["curated"]["settings"] == found["stages"]["curated"]["sql"] == {}
    assert found["decision"]["action"] == ["promote", "hold"]
    assert "rollouts: other data" in texts(diff.difference_tree(found))


def test_the_logs_and_a_later_iteration_differ_in_users_and_counts(root: Path) -> None:
    found = diff.difference(diff.side(options(root), "0"), diff.side(options(root), "1"))

    assert found["figures"]["conversations"] == [4, 2]
    assert found["figures"]["success"] == [1.0, 0.5]
    assert found["stages"]["credit"]["absent"] == ["shop/0"]
    assert found["stages"]["rollouts"]["code"] == {"revision": ["unknown", REVISION]}


def test_an_iteration_that_is_not_there_lists_those_that_are(root: Path) -> None:
    with pytest.raises(MissingCommit, match=r"no iteration shop/7 in the lake; there are \[0, 1, 2\]"):
        diff.side(options(root), "7")


def test_the_same_facts_are_views(desk: Desk) -> None:
    def answer(statement: str) -> list[tuple[object, ...]]:
        return list(ask(desk.connection, statement, rows=100).rows)

    assert answer(
        "select kind, iteration from commits where inputs ->> 'seed' = '0' and kind = 'policy'"
    ) == [
        ("policy", 0),
        ("policy", 1),
        ("policy", 2),
    ]
    assert answer("select role, parent_key from lineage where child_key = 'shop/credit/0002' order by 1") == [
        ("curated", "shop/curated/0002"),
        ("reward", "shop/reward/0002"),
        ("rollouts", "shop/rollouts/0002"),
    ]
    assert answer("select count(*) from commit_files where name = 'model.safetensors' and not is_table") == [
        (3,)
    ]
    assert answer(
        "select relation, count(distinct conversation_id) from policy_conversations "
        "where policy_version = 'shop/v0002' group by all order by all"
    ) == [("direct", 2), ("inherited", 6), ("reward", 4)]


def test_commands_answer_in_json_too(root: Path) -> None:
    place = ["--lake", str(root), "--experiment", "shop", "--config", str(CONFIG_FILE)]

    for command in (["why"], ["where", "good"], ["diff", "1", "2"]):
        answered = CliRunner().invoke(app, [*command, *place, "--json"])
        assert answered.exit_code == 0
        assert json.loads(answered.stdout)
    assert "the chain is whole" in CliRunner().invoke(app, ["why", *place]).stdout


def test_verify_says_what_it_read_and_fails_on_damage(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root, tmp_path / "lake")
    store = LocalStore(tmp_path / "lake")
    place = ["--deep", "--lake", str(tmp_path / "lake"), "--experiment", "shop", "--config", str(CONFIG_FILE)]
    whole = CliRunner().invoke(app, ["verify", *place])
    victim = store.list("shop/credit/iteration=0001/shard=")[0]
    store.path(victim).write_bytes(store.get(victim)[:-1])

    damaged = CliRunner().invoke(app, ["verify", *place])

    assert whole.exit_code == 0
    assert "everything matches" in whole.stdout
    assert damaged.exit_code == 1
    assert f"object '{victim}' is corrupt" in damaged.stdout
    assert "1 problems" in damaged.stdout


def test_columns_are_as_wide_as_their_widest_cell_and_numbers_stand_right() -> None:
    assert aligned([("", "one"), ("a", "7"), ("bcd", "12.5")]) == ["      one", "a       7", "bcd  12.5"]
    assert aligned([]) == []
