"""`make ui` in a real browser: log in, open the DAG, use the trigger form, see the run go green.

Screenshots are written to the folder that ITPO_SCREENSHOTS names, else beside the test's other files.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect, sync_playwright

from dags.airflow_api import AirflowClient
from dags.local_airflow import stop_leftovers
from dags.local_settings import ROOT, Place

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-dev-shm-usage"]
SLOW_MS = 90_000
BOOT_S, RUN_S = 300.0, 600.0

pytestmark = [pytest.mark.browser, pytest.mark.timeout(1500)]


@contextmanager
def web_pages(home: Path, surroundings: dict[str, str]) -> Iterator[str]:
    """`python -m dags.ui` on a free port; the address that it prints."""
    command = [sys.executable, "-u", "-m", "dags.ui", "--home", str(home), "--port", "18080"]
    log = home.parent / "ui.log"
    with log.open("wb") as out:
        started = subprocess.Popen(command, cwd=ROOT, env=os.environ | surroundings, stdout=out, stderr=out)
    try:
        yield printed_address(log, started)
    finally:
        started.terminate()
        started.wait(timeout=60)
        stop_leftovers(Place(home, 0))


def printed_address(log: Path, started: subprocess.Popen[bytes]) -> str:
    deadline = time.monotonic() + BOOT_S
    while time.monotonic() < deadline:
        if found := re.search(r"http://[\d.]+:\d+", log.read_text()):
            return found[0]
        assert started.poll() is None, log.read_text()
        time.sleep(1.0)
    raise AssertionError(f"no address after {BOOT_S} s: {log.read_text()}")


@pytest.fixture
def page() -> Iterator[Page]:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("Chromium is missing: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_page(viewport={"width": 1400, "height": 1300})
        page.set_default_timeout(SLOW_MS)
        yield page
        browser.close()


@pytest.fixture
def shots(tmp_path: Path) -> Path:
    folder = Path(os.environ.get("ITPO_SCREENSHOTS", tmp_path / "screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def log_in(page: Page, address: str) -> None:
    page.goto(f"{address}/dags/itpo_iteration")
    page.fill("input[name=username]", "admin")
    page.fill("input[name=password]", "admin")
    page.click("button[type=submit]")


def open_form(page: Page) -> Locator:
    page.get_by_role("button", name="Trigger").first.click()
    form = page.locator("[role=dialog][data-state=open]")
    expect(form.locator("#element_experiment")).to_be_visible(timeout=SLOW_MS)
    return form


def fill_number(form: Locator, name: str, value: int) -> None:
    field = form.locator(f"[id='number-input:element_{name}'] input[role=spinbutton]")
    field.fill(str(value))
    field.blur()


def wait_until_green(client: AirflowClient) -> dict[str, object]:
    deadline = time.monotonic() + RUN_S
    while time.monotonic() < deadline:
        runs = client.runs("itpo_iteration")
        if runs and runs[-1]["state"] in {"success", "failed"}:
            return runs[-1]
        time.sleep(2.0)
    raise AssertionError(f"the run did not end within {RUN_S} s")


def test_a_run_is_started_from_the_form_and_a_wrong_value_is_refused(
    page: Page, shots: Path, tmp_path: Path, tiny_config: Path
) -> None:
    with web_pages(tmp_path / "home", {}) as address:
        log_in(page, address)
        form = open_form(page)
        form.locator("#element_config").fill(str(tiny_config))
        form.locator("#element_experiment").fill("from-the-form")
        fill_number(form, "conversations", 60)
        page.screenshot(path=shots / "1-wrong-value.png")

        form.get_by_test_id("trigger-dag-submit").click()
        refusal = page.get_by_text("60 is not a multiple of 8")
        expect(refusal.first).to_be_visible(timeout=SLOW_MS)
        page.screenshot(path=shots / "2-refused.png")

        fill_number(form, "conversations", 48)
        form.get_by_test_id("trigger-dag-submit").press("Enter")  # a notice about the refusal lies over it
        client = AirflowClient(address, "admin", "admin")
        client.log_in()
        run = wait_until_green(client)
        page.goto(f"{address}/dags/itpo_iteration/runs/{run['dag_run_id']}")
        expect(page.get_by_text("Success").first).to_be_visible(timeout=SLOW_MS)
        page.screenshot(path=shots / "3-green.png")

    assert run["state"] == "success"
    assert (run["conf"]["experiment"], run["conf"]["conversations"]) == ("from-the-form", 48)  # pyright: ignore
