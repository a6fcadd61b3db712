"""A log file of no domain: imitation, a first step on its turns, and a decision that nobody can make."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from storage import commits, registry
from storage.deep_verification import verify_deep
from tasks import curate, from_logs, import_logs, log_start, pipeline
from tasks.config import Config, ConfigError, load
from tasks.context import Context
from tasks.log_users import check_enough
from tasks.metrics import figures_of
from tasks.options import Options
from tasks.receipts import open_desk
from tasks.report import render_pages
from tasks.why import receipt_of
from tests.foreign_logs import CONFIG_FILE, foreign_config, talk, write_log

LEARNING = ("import", "curate", "warm_start", "fit_reward", "evaluate", "decide")


@dataclass(frozen=True, slots=True)
class Ran:
    """A finished experiment on the file."""

    config: Config

    def at(self, iteration: int) -> Context:
        """One of its iterations."""
        return Context(self.config, iteration)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """Both iterations of the small file, without pages."""
    folder = tmp_path_factory.mktemp("foreign")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ITPO_WORK", str(folder / "work"))
        config = foreign_config(folder, write_log(folder))
        for iteration, stages in ((0, LEARNING), (1, ("credit", "train_policy", "evaluate", "decide"))):
            for stage in stages:
                pipeline.run_named(Context(config, iteration), stage)
        yield Ran(config)


def test_the_reward_model_waits_for_the_version_that_it_is_fitted_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ITPO_WORK", str(tmp_path / "work"))
    context = Context(foreign_config(tmp_path, write_log(tmp_path)), 0)
    for stage in ("import", "curate"):
        pipeline.run_named(context, stage)

    with pytest.raises(ConfigError, match="itpo warm-start"):
        pipeline.run_named(context, "fit_reward")

    assert context.find("reward") is None


def test_a_file_of_no_domain_becomes_two_versions_and_both_are_held(ran: Ran) -> None:
    store, name = ran.at(0).store, ran.config.experiment

    events = registry.events(store, name)

    assert [(event.action, event.version) for event in events] == [
        ("candidate", "desk/v0000"),
        ("hold", "desk/v0000"),
        ("candidate", "desk/v0001"),
        ("hold", "desk/v0001"),
    ]
    assert registry.find_current(store, name) is None
    assert verify_deep(store, name).problems == ()


def test_the_decision_says_that_users_are_missing_and_what_to_do(ran: Ran) -> None:
    event = registry.events(ran.at(0).store, "desk")[-1]

    assert event.evidence["hold_cause"] == "no_users"
    assert event.reason.startswith("no users to judge it: 20 held-out logged conversations")
    assert 'user.kind = "llm"' in event.reason
    assert registry.speaker_after(event) is None


def test_the_evidence_is_of_conversations_that_neither_version_has_read(ran: Ran) -> None:
    found = registry.events(ran.at(0).store, "desk")[-1].evidence

    assert (found["heldout_conversations"], found["heldout_groups"]) == (20, 5)
    assert found["behaviour_kl"] > 0
    assert found["likelier"] == pytest.approx(found["incumbent_nats"] - found["candidate_nats"])
    assert {"reward_heldout_auc_lower", "likelier_auc_lower", "candidate_failure_nats"} <= set(found)


def test_version_0_has_read_no_held_out_word(ran: Ran) -> None:
    store, context = ran.at(0).store, ran.at(0)
    curated = commits.read_table(store, context.read("curated"), table="curated").to_pylist()
    logged = commits.read_table(store, context.read("rollouts"), table="conversations").to_pylist()

    held_out = {row["conversation_id"] for row in curated if row["fold"] == "heldout"}
    rooms = {row["scenario_id"].split("-")[1] for row in logged if row["conversation_id"] in held_out}
    texts = " ".join(log_start.training_texts(context))

    assert len(rooms) == 5
    assert not any(room in texts for room in rooms)
    assert figures_of(store, context.read("policy"))["warm_start/imitated"] == 20


def test_only_turns_of_successes_that_are_not_held_out_are_repeated(ran: Ran) -> None:
    store = ran.at(0).store
    curated = commits.read_table(store, ran.at(0).read("curated"), table="curated").to_pylist()
    rows = commits.read_table(store, ran.at(1).read("credit"), table="credits").to_pylist()

    fold = {row["conversation_id"]: (row["fold"], row["outcome"]) for row in curated}

    assert {fold[row["conversation_id"]][0] for row in rows} == {"train"}
    assert {fold[row["conversation_id"]][1] for row in rows if row["advantage"] > 0} == {1.0}
    assert sum(row["advantage"] for row in rows) == pytest.approx(len(rows))


def test_the_first_step_makes_held_out_successes_likelier_than_held_out_failures(ran: Ran) -> None:
    found = figures_of(ran.at(1).store, ran.at(1).read("evaluation"))

    gained = {
        side: found[f"evaluate/incumbent_{side}_nats"] - found[f"evaluate/candidate_{side}_nats"]
        for side in ("success", "failure")
    }

    assert gained["success"] > gained["failure"]


def test_the_receipt_of_the_step_leads_back_to_the_file(ran: Ran) -> None:
    options = Options(CONFIG_FILE, {"lake.root": ran.config.lake.root, "experiment": "desk"})

    desk = open_desk(options)
    receipt = receipt_of(desk, "v0001")

    assert receipt["breaks"] == []
    # 20 conversations train the step and version 0; the fit of the reward model was judged on all 40.
    learnt = {(row["relation"], row["source_key"]): row["conversations"] for row in receipt["learnt_from"]}
    assert learnt[("direct", "desk/credit/0001")] == 20
    first = {row["source_key"]: row for row in receipt_of(desk, "v0000")["learnt_from"]}
    assert (first["desk/curated/0000"]["conversations"], first["desk/curated/0000"]["heldout"]) == (20, 0)
    assert [log["settings"]["files"].keys() for log in receipt["logs"]] == [{"desk.jsonl": ""}.keys()]
    assert receipt["decisions"][-1]["current_after"] == "nobody"


def test_the_page_of_the_step_sends_to_the_logged_conversations(ran: Ran) -> None:
    page = render_pages(ran.at(1))["iteration-0001.html"]

    assert "a step on the logged conversations" in page
    assert "Nothing to show here yet" not in page
    assert "No credit was given" not in page


def test_a_second_run_finds_everything_there(ran: Ran) -> None:
    again = [pipeline.run_named(ran.at(1), stage) for stage in ("credit", "train_policy", "evaluate")]

    assert [result["resumed"] for result in again] == [True, True, True]


def test_without_users_the_log_is_used_up_after_its_step(ran: Ran) -> None:
    overrides = {"lake.root": ran.config.lake.root, "experiment": "desk", "logs.paths": ["desk.jsonl"]}

    with pytest.raises(ConfigError, match="iteration 2: the log is used up after iteration 1"):
        pipeline.plan(str(CONFIG_FILE), overrides, run_id="desk-0002")

    assert pipeline.stages_of(2, ran.config) == ()
    assert pipeline.next_run(str(CONFIG_FILE), overrides, iteration=1, iterations_left=5) is None


def test_the_scheduler_goes_on_to_the_step_although_version_0_was_held(ran: Ran) -> None:
    overrides = {"lake.root": ran.config.lake.root, "experiment": "desk", "logs.paths": ["desk.jsonl"]}

    following = pipeline.next_run(str(CONFIG_FILE), overrides, iteration=0, iterations_left=1)

    assert following == {"run_id": "desk-0001", "iterations": 1}


@pytest.mark.parametrize(
    ("outcome", "message"),
    [(None, "none of 20 logged conversations may train"), (1.0, "ended alike, outcome 1.0")],
)
def test_a_file_that_tells_good_from_bad_nowhere_is_refused_before_training(
    tmp_path: Path, outcome: float | None, message: str
) -> None:
    rows = [{**talk("attic", trial, solved=True), "outcome": outcome} for trial in range(20)]
    rows = [{**row, "metadata": {"scenario_id": f"t{place}"}} for place, row in enumerate(rows)]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    context = Context(foreign_config(tmp_path, tmp_path / "log.jsonl"), 0)
    import_logs.run(context)
    curate.run(context)

    with pytest.raises(ConfigError, match=message):
        log_start.check_lessons(context)


def test_what_is_replayed_skips_the_step_on_logged_turns() -> None:
    bare = load(CONFIG_FILE)
    sales = load(CONFIG_FILE.with_name("sales_small.toml"))

    assert from_logs.window(bare, 2, replayed=1) == [0, 2]
    assert from_logs.window(bare, 4, replayed=2) == [2, 3, 4]
    assert from_logs.window(sales, 2, replayed=1) == [1, 2]
    assert from_logs.window(sales, 1, replayed=5) == [0, 1]
    assert (from_logs.previous(bare, 2), from_logs.previous(bare, 3)) == (0, 2)


def test_more_users_than_the_log_has_are_refused_before_training(ran: Ran) -> None:
    asked = {"evaluate.unseen_scenarios": 21, "evaluate.seen_scenarios": 1}
    users = {"user.kind": "llm", "judge.kind": "llm", "logs.paths": ["desk.jsonl"]}
    place = {"lake.root": ran.config.lake.root, "experiment": "desk"}
    config = load(CONFIG_FILE, overrides={**asked, **users, **place})

    with pytest.raises(ConfigError, match="unseen_scenarios asks for 21 users, and 20 logged conversations"):
        check_enough(config)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"logs.paths": []}, "name the files in logs.paths"),
        ({"user.kind": "llm"}, "must both be"),
        ({"judge.kind": "llm"}, "must both be"),
    ],
)
def test_a_configuration_that_cannot_start_from_logs_is_refused(
    changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        load(CONFIG_FILE, overrides=changes)
