"""The stage that fits Q on real rollouts of a tiny loop: what it commits, resumes, continues and refuses."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from itpo_core.q_files import load_members
from storage import commits
from storage.errors import ConflictingCommit
from storage.stores import open_store
from storage.warehouse import ask, open_lake
from tasks import fit_q, pipeline
from tasks.config import ConfigError, load
from tasks.context import Context
from tests.loop.tiny import CONFIG_FILE, tiny_config

START = {0: ("import", "curate", "warm_start", "fit_reward", "evaluate", "decide"), 1: ("collect", "curate")}


@pytest.fixture(scope="module")
def collected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake with an offline iteration and the curated rollouts of the first online one."""
    folder = tmp_path_factory.mktemp("lake")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ITPO_WORK", str(tmp_path_factory.mktemp("work")))
        for iteration, stages in START.items():
            for stage in stages:
                pipeline.run_named(Context(tiny_config(folder), iteration), stage)
    return folder


@pytest.fixture
def lake(collected: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ITPO_WORK", str(tmp_path / "work"))
    shutil.copytree(collected, tmp_path / "lake")
    return tmp_path / "lake"


def context_of(lake: Path, iteration: int = 1, **q: Any) -> Context:  # Any: JSON values
    """With settings of [q]."""
    return Context(tiny_config(lake, **{f"q__{key}": value for key, value in q.items()}), iteration)


def values_of(context: Context) -> list[dict[str, Any]]:  # Any: column values
    """The committed rows."""
    return commits.read_table(context.store, context.read("q"), table="turn_values").to_pylist()


@pytest.mark.slow
def test_every_kept_turn_gets_its_values_and_the_same_run_again_nothing_new(lake: Path) -> None:
    context = context_of(lake, min_heldout_conversations=10)

    first, second = fit_q.run(context), fit_q.run(context)

    rows = values_of(context)
    kept = ask(
        open_lake(open_store(str(lake)), "tiny"),
        "select count(*) from turns join curated using (conversation_id) where kept and turns.iteration = 1",
        rows=1,
    )
    assert len(rows) == int(kept.rows[0][0])
    assert all(0 <= row["value"] <= 1 and 0 <= row["q"] <= 1 for row in rows)
    assert {row["q_version"] for row in rows} == {"tiny/q0001"}
    assert len({row["log_ratio"] for row in rows}) > 10
    assert {"gate_open", "heldout_cross_entropy", "heldout_improvement_lower"} <= set(first.figures)
    assert (second.digest, second.resumed) == (first.digest, True)


@pytest.mark.slow
def test_two_lakes_get_the_same_digest_and_the_weights_load(lake: Path, tmp_path: Path) -> None:
    shutil.copytree(lake, tmp_path / "other")
    one, other = context_of(lake, members=2), context_of(tmp_path / "other", members=2)

    digests = {fit_q.run(one).digest, fit_q.run(other).digest}

    assert len(digests) == 1
    assert [member.kind for member in load_members(one.artifact_folder(one.read("q")))] == [
        "dueling_logratio"
    ] * 2
    assert max(row["q_std"] for row in values_of(one)) > 0


@pytest.mark.slow
def test_too_few_held_out_conversations_close_the_gate_and_the_reason_is_kept(lake: Path) -> None:
    context = context_of(lake, min_heldout_conversations=200)

    result = fit_q.run(context)

    decision = fit_q.read_gate(context, context.read("q"))
    assert result.figures["gate_open"] == 0.0
    assert not decision.open
    assert "200 are needed" in decision.reason


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "missing"),
    [
        ("value", {"q", "log_ratio", "q_std"}),
        ("scalar_head", {"value", "log_ratio"}),
        ("implicit_prm", set()),
    ],
)
def test_a_figure_that_the_kind_does_not_have_is_null(lake: Path, kind: str, missing: set[str]) -> None:
    context = context_of(lake, kind=kind, first_epochs=1)

    fit_q.run(context)

    row = values_of(context)[0]
    assert {name for name, value in row.items() if value is None} == {*missing, "return_value"}


@pytest.mark.slow
def test_cross_fitted_td_values_of_replayed_iterations_continue_from_the_fit_before(lake: Path) -> None:
    settings: dict[str, Any] = {  # Any: JSON values
        "start": "continue",
        "cross_fit": True,
        "targets": "td_lambda",
        "replay_iterations": 1,
        "reference": "initial",
    }
    offline, online = context_of(lake, 0, **settings), context_of(lake, 1, **settings)

    for name in ("shard-0000.json", "commit.json"):  # a lake of before decisions closed their iterations
        offline.store.delete(f"{offline.key('q').prefix}/{name}")
    fit_q.run(offline)
    fit_q.run(online)

    assert set(online.read("q").parents) == {
        "curated/0000",
        "curated/0001",
        "collector",
        "reference",
        "previous",
    }
    known = {row["conversation_id"] for row in values_of(online)}
    assert not known & {row["conversation_id"] for row in values_of(offline)}
    assert json.loads(online.read("q").inputs["q"])["start"] == "continue"


@pytest.mark.slow
def test_a_q_fitted_with_other_settings_is_refused(lake: Path) -> None:
    fit_q.run(context_of(lake, first_epochs=1))

    with pytest.raises(ConflictingCommit, match="first_epochs"):
        fit_q.run(context_of(lake, first_epochs=2))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"q.cross_fit": True, "q.members": 3}, "set one of the two back"),
        ({"q.kind": "scalar_head", "q.targets": "td_lambda"}, "has no value before a turn"),
        ({"q.gamma": 0.0}, r"q\.gamma = 0\.0"),
        ({"q.kind": "duel"}, r"q\.kind = 'duel'"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(CONFIG_FILE, overrides=settings)
