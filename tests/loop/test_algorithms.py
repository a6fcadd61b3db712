"""Every algorithm under every estimator goes from rollouts to a decision, by its configuration key alone.

All of them go on from one lake: the logs, and 64 conversations that were collected, curated and scored.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from storage import commits, registry
from tasks import pipeline
from tasks.config import Config
from tasks.context import Context
from tests.loop.tiny import tiny_config

SMALL = {
    "collect__conversations": 64,
    "collect__shards": 1,
    "evaluate__unseen_scenarios": 8,
    "evaluate__seen_scenarios": 8,
    "q__first_epochs": 1,
    "q__min_heldout_conversations": 2,
}
ALGORITHMS = (
    "itpo",
    "norm_itpo",
    "norm_itpo_share",
    "itpo_plus_outcome",
    "immediate_plus_outcome",
    "prefix_value",
    "dueling_advantage",
    "outcome",
)
ESTIMATORS = ("grpo", "rloo", "ppo")
SHARED = ("collect", "curate", "fit_reward")
pytestmark = pytest.mark.slow


def small_config(lake: Path, **changes: Any) -> Config:  # Any: JSON values
    return tiny_config(lake, **{**SMALL, **changes})


@pytest.fixture(scope="module")
def surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Scratch files and report copies stay out of the checkout."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ITPO_WORK", str(tmp_path_factory.mktemp("work")))
        patch.setenv("ITPO_REPORTS", str(tmp_path_factory.mktemp("reports")))
        yield


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory, surroundings: None) -> Path:
    """A lake whose first online iteration waits for its credit."""
    folder = tmp_path_factory.mktemp("lake")
    config = small_config(folder)
    for stage in pipeline.stages_of(0, config):
        pipeline.run_named(Context(config, 0), stage)
    for stage in SHARED:
        pipeline.run_named(Context(config, 1), stage)
    return folder


@pytest.fixture
def lake(scored: Path, tmp_path: Path) -> Path:
    shutil.copytree(scored, tmp_path / "lake")
    return tmp_path / "lake"


def finish(context: Context) -> dict[str, dict[str, Any]]:  # Any: JSON values
    """Every stage of the iteration; those that the lake has already are resumed."""
    stages = pipeline.stages_of(context.iteration, context.config)
    return {stage: pipeline.run_named(context, stage) for stage in stages}


def credits_of(context: Context) -> list[dict[str, Any]]:  # Any: column values
    return commits.read_table(context.store, context.read("credit"), table="credits").to_pylist()


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_an_algorithm_under_an_estimator_trains_a_candidate(
    lake: Path, algorithm: str, estimator: str
) -> None:
    config = small_config(lake, credit__algorithm=algorithm, credit__advantage=estimator)
    context = Context(config, 1)

    results = finish(context)

    assert [result["resumed"] for stage, result in results.items() if stage in SHARED] == [True] * 3
    rows, used = credits_of(context), results["credit"]["figures"]["algorithm"]
    assert {row["algorithm"] for row in rows} == {used}
    assert used == algorithm or results["fit_q"]["figures"]["gate_open"] == 0.0
    assert len({round(row["advantage"], 9) for row in rows}) > 2
    assert registry.versions(context.store, "tiny")[-1].commit_digest == results["train_policy"]["digest"]
    assert {stage for stage, result in results.items() if not result["digest"]} == set()
