"""The other DuckDB that the declared range allows, with its httpfs: the same tests, the same digests.

`make test-full` installs it into a folder of its own, which child processes find before the one of `.venv`.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping

import pytest

from storage.paths import repository_root

pytestmark = pytest.mark.e2e

OTHER = repository_root() / ".venv" / "duckdb-1.5"
VERSION = "1.5.5"


@pytest.fixture(scope="module")
def environment() -> Mapping[str, str]:
    if not (OTHER / "duckdb").is_dir():
        pytest.skip(f"{OTHER} is not there: make .venv/duckdb-1.5/.installed")
    return {**os.environ, "PYTHONPATH": str(OTHER)}


def python(*arguments: str, environment: Mapping[str, str]) -> str:
    command = [sys.executable, *arguments]
    done = subprocess.run(
        command, cwd=repository_root(), env=dict(environment), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    return done.stdout


def test_it_gives_the_same_digests_of_every_view_and_every_stage(environment: Mapping[str, str]) -> None:
    ours = json.loads(python("-m", "tests.storage.duck_digests", environment=os.environ))
    theirs = json.loads(python("-m", "tests.storage.duck_digests", environment=environment))

    assert theirs["duckdb"] == VERSION != ours["duckdb"]
    assert len(ours["views"]) >= 20
    assert theirs["views"] == ours["views"]
    assert theirs["stages"] == ours["stages"]
    assert len(set(ours["stages"].values())) == 1


def test_its_httpfs_is_loaded_from_the_package_and_taken_first(environment: Mapping[str, str]) -> None:
    code = """
from storage.duck import connect
from storage.scans import load_httpfs
with connect() as connection:
    print(load_httpfs(connection))
"""

    assert python("-c", code, environment=environment).strip() == "True"


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("folder", ["tests/sql", "tests/storage"])
def test_it_passes_the_same_tests(environment: Mapping[str, str], folder: str) -> None:
    told = python(
        "-m",
        "pytest",
        "-q",
        "-n",
        "2",
        "-m",
        "not e2e",
        "-p",
        "no:cacheprovider",
        folder,
        environment=environment,
    )

    assert " passed" in told
