"""Every algorithm under every estimator goes from rollouts to a decision, by its configuration key alone.

All of them go on from one lake: the logs, and 64 conversations that were collected, curated and scored.
"""

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from itpo_core.normalisation import RunningScale
from itpo_core.turn_batch import BatchScalars
from storage import commits, registry
from storage.errors import ConflictingCommit
from tasks import pipeline
from tasks.config import Config
from tasks.context import Context
from tasks.credit import batch_relations, source_commits
from tasks.credit_choice import method_of
from tasks.credit_lab_data import lab_batch
from tasks.credit_training import trained
from tasks.metrics import figures_of
from tests.loop.tiny import tiny_config

SMALL = {
    "collect__conversations": 64,
    "collect__shards": 1,
    "evaluate__unseen_scenarios": 8,
    "evaluate__seen_scenarios": 8,
    "q__first_epochs": 1,
    "q__min_heldout_conversations": 2,
    "q__min_heldout_improvement": -10.0,  # so small a Q is no better than luck, and is let through
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
    assert used == algorithm
    assert len({round(row["advantage"], 9) for row in rows}) > 2
    assert registry.versions(context.store, "tiny")[-1].commit_digest == results["train_policy"]["digest"]
    assert {stage for stage, result in results.items() if not result["digest"]} == set()


def until_credit(context: Context) -> dict[str, Any]:  # Any: JSON values
    """The stages that credit needs, and its result."""
    if context.config.credit.needs_q:
        pipeline.run_named(context, "fit_q")
    return pipeline.run_named(context, "credit")


def test_iterative_ppo_records_the_log_ratio_of_every_turn_and_improves_by_its_q(lake: Path) -> None:
    context = Context(small_config(lake, credit__algorithm="iterative_ppo"), 1)

    results = finish(context)

    values = commits.read_table(context.store, context.read("q"), table="turn_values").to_pylist()
    recorded = {(row["conversation_id"], row["turn_index"]): row["credit"] for row in credits_of(context)}
    assert recorded == {(row["conversation_id"], row["turn_index"]): row["log_ratio"] for row in values}
    assert results["train_policy"]["figures"]["step_taken"] == 1.0


@pytest.mark.parametrize("algorithm", ["prefix_value", "dueling_advantage"])
def test_behind_the_closed_gate_of_q_the_outcome_trains_and_says_so(lake: Path, algorithm: str) -> None:
    closed = small_config(lake, credit__algorithm=algorithm, q__min_heldout_improvement=10.0)

    result = until_credit(Context(closed, 1))

    assert result["figures"]["algorithm"] == "outcome"
    assert result["figures"]["instead_of"] == algorithm
    rows = credits_of(Context(closed, 1))
    assert [row["advantage"] for row in rows] == pytest.approx([row["advantage_outcome"] for row in rows])


@pytest.mark.parametrize("algorithm", ["norm_itpo", "prime_token"])
def test_a_credit_is_replayed_exactly_from_what_its_commit_recorded(lake: Path, algorithm: str) -> None:
    config = small_config(lake, credit__algorithm=algorithm, credit__score_scale="running_std")
    context = Context(config, 1)
    until_credit(context)
    known = figures_of(context.store, context.read("credit"))

    scalars = BatchScalars(known["credit/mean_turn_tokens"], known["credit/largest_return"])
    batch = lab_batch(batch_relations(context, source_commits(context)))
    again = trained(batch, replace(method_of(config.credit), scalars=scalars))

    found = {(row["conversation_id"], row["turn_index"]): row for row in again.table.to_pylist()}
    assert known["credit/running_batches"] == 1.0
    assert RunningScale(known["credit/running_mean_square"], 1).deviation == scalars.largest_return
    for row in credits_of(context):
        other = found[row["conversation_id"], row["turn_index"]]
        assert (row["advantage"], row["token_advantages"]) == (other["advantage"], other["token_advantages"])


def test_the_critic_of_turn_rewards_is_on_their_scale_and_explains_them(lake: Path) -> None:
    config = small_config(lake, credit__algorithm="itpo", credit__advantage="ppo")
    context = Context(config, 1)

    until_credit(context)

    values = commits.read_table(context.store, context.read("q"), table="turn_values").to_pylist()
    assert {row["value"] for row in values} == {None}
    assert all(row["return_value"] is not None for row in values)
    assert "credit/explained_variance" in figures_of(context.store, context.read("credit"))
    assert set(context.read("q").parents) == {"curated/0001", "collector", "reference", "reward"}


@pytest.mark.parametrize("algorithm", ["itpo", "dueling_advantage"])
def test_a_second_lake_gets_the_same_q_and_the_same_credit(
    scored: Path, tmp_path: Path, algorithm: str
) -> None:
    digests = set()

    for name in ("one", "other"):
        shutil.copytree(scored, tmp_path / name)
        config = small_config(tmp_path / name, credit__algorithm=algorithm, credit__advantage="ppo")
        context = Context(config, 1)
        until_credit(context)
        digests.add((context.read("q").digest, context.read("credit").digest))

    assert len(digests) == 1


def test_token_advantages_reach_the_lake_one_per_token(lake: Path) -> None:
    context = Context(small_config(lake, credit__algorithm="prime_token", credit__advantage="rloo"), 1)

    until_credit(context)

    for row in credits_of(context):
        assert len(row["token_advantages"]) == row["response_tokens"]


def test_another_choice_after_the_commit_is_refused_by_name(lake: Path) -> None:
    until_credit(Context(small_config(lake), 1))

    with pytest.raises(ConflictingCommit, match="batch"):
        until_credit(Context(small_config(lake, credit__std="batch"), 1))


class Stopped(BaseException):
    """As a signal would end the attempt."""


def steps_of(config: Config, *, attempt: str, stop_at: int | None = None) -> list[int]:
    """The steps that an attempt at the training takes, as it counts them."""
    taken: list[int] = []

    def on_progress(done: int, total: int) -> None:
        taken.append(done)
        if done == stop_at:
            raise Stopped

    with contextlib.suppress(Stopped):
        pipeline.run_named(Context(config, 1, attempt), "train_policy", on_progress=on_progress)
    return taken


def test_a_second_attempt_at_a_training_goes_on_from_the_last_whole_epoch(lake: Path, tmp_path: Path) -> None:
    configs = [small_config(folder, train__epochs=3) for folder in (lake, tmp_path / "undisturbed")]
    until_credit(Context(configs[0], 1))
    shutil.copytree(lake, tmp_path / "undisturbed")
    undisturbed = steps_of(configs[1], attempt="undisturbed")
    epoch = len(undisturbed) // 3

    stopped = steps_of(configs[0], attempt="first", stop_at=2 * epoch + 1)
    gone_on = steps_of(configs[0], attempt="second")

    digests = {Context(config, 1).read("policy").digest for config in configs}
    assert stopped == undisturbed[: 2 * epoch + 1]
    assert gone_on == undisturbed[2 * epoch :]
    assert len(digests) == 1
