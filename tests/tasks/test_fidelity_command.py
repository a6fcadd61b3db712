"""Simulated users beside the logs of a lake: on the page, on the command line, and where it is refused."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from itpo_core.envs.catalogue import ENVIRONMENTS
from itpo_core.fidelity import LOGS_NEEDED, Fidelity
from itpo_core.types import Conversation
from storage.errors import MissingCommit
from tasks import fidelity, report
from tasks.__main__ import app
from tasks.context import Context
from tasks.report_fidelity import fidelity_answer, fidelity_rows, fidelity_sentence
from tests.builders import CONFIG_FILE, commit_rollouts, make_context, make_conversation
from tests.llm_server import serving

LOGS = 160


@pytest.fixture(scope="module")
def spoken() -> list[Conversation]:
    assistant = ENVIRONMENTS["sales"]("small").logging_policy
    assert assistant is not None
    return assistant.conversations(count=LOGS, seed=11)


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory, spoken: list[Conversation]) -> Iterator[Context]:
    """A lake whose logs were scripted by the shop, with other users and a few requests beside them."""
    folder = tmp_path_factory.mktemp("fidelity")
    context = make_context(folder)
    requests = [
        replace(each, scenario=replace(each.scenario, persona_id="direct_request")) for each in spoken[:20]
    ]
    named = [replace(each, conversation_id=f"r{place}") for place, each in enumerate(requests)]
    commit_rollouts(context, [*spoken, *named], speaker="logs:shop")
    return context


def test_the_shops_own_customers_are_faithful_to_its_logs(logged: Context) -> None:
    found = fidelity.in_the_report(logged)

    assert found.found is not None
    assert (found.found.faults, found.failed) == ((), 0)
    assert "acts" in {each.name for each in found.found.findings}
    assert f"{LOGS} logged conversations" in found.how


@pytest.mark.parametrize("domain", ["document", "math", "medical"])
def test_users_of_the_other_domains_are_judged_by_their_own_kinds_of_answers(
    tmp_path: Path, domain: str
) -> None:
    context = make_context(tmp_path, domain__name=domain)
    assistant = ENVIRONMENTS[domain]("small").logging_policy
    assert assistant is not None
    commit_rollouts(context, assistant.conversations(count=LOGS, seed=11), speaker="logs:it")

    found = fidelity.in_the_report(context)

    assert found.found is not None
    assert (found.found.faults, found.failed) == ((), 0)
    assert "acts" in {each.name for each in found.found.findings}


def test_requests_that_only_teach_copying_are_no_users(logged: Context) -> None:
    rows = fidelity.logged_rows(logged, conversations=1000)

    assert len(rows) == LOGS
    assert {row["persona_id"] for row in rows} == {"default"}


def test_the_page_of_the_logs_has_a_section_and_an_answer(logged: Context) -> None:
    page = report.render_pages(logged)["iteration-0000.html"]

    assert "Simulated users against the logs" in page
    assert "Do simulated users behave like logged ones?" in page
    assert "of 14 features" in page or "of 15 features" in page
    assert "words that look mistyped" in page
    assert "later messages longer than earlier ones" in page
    assert report.render_pages(logged)["iteration-0000.html"] == page


def test_customers_with_other_habits_are_accused(logged: Context) -> None:
    rows = fidelity.logged_rows(logged, conversations=1000)
    rambling = [{**row, "persona_id": "verbose"} for row in rows]
    domain = ENVIRONMENTS["sales"]("small")

    answered = [fidelity.in_place_of(row, domain=domain, root=0)[0] for row in rambling]
    found = fidelity.compared(logged, rows, simulated=answered)

    assert isinstance(found, Fidelity)
    assert "long-winded" in found.faults


def test_logs_too_few_to_judge_by_are_not_compared_and_the_page_says_why(
    tmp_path: Path,
) -> None:
    context = make_context(tmp_path)
    commit_rollouts(context, [make_conversation(f"c{each}") for each in range(3)], speaker="logs:shop")

    comparison = fidelity.in_the_report(context)

    assert comparison.found is None
    assert f"at least {LOGS_NEEDED} are needed" in comparison.reason
    assert "not compared: 3 of 3 logged" in report.render_pages(context)["iteration-0000.html"]
    assert (fidelity_rows(comparison), fidelity_answer(comparison).tone) == ([], "plain")


def test_users_of_an_iteration_are_compared_where_they_spoke(
    logged: Context, spoken: list[Conversation]
) -> None:
    later = replace(logged, iteration=1)
    commit_rollouts(later, spoken[:60], speaker="shop/v0000")

    comparison = fidelity.in_iteration(later, conversations=1000)

    assert comparison.found is not None
    assert comparison.found.simulated == 60
    assert "with shop/v0000, another assistant than in the logs" in comparison.how
    assert fidelity_sentence(comparison).startswith("1")


def test_a_page_asks_no_language_model(tmp_path: Path) -> None:
    comparison = fidelity.in_the_report(make_context(tmp_path, user__kind="llm"))

    assert comparison.found is None
    assert comparison.reason == "a language model plays the users; `itpo fidelity` asks it"


@pytest.mark.e2e
def test_a_language_model_that_always_says_the_same_is_asked_and_named(
    tmp_path: Path, spoken: list[Conversation]
) -> None:
    with serving(lambda _: {"thought": "", "message": "nice , yes .", "wants_to_stop": False}) as server:
        context = make_context(tmp_path, user__kind="llm", user__address=server.address)
        commit_rollouts(context, spoken, speaker="logs:shop")

        comparison = fidelity.in_their_place(context, conversations=LOGS)

    assert comparison.found is not None
    assert comparison.failed == 0
    assert {"too terse", "answers in other ways"} <= set(comparison.found.faults)
    assert server.most_open > 1


def test_without_logs_there_is_nothing_to_compare_with(tmp_path: Path) -> None:
    with pytest.raises(MissingCommit):
        fidelity.in_their_place(make_context(tmp_path), conversations=10)


def test_the_command_shows_the_table_and_its_exit_code_says_whether_a_fault_is_named(logged: Context) -> None:
    options = ["--config", str(CONFIG_FILE), "--experiment", "shop", "--lake", logged.config.lake.root]

    shown = CliRunner().invoke(app, ["fidelity", *options])
    thin = CliRunner().invoke(app, ["fidelity", *options, "--conversations", "20"])

    assert shown.exit_code == 0, shown.output
    assert "no fault is named" in shown.output.replace("\n", " ")
    assert thin.exit_code == 2
    assert f"at least {LOGS_NEEDED}" in thin.output.replace("\n", " ")
