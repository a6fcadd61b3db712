"""Whole iterations of math, document and medical whose users and judge are models behind a server."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from itpo_core.envs.catalogue import ENVIRONMENTS
from itpo_core.types import Scenario, Scored, Split
from storage.deep_verification import verify_deep
from tasks import report
from tasks.records import messages_from_json
from tests.itpo_core.envs.domain_brains import brain_of
from tests.llm_server import Misdeeds, serving
from tests.loop.model_loop import (
    MISDEEDS,
    SMALLER,
    WORDS,
    Settings,
    check_valid_rows,
    context_of,
    places_of,
    rows_of,
    run_iteration,
)

DOMAINS: dict[str, Settings] = {
    "math": {"sampling__max_new_tokens": 16},
    "document": {"sampling__max_new_tokens": 20},
    "medical": {},
}
pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ITPO_WORK", str(tmp_path / "work"))
    monkeypatch.setenv("ITPO_REPORTS", str(tmp_path / "reports"))


def settings_of(domain: str) -> Settings:
    return {"domain__name": domain, "experiment": domain, **SMALLER, **DOMAINS[domain]}


def ruled(domain: str, row: dict[str, Any]) -> float:
    """What the domain's own rule says of a row's conversation."""
    scenario = Scenario(row["scenario_id"], domain, Split(row["split"]), (), latent_json=row["latent_json"])
    messages = messages_from_json(row["messages_json"])
    outcome = ENVIRONMENTS[domain]("small").environment.outcome(scenario, messages)
    assert isinstance(outcome, Scored)
    return outcome.value


@pytest.mark.parametrize(
    "domain",
    ["math", pytest.param("document", marks=pytest.mark.e2e), pytest.param("medical", marks=pytest.mark.e2e)],
)
def test_model_users_and_judge_carry_an_iteration_and_score_as_the_rule_would(
    domain: str, tmp_path: Path
) -> None:
    settings = settings_of(domain)

    with serving(brain_of(domain)) as server:
        run_iteration(tmp_path / "lake", 0, {**settings, **places_of(server)})
        figures = run_iteration(tmp_path / "lake", 1, {**settings, **places_of(server)})

    context = context_of(tmp_path / "lake", 1, settings)
    rows = rows_of(context, "rollouts", table="conversations")
    assert [row["failure_cause"] for row in rows.values() if row["status"] == "failed"] == []
    assert {name: row["outcome"] for name, row in rows.items()} == pytest.approx(
        {name: ruled(domain, row) for name, row in rows.items()}
    )
    assert {row["judge_version"].partition("-llm-")[0] for row in rows.values()} == {domain}
    assert figures["collect"]["judge_calls"] == len(rows)
    assert figures["decide"]["action"] in {"promote", "hold"}
    assert verify_deep(context.store, None).problems == ()


@pytest.mark.e2e
@pytest.mark.timeout(900)
@pytest.mark.parametrize("domain", ["document", "medical"])
def test_a_third_of_the_requests_fail_and_valid_rows_keep_their_advantages(
    domain: str, tmp_path: Path
) -> None:
    settings, start, clean = settings_of(domain), tmp_path / "start", tmp_path / "clean"
    misdeeds = Misdeeds(chances=MISDEEDS, seed=3, words=WORDS)

    with serving(brain_of(domain)) as server:
        run_iteration(start, 0, {**settings, **places_of(server)})
        shutil.copytree(start, clean)
        run_iteration(clean, 1, {**settings, **places_of(server)})
    with serving(brain_of(domain), misdeeds) as server:
        enduring = {**settings, **places_of(server), "collect__failure_budget": 0.9, "user__tries": 3}
        run_iteration(start, 1, enduring)
        page = report.render_pages(context_of(start, 1, enduring))["iteration-0001.html"]

    missing = check_valid_rows(context_of(clean, 1, settings), context_of(start, 1, settings))
    assert 0 < missing < 24
    assert 0.2 < 1 - server.deeds["good"] / server.deeds.total() < 0.4
    table = page[page.index(">without an outcome<") :].partition("</table>")[0]
    said = set(re.findall(r"<td>([^<]*)</td>", table))
    assert {f"{domain}/v0000", f"{domain}/v0001", "collected", "evaluated"} <= said
    assert {"all", "scenarios", "unseen", "persona", "default", "kind of scenario"} <= said
