"""Both pages from a lake small enough to count: escaped, self-contained, traceable, and the same twice."""

import html
import json
import re
from pathlib import Path

import jinja2
import pytest

from storage.errors import MissingCommit
from storage.schemas import CREDIT_METHODS
from tasks import curate, report
from tasks.context import Context
from tasks.report_pages import environment, script_digest
from tests.builders import (
    commit_reward,
    commit_rollouts,
    credit_of,
    make_context,
    make_conversation,
    make_lake,
)

pytestmark = pytest.mark.slow  # every fixture renders whole pages

EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>"
EVIL_NEED = '{"product":"<b>bike</b>","values":{"color":"\\"><script>"},"volunteered":[]}'


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Context:
    spoken = [
        make_conversation("good", said=("hi", "which color ?", EVIL, "take this one"), latent_json=EVIL_NEED),
        make_conversation("bad", outcome=0.0, said=("hi", EVIL, "no")),
    ]
    return make_lake(tmp_path_factory.mktemp("shop"), spoken=spoken)


@pytest.fixture(scope="module")
def pages(shop: Context) -> dict[str, str]:
    return report.render_pages(shop)


@pytest.fixture(scope="module")
def logs_only(tmp_path_factory: pytest.TempPathFactory) -> Context:
    context = make_context(tmp_path_factory.mktemp("logs"))
    spoken = [
        make_conversation(f"c{n}", outcome=None if n == 5 else n % 2, has_tokens=False) for n in range(6)
    ]
    commit_rollouts(context, spoken, speaker="logs:shop")
    curate.run(context)
    return context


def test_there_is_a_page_of_the_iteration_and_one_of_the_experiment(pages: dict[str, str]) -> None:
    assert sorted(pages) == ["index.html", "iteration-0001.html"]


def test_the_same_lake_gives_the_same_bytes(shop: Context, pages: dict[str, str]) -> None:
    assert report.render_pages(shop) == pages


def test_no_page_names_a_path_or_an_attempt(shop: Context, pages: dict[str, str]) -> None:
    for page in pages.values():
        assert shop.attempt not in page
        assert shop.config.lake.root not in page


def test_what_users_wrote_stays_text(pages: dict[str, str]) -> None:
    page = pages["iteration-0001.html"]

    assert EVIL not in page
    assert "<img" not in page
    assert page.count("<script") == 1
    assert html.escape(EVIL) in page


def test_the_page_lets_its_own_script_run_and_no_other(pages: dict[str, str]) -> None:
    page = pages["iteration-0001.html"]
    script = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)[0]

    policy = re.findall(r'Content-Security-Policy" content="([^"]+)"', page)[0]

    assert html.unescape(policy) == (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{script_digest(script)}'"
    )


def test_nothing_is_loaded_from_anywhere(pages: dict[str, str]) -> None:
    for page in pages.values():
        loaded = re.findall(r"""\b(?:src|href|action|data)=["']([^"']+)|url\(([^)]+)\)|@import""", page)
        places = {one or other for one, other in loaded}
        assert all(re.fullmatch(r"#[\w-]+|index\.html|iteration-\d{4}\.html", place) for place in places), (
            places
        )


def test_every_figure_and_table_says_which_sql_on_which_commit(pages: dict[str, str]) -> None:
    sources = set(re.findall(r'class="source">from <code>([^<]+)<', pages["iteration-0001.html"]))

    assert "sql/report/advantage_by_turn_kind.sql on shop/credit/0001" in sources
    assert "sql/report/evaluation_by_arm.sql on shop/evaluation/0001" in sources
    assert "sql/report/viewer_turns.sql on shop/rollouts/0001, shop/credit/0001" in sources
    assert "event decide/0001 of the registry of shop" in sources


def test_the_sql_that_a_page_names_exists(pages: dict[str, str]) -> None:
    named = {name for page in pages.values() for name in re.findall(r"from <code>(sql/\S+\.sql)", page)}

    assert named
    assert all((Path(__file__).parents[2] / name).is_file() for name in named)


