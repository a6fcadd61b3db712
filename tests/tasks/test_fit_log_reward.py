"""Imported foreign logs through curation and the reward fit: figures and held-out scores are committed."""

import json
from pathlib import Path

import pytest

from storage import commits
from storage.errors import SupersededLogs
from tasks import curate, fit_log_reward, import_logs, late_outcomes
from tasks.config import Config, ConfigError, Lake, Logs, Outcomes
from tasks.context import Context
from tests.log_shapes import doctor_rows, tau_row


def context_of(folder: Path, rows: list[dict[str, object]], log_format: str) -> Context:
    """An imported and curated experiment."""
    (folder / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    logs = Logs.model_validate({"paths": [str(folder / "log.jsonl")], "format": log_format})
    context = Context(Config(experiment="foreign", lake=Lake(root=str(folder / "lake")), logs=logs), 0)
    import_logs.run(context)
    curate.run(context)
    return context


@pytest.mark.slow
def test_the_fit_commits_its_figures_and_the_scores_of_held_out_turns(tmp_path: Path) -> None:
    rows = [tau_row(task, trial, reward=float(trial % 2)) for task in range(10) for trial in range(4)]
    context = context_of(tmp_path, rows, "tau_bench")

    first, second = fit_log_reward.run(context), fit_log_reward.run(context)

    commit = context.read("reward")
    names = set(commits.read_table(context.store, commit, table="metrics")["name"].to_pylist())
    scores = commits.read_table(context.store, commit, table="turn_scores").to_pylist()
    assert {"heldout_auc", "heldout_auc_lower", "heldout_auc_upper", "too_long"} <= names
    # Two of the ten tasks are held out: four trials of two turns each.
    assert len(scores) == 2 * 4 * 2
    assert first.figures["heldout_groups"] == 2
    assert (second.digest, second.resumed) == (first.digest, True)


@pytest.mark.slow
def test_a_fit_in_whose_course_outcomes_are_joined_commits_nothing(tmp_path: Path) -> None:
    rows = [tau_row(task, trial, reward=float(trial % 2)) for task in range(10) for trial in range(4)]
    context = context_of(tmp_path, rows, "tau_bench")
    logged = commits.read_table(context.store, context.read("rollouts"), table="conversations").to_pylist()
    told = tmp_path / "crm.jsonl"
    told.write_text(json.dumps({"key": logged[0]["conversation_id"], "outcome": None, "reason": "gone"}))
    joining = Outcomes(paths=(str(told),), key="conversation_id")
    joined: list[str] = []
    other = Context(context.config.model_copy(update={"outcomes": joining}), 0)

    with pytest.raises(SupersededLogs, match=r"foreign/reward/0000 was made from foreign/curated/0000"):
        fit_log_reward.run(context, on_progress=lambda *_: joined.append(late_outcomes.run(other).commit))

    assert context.find("reward") is None
    assert {context.key("rollouts").text} == set(joined) == {"foreign/rollouts-0001/0000"}


def test_logs_without_outcomes_teach_no_reward(tmp_path: Path) -> None:
    context = context_of(tmp_path, doctor_rows("cough", 3), "mtmeddialog")

    assert fit_log_reward.is_foreign(context)
    with pytest.raises(ConfigError, match="nothing to fit"):
        fit_log_reward.run(context)
