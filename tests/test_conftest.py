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


def run_tests(folder: Path, ci: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the tests of `folder` under the conftest and the settings of the project."""
    root = repository_root()
    (folder / "conftest.py").write_text((root / "tests/conftest.py").read_text())
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-c", str(root / "pyproject.toml")]
    environment = {k: v for k, v in os.environ.items() if k != "ITPO_REAL_DATA"} | {"CI": ci}
    return subprocess.run(
        [*command, f"--rootdir={folder}", *options, str(folder)],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def collected(folder: Path, packed: bytes) -> list[str]:
    """Names of the cases of a test that is given `packed` and two bytes of text."""
    folder.mkdir()
    cases = f"@pytest.mark.parametrize('data', [{packed!r}, b'as'])"
    (folder / "test_bytes.py").write_text(
        f"import pytest\n\n{cases}\ndef test_reads(data):\n    assert data\n"
    )
    done = run_tests(folder, "", "--collect-only", "-q")
    return [line for line in done.stdout.splitlines() if "::" in line]


@pytest.mark.slow
def test_outside_ci_skips_are_listed_by_name(tmp_path: Path) -> None:
    (tmp_path / "test_tools.py").write_text(TESTS)

    done = run_tests(tmp_path, "")

    assert done.returncode == 0, done.stdout
    assert "SKIPPED test_tools.py::test_wants_a_tool - Skipped: no browser here" in done.stdout


@pytest.mark.slow
def test_in_ci_a_missing_tool_fails_and_missing_data_does_not(tmp_path: Path) -> None:
    (tmp_path / "test_tools.py").write_text(TESTS)

    done = run_tests(tmp_path, "true")

    assert "1 failed, 1 skipped" in done.stdout
    assert "skipped although CI=true: no browser here" in done.stdout


@pytest.mark.slow
def test_two_workers_name_the_cases_of_a_test_alike_whatever_bytes_they_hold(tmp_path: Path) -> None:
    names = [collected(tmp_path / worker, packed) for worker, packed in (("gw0", b"\x01"), ("gw1", b"\x02"))]

    assert names[0] == names[1] == ["test_bytes.py::test_reads[data0]", "test_bytes.py::test_reads[data1]"]
