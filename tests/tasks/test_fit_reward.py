"""The stage that fits the reward model, on the tiny loop: its options, figures and terms of its scores."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage import commits
from storage.commits import Commit
from storage.warehouse import run_checks
from tasks import pipeline
from tasks.config import ConfigError
from tasks.context import Context
from tasks.metrics import figures_of
from tests.loop.tiny import tiny_config

SMALL = {
    "logs__scripted_conversations": 48,
    "logs__scripted_requests": 16,
    "warm_start__steps": 2,
    "reward__min_heldout_auc": 0.0,
}
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Scratch files stay out of the checkout."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ITPO_WORK", str(tmp_path_factory.mktemp("work")))
        yield tmp_path_factory.mktemp("lakes")


@pytest.fixture(scope="module")
def plain(work: Path) -> Context:
    """The logs of iteration 0, curated, with version 0 and a reward model by default options."""
    context = Context(tiny_config(work / "lake", **SMALL), 0)
    for stage in ("import", "curate", "warm_start", "fit_reward"):
        pipeline.run_named(context, stage)
    return context


def refitted(plain: Context, work: Path, **options: object) -> tuple[Context, Commit]:
    """The same iteration fitted with other options, in a copy of the lake that has no fit yet."""
    name = "-".join(f"{key}-{value}" for key, value in options.items())
    shutil.copytree(work / "lake", work / name)
    shutil.rmtree(work / name / "tiny" / "reward")
    context = Context(tiny_config(work / name, **SMALL, **options), 0)
    pipeline.run_named(context, "fit_reward")
    return context, context.read("reward")


def scores(context: Context) -> dict[tuple[str, int], float]:
    """The score of every turn."""
    rows = commits.read_table(context.store, context.read("reward"), table="turn_scores").to_pylist()
    return {(row["conversation_id"], row["turn_index"]): row["score"] for row in rows}


def test_the_terms_of_every_score_are_written_and_add_up(plain: Context) -> None:
    rows = commits.table_paths(plain.store, plain.read("reward"), table="turn_scores")
    terms = commits.read_table(plain.store, plain.read("reward"), table="turn_scores").to_pylist()

    run_checks({"turn_scores": rows})

    assert all(len(row["token_scores"]) == row["response_tokens"] > 0 for row in terms)
    assert any(abs(row["score"]) > 1e-3 for row in terms)


def test_a_first_fit_has_moments_and_entropy_but_no_predecessor_to_be_stable_against(plain: Context) -> None:
    found = figures_of(plain.store, plain.read("reward"))

    assert 0 < found["fit_reward/share_entropy"] <= 1
    assert found["fit_reward/score_std_turn_0"] > 0
    assert "fit_reward/rank_stability" not in found
    assert "fit_reward/intercept" not in found
    assert "intercept.json" not in plain.read("reward").artifacts


def test_two_folds_change_the_scores_and_not_the_model(plain: Context, work: Path) -> None:
    context, commit = refitted(plain, work, reward__folds=2)

    crossed, whole = scores(context), scores(plain)

    weights = {name: entry.sha256 for name, entry in commit.artifacts.items()}
    assert weights == {name: entry.sha256 for name, entry in plain.read("reward").artifacts.items()}
    assert crossed.keys() == whole.keys()
    assert all(crossed[turn] != whole[turn] for turn in whole)


def test_an_intercept_is_learnt_kept_beside_the_weights_and_named(plain: Context, work: Path) -> None:
    context, commit = refitted(plain, work, reward__intercept=True)

    kept = json.loads((context.artifact_folder(commit) / "intercept.json").read_text())

    found = figures_of(context.store, commit)["fit_reward/intercept"]
    assert kept["intercept"] == found != 0.0


def test_folds_of_a_model_before_its_update_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"reward\.folds 2 with reward\.score"):
        tiny_config(tmp_path, reward__folds=2, reward__score="before_update")
