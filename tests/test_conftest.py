"""A skip is listed by name, and is a failure in CI unless it is for want of real data."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from storage.paths import repository_root

TESTS = """import pytest

def test_wants_a_tool():
    pytest.skip("no browser here")

@pytest.mark.real_data
def test_wants_data(real_data):
    assert real_data
"""


def run_tests(folder: Path, ci: str) -> subprocess.CompletedProcess[str]:
    """Run the two tests above under the conftest and the settings of the project."""
    root = repository_root()
    (folder / "conftest.py").write_text((root / "tests/conftest.py").read_text())
    (folder / "test_tools.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-c", str(root / "pyproject.toml")]
    environment = {k: v for k, v in os.environ.items() if k != "ITPO_REAL_DATA"} | {"CI": ci}
    return subprocess.run(
        [*command, f"--rootdir={folder}", str(folder)],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_outside_ci_skips_are_listed_by_name(tmp_path: Path) -> None:
    done = run_tests(tmp_path, "")

    assert done.returncode == 0, done.stdout
    assert "SKIPPED test_tools.py::test_wants_a_tool - Skipped: no browser here" in done.stdout


@pytest.mark.slow
def test_in_ci_a_missing_tool_fails_and_missing_data_does_not(tmp_path: Path) -> None:
    done = run_tests(tmp_path, "true")

    assert "1 failed, 1 skipped" in done.stdout
    assert "skipped although CI=true: no browser here" in done.stdout
