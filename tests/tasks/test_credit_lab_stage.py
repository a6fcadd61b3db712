"""The credit lab on stored rollouts: what is read, what is committed, and what the page says."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import bench_credit_lab
from itpo_core.turn_rewards import TURN_REWARDS
from storage import commits, registry
from storage.listing import list_commits
from storage.rows import to_table
from storage.verification import verify
from storage.warehouse import ask, open_lake
from tasks import credit_lab, pipeline
from tasks.config import ConfigError, Credit
from tasks.context import Context
from tasks.credit import batch_relations
from tasks.credit_lab_data import lab_batch
from tasks.credit_lab_page import page_html
from tests.builders import make_lake
from tests.loop.tiny import tiny_config
from tests.tasks.credit_rows import curated, relations


def test_rows_fill_the_batch_in_the_order_of_their_names() -> None:
    turns = lab_batch(relations()).turns

    assert turns.scores_BK.tolist() == [[1.0, 1.25], [2.0, 2.25], [3.0, 3.25]]
    assert turns.tokens_BK.tolist() == [[2, 2]] * 3
    assert turns.outcome_B.tolist() == [1.0, 0.0, 0.0]
    assert turns.reward_B.tolist() == [0.99, -0.01, -0.01]
    assert turns.oracle_BK.tolist() == [[0.0, 0.5]] * 3
    assert turns.turn_index_BT is not None
    assert turns.turn_index_BT.tolist() == [[0, 0, 1, 1]] * 3
    assert turns.token_scores_BT is not None
    assert turns.token_scores_BT.tolist()[0] == [1.0, 0.0, 1.25, 0.0]


def test_a_conversation_without_all_of_its_scores_takes_no_part_and_is_counted() -> None:
    batch = lab_batch(relations(missing="b"))

    assert batch.turns.valid_B.tolist() == [True, False, True]
    assert batch.unscored == 1


def test_where_one_turn_has_no_known_worth_the_oracle_is_refused_and_not_zero() -> None:
    batch = lab_batch(relations(without_oracle="c"))

    found = credit_lab.compared(batch, credit_lab.chosen_method(Credit()))

    assert not batch.has_oracle
    assert "does not know" in found.refused["oracle_pi"]
    assert "oracle" not in found.figures["outcome"]


def test_without_a_kept_turn_there_is_nothing_to_compare() -> None:
    nothing = {**relations(), "curated": to_table("curated", [curated("a", kept=False)])}

    with pytest.raises(ConfigError, match="nothing can get credit"):
        lab_batch(nothing)


def test_an_estimator_without_its_critic_is_refused_in_one_line() -> None:
    chosen = replace(credit_lab.chosen_method(Credit()), advantage="ppo")

    with pytest.raises(ConfigError, match=r"advantage 'ppo'.*fit a turn critic"):
        credit_lab.compared(lab_batch(relations()), chosen)


def test_every_turn_reward_is_scored_or_refused_with_a_reason() -> None:
    batch = lab_batch(relations())

    found = credit_lab.compared(batch, credit_lab.chosen_method(Credit()))

    assert found.figures.keys() | found.refused.keys() == TURN_REWARDS.keys()
    assert found.refused.keys() == {"judge", "prefix_value", "dueling_advantage", "oracle_star"}
    assert all(found.refused.values())


def test_the_page_escapes_reasons_and_shows_figures_and_matrix() -> None:
    rows = [
        *({"figure": name, "method": "all", "against": "", "turn_index": -1, "value": 3.0}
          for name in ("conversations", "groups", "turns", "unscored_conversations")),
        {"figure": "batch_moves_rewards", "method": "norm_itpo", "against": "", "turn_index": -1,
         "value": 0.5},
        {"figure": "variance", "method": "norm_itpo", "against": "", "turn_index": -1, "value": 1.25},
        {"figure": "gradient_part", "method": "norm_itpo", "against": "", "turn_index": 1, "value": 0.75},
        {"figure": "agreement", "method": "itpo", "against": "itpo", "turn_index": -1, "value": 1.0},
        {"figure": "refused", "method": "judge", "against": "", "turn_index": -1, "value": None,
         "reason": "<b>no judge</b>"},
    ]  # fmt: skip

    page = page_html(rows, Credit(), experiment="shop", source="shop/lab-1/0001")

    assert "Norm-ITPO 50.0 %" in page
    assert "1.250" in page
    assert "75.0 %" in page
    assert "+1.00" in page
    assert "&lt;b&gt;no judge" in page
    assert "3 conversations" in page


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Context]:
    """A tiny loop up to the reward model of iteration 1, and the lab on it."""
    folder = tmp_path_factory.mktemp("loop")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ITPO_WORK", str(folder / "work"))
        patch.setenv("ITPO_REPORTS", str(folder / "reports"))
        config = tiny_config(folder / "lake", collect__conversations=64)
        for stage in ("import", "curate", "warm_start", "fit_reward"):
            pipeline.run_named(Context(config, 0), stage)
        _promote(Context(config, 0))
        for stage in ("collect", "curate", "fit_reward", "credit_lab"):
            pipeline.run_named(Context(config, 1), stage)
        yield Context(config, 1)


def _promote(context: Context) -> None:
    registry.record_decision(
        context.store, "tiny", event_id="by-hand", action="promote", version="tiny/v0000", reason="test",
        evidence={},
    )  # fmt: skip


def lab_rows(context: Context) -> list[dict[str, object]]:
    found = [commit for commit in list_commits(context.store, "tiny") if commit.key.kind.startswith("lab-")]
    return commits.read_table(context.store, found[0], table="lab").to_pylist()


def figure(rows: list[dict[str, object]], name: str) -> dict[str, float]:
    return {str(row["method"]): float(str(row["value"])) for row in rows if row["figure"] == name}


@pytest.mark.slow
def test_on_real_rollouts_the_published_form_alone_is_moved_by_its_batch(stored: Context) -> None:
    rows = lab_rows(stored)

    moved = figure(rows, "batch_moves_rewards")

    assert moved["norm_itpo"] > 1e-3
    assert {name for name, value in moved.items() if value > 1e-9} == {"norm_itpo"}
    assert figure(rows, "oracle")["oracle_pi"] == pytest.approx(1.0)
    assert abs(figure(rows, "oracle")["dirichlet"]) < 1.0


@pytest.mark.slow
def test_splits_of_the_reward_add_up_to_it_and_the_outcome_is_never_turned_round(stored: Context) -> None:
    rows = lab_rows(stored)

    off = figure(rows, "reward_sum_most_off")

    splits = ("outcome", "uniform", "dirichlet", "norm_itpo", "norm_itpo_share")
    assert all(off[name] < 1e-9 for name in splits)
    assert figure(rows, "sign_flips")["norm_itpo_share"] == 0.0


@pytest.mark.slow
def test_the_dataset_verifies_resumes_and_answers_sql(stored: Context) -> None:
    again = pipeline.run_named(stored, "credit_lab")

    commit = next(c for c in list_commits(stored.store, "tiny") if c.key.kind.startswith("lab-"))
    counted = "select count(*) from lab where figure = 'variance'"
    methods = ask(open_lake(stored.store, "tiny"), counted, rows=1).rows[0][0]
    assert again["resumed"]
    assert verify(stored.store, commit) == []
    assert methods == again["figures"]["methods"] > 10
    assert Path(str(again["figures"]["page"])).read_text(encoding="utf-8").startswith("<!doctype html>")


@pytest.mark.slow
def test_other_settings_are_another_commit_beside_the_first(stored: Context) -> None:
    config = stored.config.model_copy(update={"credit": stored.config.credit.model_copy(
        update={"advantage": "rloo"})})  # fmt: skip

    other = pipeline.run_named(Context(config, 1), "credit_lab")

    kinds = {c.key.kind for c in list_commits(stored.store, "tiny") if c.key.kind.startswith("lab-")}
    assert not other["resumed"]
    assert len(kinds) == 2


def test_an_iteration_whose_turns_have_no_scores_still_compares_what_needs_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ITPO_REPORTS", str(tmp_path / "reports"))
    context = make_lake(tmp_path)

    batch = lab_batch(batch_relations(context, {name: context.read(name) for name in credit_lab.SOURCES}))
    found = credit_lab.compared(batch, credit_lab.chosen_method(context.config.credit))

    assert {"itpo", "norm_itpo", "norm_itpo_share"} <= found.refused.keys()
    assert {"outcome", "uniform", "dirichlet"} <= found.figures.keys()


@pytest.mark.slow
def test_the_benchmark_sweeps_every_method_but_the_judge(tmp_path: Path) -> None:
    found = bench_credit_lab.sweep(tmp_path, conversations=80, estimator="ppo")

    text = bench_credit_lab.section({"ppo": found}, conversations=80)
    assert found.methods == len(TURN_REWARDS) - 2
    assert "Target: under 60 s, met." in text
