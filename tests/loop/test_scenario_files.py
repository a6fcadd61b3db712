"""A file of the user's own problems, articles or cases carries a loop: users and judge are models."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from itpo_core.types import Message, Role, Split
from storage.deep_verification import verify_deep
from storage.digests import file_sha256
from storage.errors import ConflictingCommit
from tasks import pipeline, report
from tasks.contamination import ContaminatedEvaluation
from tests.itpo_core.envs.file_brains import file_brain
from tests.llm_server import serving
from tests.loop.file_world import answers_of, scenarios_of, talks, write_logs, write_policy
from tests.loop.model_loop import SMALLER, Settings, context_of, places_of, rows_of, run_iteration
from tests.scenario_fixtures import FILES, NAMES

OF_FILES: Settings = {
    **SMALLER,
    "warm_start__steps": 40,
    "warm_start__batch": 16,
    "sampling__max_new_tokens": 24,
}
pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ITPO_WORK", str(tmp_path / "work"))
    monkeypatch.setenv("ITPO_REPORTS", str(tmp_path / "reports"))


def settings_of(domain: str, tmp_path: Path, *, said: list[Any]) -> Settings:
    """The configuration of a loop on a copy of our file, started from the logs."""
    file = shutil.copy(FILES / NAMES[domain], tmp_path / "mine.jsonl")
    return {
        **OF_FILES,
        "experiment": domain,
        "domain__name": domain,
        "domain__scenarios": str(file),
        "logs__paths": [str(write_logs(tmp_path / "logs.jsonl", said))],
        "model__folder": str(write_policy(tmp_path / "base", domain, said)),
    }


@pytest.mark.parametrize(
    ("domain", "judge"),
    [
        ("math", "rule"),
        pytest.param("math", "llm", marks=pytest.mark.e2e),
        pytest.param("document", "llm", marks=pytest.mark.e2e),
        pytest.param("document", "rule", marks=pytest.mark.e2e),
        pytest.param("medical", "llm", marks=pytest.mark.e2e),
    ],
)
def test_a_file_carries_an_iteration(domain: str, judge: str, tmp_path: Path) -> None:
    said = talks(domain, scenarios_of(domain, Split.SEEN))
    settings = settings_of(domain, tmp_path, said=said)

    with serving(file_brain) as server:
        played = {**settings, **places_of(server), "judge__kind": judge}
        run_iteration(tmp_path / "lake", 0, played)
        run_iteration(tmp_path / "lake", 1, played)
        page = report.render_pages(context_of(tmp_path / "lake", 1, played))["iteration-0001.html"]

    context = context_of(tmp_path / "lake", 1, played)
    rollouts, evaluation = context.read("rollouts"), context.read("evaluation")
    rows = list(rows_of(context, "rollouts", table="conversations").values())
    met = list(rows_of(context, "evaluation", table="conversations").values())
    unseen = {each.scenario_id for each in scenarios_of(domain, Split.UNSEEN)}
    assert {row["status"] for row in [*rows, *met]} == {"valid"}
    assert all(row["outcome"] is not None for row in rows)
    assert max(row["outcome"] for row in [*rows, *met]) > 0
    assert not unseen & {row["scenario_id"] for row in rows}
    assert {row["scenario_id"] for row in met if row["split"] == "unseen"} <= unseen
    assert "completed" in {row["stop_reason"] for row in rows}
    digest = file_sha256(tmp_path / "mine.jsonl")
    assert rollouts.inputs["scenarios"] == evaluation.inputs["scenarios"] == digest
    assert "scenarios" not in json.loads(rollouts.inputs["domain"])
    assert "Language models" in page
    assert verify_deep(context.store, None).problems == ()


def test_an_unseen_problem_that_somebody_asked_in_the_logs_ends_the_evaluation(tmp_path: Path) -> None:
    said = talks("math", scenarios_of("math", Split.SEEN))
    for unseen in scenarios_of("math", Split.UNSEEN):
        asked = Message(Role.USER, f"please : {json.loads(unseen.latent_json)['problem']}")
        said.append(([asked, Message(Role.ASSISTANT, answers_of("math", unseen)[0])], 1.0))
    settings = {**settings_of("math", tmp_path, said=said), "warm_start__steps": 2}
    context = context_of(tmp_path / "lake", 0, settings)
    for stage in ("import", "curate", "warm_start"):
        pipeline.run_named(context, stage)

    with pytest.raises(ContaminatedEvaluation, match=r"^4 of 4 unseen .* is nearly \(0\.\d+\) conversation"):
        pipeline.run_named(context, "evaluate")


def test_what_was_made_with_a_file_is_not_gone_on_with_when_the_file_changes(tmp_path: Path) -> None:
    said = talks("math", scenarios_of("math", Split.SEEN))
    settings = settings_of("math", tmp_path, said=said)
    moved = shutil.copy(tmp_path / "mine.jsonl", tmp_path / "elsewhere.jsonl")
    pipeline.run_named(context_of(tmp_path / "lake", 0, settings), "import")

    again = pipeline.run_named(
        context_of(tmp_path / "lake", 0, {**settings, "domain__scenarios": str(moved)}), "import"
    )
    with (tmp_path / "mine.jsonl").open("a") as file:
        file.write(json.dumps({"problem": "1 + 1 ?", "answer": 2}) + "\n")

    assert again["resumed"]
    with pytest.raises(ConflictingCommit, match="scenarios"):
        pipeline.run_named(context_of(tmp_path / "lake", 0, settings), "import")
