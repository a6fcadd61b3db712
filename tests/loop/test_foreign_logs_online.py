"""A log file of no domain with users and a judge of its own: the loop that begins offline goes on online."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from storage import commits, registry
from storage.deep_verification import verify_deep
from tasks import pipeline
from tasks.config import Config
from tasks.context import Context
from tests.foreign_logs import foreign_config, write_log
from tests.llm_server import LlmServer, serving

pytestmark = [pytest.mark.slow, pytest.mark.e2e, pytest.mark.timeout(1800)]

SMALL: dict[str, Any] = {  # Any: JSON values by key
    "user__kind": "llm",
    "judge__kind": "llm",
    "domain__max_turns": 3,
    "warm_start__min_start_success": 0.0,
    "sampling__max_new_tokens": 12,
    "collect__conversations": 24,
    "collect__group_size": 4,
    "collect__shards": 1,
    "collect__batch": 12,
    "evaluate__unseen_scenarios": 8,
    "evaluate__seen_scenarios": 4,
    "evaluate__contamination": "report",
    "train__epochs": 1,
    "train__minibatch": 8,
}


def brain(request: dict[str, Any]) -> dict[str, Any]:  # Any: JSON
    """A user who tells what stands in the brief and leaves, and a judge who likes long answers."""
    head, *said = request["messages"]
    if head["content"].startswith("You play"):
        assert "The light in my" in head["content"]
        is_last = len(said) > 4
        return {"thought": "dark", "message": "It hangs above the door.", "wants_to_stop": is_last}
    lines = [json.loads(line) for line in said[0]["content"].splitlines() if line.startswith('{"speaker"')]
    spoken = sum(len(line["text"]) for line in lines if line["speaker"] == "assistant")
    return {"rationale": "length", "cannot_judge": False, "grade": min(10, spoken // 20)}


def with_users(folder: Path, server: LlmServer) -> Config:
    """The file with users and a judge behind the server."""
    places = {"user__address": server.address, "judge__address": server.address}
    return foreign_config(folder, folder / "desk.jsonl", **SMALL, **places)


@pytest.fixture(scope="module")
def gone_on(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Config]:
    """The logs, the step on them, and an iteration with users."""
    folder = tmp_path_factory.mktemp("desk")
    write_log(folder)
    with pytest.MonkeyPatch.context() as patch, serving(brain) as server:
        patch.setenv("ITPO_WORK", str(folder / "work"))
        patch.setenv("ITPO_REPORTS", str(folder / "reports"))
        config = with_users(folder, server)
        for iteration in range(3):
            for stage in pipeline.stages_of(iteration, config):
                pipeline.run_named(Context(config, iteration), stage)
        yield config


def test_the_first_step_is_judged_by_users_and_the_loop_goes_on(gone_on: Config) -> None:
    store = Context(gone_on, 0).store

    versions = [version.name for version in registry.versions(store, "desk")]
    decided = {event.event_id: event for event in registry.events(store, "desk")}

    assert versions == ["desk/v0000", "desk/v0001", "desk/v0002"]
    assert decided["decide/0000"].action == "promote"
    assert decided["decide/0001"].evidence["gain_pairs"] == 8
    assert "hold_cause" not in decided["decide/0001"].evidence
    assert verify_deep(store, "desk").problems == ()


def test_users_are_met_on_logged_beginnings_and_held_out_ones_only_in_evaluation(gone_on: Config) -> None:
    context = Context(gone_on, 2)
    curated = commits.read_table(context.store, context.read("curated", 0), table="curated").to_pylist()
    logged = commits.read_table(context.store, context.read("rollouts", 0), table="conversations").to_pylist()
    met = commits.read_table(context.store, context.read("rollouts"), table="conversations").to_pylist()

    fold = {row["conversation_id"]: row["fold"] for row in curated}
    train = {row["scenario_id"] for row in logged if fold[row["conversation_id"]] == "train"}

    assert {row["scenario_id"] for row in met} <= train
    assert {row["status"] for row in met} == {"valid"}
    assert all(0 <= row["outcome"] <= 1 for row in met)
