"""Whole iterations whose customers and judge are models behind a server that misbehaves."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from storage import commits
from storage.deep_verification import verify_deep
from tasks import report
from tasks.refusals import FailureBudgetError
from tests.itpo_core.envs.sales_brains import brain
from tests.llm_server import Deed, Misdeeds, serving
from tests.loop.model_loop import (
    KINDS,
    MISDEEDS,
    WORDS,
    check_valid_rows,
    context_of,
    digests,
    places_of,
    run_iteration,
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A lake with the offline iteration, and the cassettes of a clean first one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ITPO_WORK", str(tmp_path_factory.mktemp("work")))
        patch.setenv("ITPO_REPORTS", str(tmp_path_factory.mktemp("reports")))
        root = tmp_path_factory.mktemp("start")
        with serving(brain) as server:
            recorded = {"cassettes__mode": "record", "cassettes__folder": str(root / "cassettes")}
            settings = {**places_of(server), **recorded}
            run_iteration(root / "lake", 0, settings)
            shutil.copytree(root / "lake", root / "clean")
            run_iteration(root / "clean", 1, settings)
        yield root


def test_a_third_of_the_requests_fail_and_the_valid_rows_keep_the_advantages_of_a_clean_run(
    start: Path, tmp_path: Path
) -> None:
    lake = tmp_path / "lake"
    shutil.copytree(start / "lake", lake)
    misdeeds = Misdeeds(chances=MISDEEDS, seed=3, words=WORDS)

    with serving(brain, misdeeds) as server:
        places = places_of(server)
        figures = run_iteration(lake, 1, {**places, "collect__failure_budget": 0.9, "user__tries": 3})

    missing = check_valid_rows(context_of(start / "clean", 1, {}), context_of(lake, 1, {}))
    assert 0 < missing < 48
    # A request whose connection broke may have been billed: its price is unknown, that of the others is not.
    assert figures["collect"]["judge_price_unknown"] < figures["collect"]["judge_calls"]
    assert figures["collect"]["cost_usd"] > 0
    assert 0 < figures["collect"]["user_price_unknown"] <= figures["collect"]["user_calls"]
    page = report.render_pages(context_of(lake, 1, {}))["iteration-0001.html"]
    assert "Language models" in page
    assert "without an outcome" in page
    assert verify_deep(context_of(lake, 1, {}).store, None).problems == ()


def test_past_the_budget_it_stops_before_anything_trains(start: Path, tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    shutil.copytree(start / "lake", lake)

    with serving(brain, Misdeeds(chances={Deed.QUOTA: 0.4}, seed=5)) as server:
        places = places_of(server)
        with pytest.raises(FailureBudgetError, match=r"failed, over collect\.failure_budget = 20%"):
            run_iteration(lake, 1, places)

    context = context_of(lake, 1, {})
    assert [kind for kind in KINDS if context.find(kind) is not None] == []
    assert commits.read_shard(context.store, context.key("rollouts"), shard=0) is None


def test_after_a_bad_hour_the_same_run_goes_on(start: Path, tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    shutil.copytree(start / "lake", lake)
    bad = Misdeeds(chances={Deed.QUOTA: 0.9}, seed=5)
    with serving(brain, bad) as server, pytest.raises(FailureBudgetError):
        run_iteration(lake, 1, places_of(server))

    with serving(brain) as server:
        run_iteration(lake, 1, {**places_of(server), "collect__failure_budget": 0.1})
    again = run_iteration(lake, 1, {"evaluate__contamination": "report"})

    assert again["collect"] == again["evaluate"] == {}  # found there: another limit is no other iteration
    healed, clean = (context_of(each, 1, {}).read("rollouts") for each in (lake, start / "clean"))
    assert [entry.data_digest for entry in healed.files] == [entry.data_digest for entry in clean.files]


def test_a_judge_who_abstains_too_often_stops_it_too(start: Path, tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    shutil.copytree(start / "lake", lake)

    def shy(request: dict[str, Any]) -> dict[str, Any]:
        answer = brain(request)
        return {**answer, "cannot_judge": True} if "cannot_judge" in answer else answer

    with serving(shy) as server:
        places = places_of(server)
        with pytest.raises(FailureBudgetError, match=r"have no outcome, over collect\.unscored_budget = 50%"):
            run_iteration(lake, 1, {**places, "collect__unscored_budget": 0.5})


def test_an_iteration_is_replayed_from_cassettes_to_the_same_digests(start: Path, tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    shutil.copytree(start / "lake", lake)
    nowhere = "http://127.0.0.1:9/v1"

    run_iteration(
        lake,
        1,
        {
            "user__address": nowhere,
            "judge__address": nowhere,
            "cassettes__mode": "replay",
            "cassettes__folder": str(start / "cassettes"),
        },
    )

    assert digests(lake) == digests(start / "clean")