def test_the_lineage_shows_every_digest(shop: Context, pages: dict[str, str]) -> None:
    for kind in ("rollouts", "curated", "reward", "credit", "policy", "evaluation"):
        assert shop.read(kind).digest in pages["iteration-0001.html"]
        assert shop.read(kind).digest in pages["index.html"]
    assert shop.read("rollouts", 0).digest in pages["index.html"]


def credits_on(page: str) -> list[dict[str, dict[str, float]]]:
    return [json.loads(html.unescape(text)) for text in re.findall(r'data-credit="([^"]+)"', page)]


def test_every_turn_carries_the_credit_of_every_method_under_its_own_name(pages: dict[str, str]) -> None:
    found = credits_on(pages["iteration-0001.html"])

    assert len(found) == 3
    for method in ("norm_itpo_share", "itpo", "norm_itpo", "outcome", "dirichlet", "oracle_pi"):
        assert [each["credit"][method] for each in found] == [
            credit_of(method, "credit", k) for k in (0, 1, 0)
        ]
        assert found[1]["advantage"][method] == credit_of(method, "advantage", 1)


def test_the_select_offers_the_methods_and_starts_with_the_one_that_trained(pages: dict[str, str]) -> None:
    page = pages["iteration-0001.html"]

    offered = re.findall(r'<select id="method">(.*?)</select>', page, re.DOTALL)[0]

    assert set(re.findall(r'value="(\w+)"', offered)) == set(CREDIT_METHODS) - {"uniform"}
    assert re.findall(r'value="(\w+)" selected', offered) == ["norm_itpo_share"]


def test_the_first_thing_on_a_page_is_the_gain_and_the_decision(pages: dict[str, str]) -> None:
    for page in pages.values():
        text = html.unescape(page)
        assert "+50.0 [+25.0, +75.0] points over version 0 (50.0 % → 100.0 %)" in text
        assert "promote: promote by hand. shop/v0001 speaks now." in text


def test_the_evidence_is_named_for_people_and_stands_beside_its_limit(pages: dict[str, str]) -> None:
    rows = re.findall(r"<tr><td>([^<]+)</td><td class=\"n\">([^<]+)</td><td>([^<]+)</td></tr>",
                      pages["iteration-0001.html"])  # fmt: skip

    assert ("KL of the candidate to its parent", "0.050 nats/token", "at most 1") in rows
    assert (
        "paired gain over the incumbent (points)",
        "+50.0 [+25.0, +75.0] on 2 pairs",
        "lower end above +0.0",
    ) in rows


def test_an_import_alone_has_a_report_without_a_decision(logs_only: Context) -> None:
    pages = report.render_pages(logs_only)

    page = html.unescape(pages["index.html"])
    assert "Imported logs only" in page
    assert "1 of 6 (16.7 %): no outcome 1." in page
    assert "Outcome by number of turns" in page
    assert "No tool was called." in page
    assert 'class="line assistant"' in pages["iteration-0000.html"]


def test_a_report_before_the_decision_is_copied_out_but_not_committed(
    logs_only: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ITPO_REPORTS", str(tmp_path))

    first = report.run(logs_only)
    commit_reward(logs_only)
    second = report.run(logs_only)

    assert "not committed" in first.commit
    assert logs_only.find("report") is None
    assert first.digest != second.digest
    assert (tmp_path / "shop" / "index.html").is_file()


def test_a_decided_report_is_committed_once(
    shop: Context, pages: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ITPO_REPORTS", str(tmp_path))

    first, again = report.run(shop), report.run(shop)

    assert (first.resumed, again.resumed) == (False, True)
    assert first.digest == again.digest
    assert (tmp_path / "shop" / "index.html").read_text(encoding="utf-8") == pages["index.html"]


def test_an_iteration_without_rollouts_has_no_report(tmp_path: Path) -> None:
    with pytest.raises(MissingCommit, match="itpo collect"):
        report.render_pages(make_context(tmp_path, iteration=3))


def test_a_name_that_a_template_does_not_know_is_an_error() -> None:
    template = environment().from_string("{{ nobody }}")

    with pytest.raises(jinja2.UndefinedError, match="'nobody' is undefined"):
        template.render()
