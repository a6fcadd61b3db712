"""The pages in a real browser: the viewer colours, narrow screens hold, keys work, nothing is fetched."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, sync_playwright

from tasks import report
from tests.builders import make_conversation, make_lake

pytestmark = pytest.mark.browser
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
         "--disable-sync", "--no-first-run"]  # fmt: skip
EVIL = "<script>document.title = 'stolen'</script><img src=x onerror=\"document.title = 'stolen'\">"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("pages")
    spoken = [
        make_conversation("good", said=("hi", EVIL, EVIL, "take it")),
        make_conversation("bad", outcome=0.0),
    ]
    for name, text in report.render_pages(make_lake(place, spoken=spoken)).items():
        (place / name).write_text(text, encoding="utf-8")
    return place


@pytest.fixture
def page() -> Iterator[Page]:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("Chromium is missing: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        yield page
        browser.close()


def values(page: Page) -> list[str]:
    return page.locator(".line.assistant .value").all_text_contents()


def test_the_select_changes_numbers_and_colours_by_keyboard_alone(page: Page, folder: Path) -> None:
    page.goto(f"file://{folder}/iteration-0001.html")
    before, colour = values(page), page.locator(".line.assistant").first.get_attribute("style")

    page.locator("#method").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")

    assert page.locator("#method").input_value() == "norm_itpo"
    assert before[0] == "+10.400"
    assert values(page)[0] == "+10.300"
    assert colour is not None


def test_the_other_quantity_and_the_other_conversations_can_be_picked(page: Page, folder: Path) -> None:
    page.goto(f"file://{folder}/iteration-0001.html")

    page.select_option("#quantity", "credit")
    page.select_option("#shown", "bad")

    assert values(page)[0] == "+0.400"
    assert page.locator(".talk:visible").count() == 1


def test_a_conversation_with_a_script_is_inert_and_nothing_is_fetched(page: Page, folder: Path) -> None:
    asked: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))

    page.goto(f"file://{folder}/iteration-0001.html")

    assert asked == [f"file://{folder}/iteration-0001.html"]
    assert page.title() == "shop, iteration 1"
    assert complaints == []


@pytest.mark.parametrize("name", ["index.html", "iteration-0001.html"])
def test_a_narrow_screen_scrolls_down_only(page: Page, folder: Path, name: str) -> None:
    page.set_viewport_size({"width": 360, "height": 800})

    page.goto(f"file://{folder}/{name}")

    assert page.evaluate("document.documentElement.scrollWidth") <= 360
