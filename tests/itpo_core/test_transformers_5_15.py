"""The other end of the declared range of transformers, which the cluster has: all that uses it, again.

`make test-full` installs it into a folder of its own, which child processes find before the one of `.venv`.
"""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from storage.paths import repository_root
from tests.loop.tiny import tiny_options

ROOT = repository_root()
OTHER = ROOT / ".venv" / "transformers-5.15"
VERSION = "5.15.0"
USES = re.compile(
    r"transformers|tiny_policy|tiny_models|policies import|training_batches|q_cases|load_policy|tokeniz"
)
WHERE = ("itpo_core", "itpo_core/trainers", "itpo_core/rewards", "itpo_core/logs", "contracts")
SMALL = ("logs.scripted_conversations=64", "warm_start.steps=20", "collect.conversations=32")
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(3600)]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    if not (OTHER / "transformers").is_dir():
        pytest.skip(f"{OTHER} is not there: make .venv/transformers-5.15/.installed")
    work = tmp_path_factory.mktemp("work")
    folders = {"ITPO_WORK": str(work / "work"), "ITPO_REPORTS": str(work / "reports")}
    return {**os.environ, **folders, "PYTHONPATH": str(OTHER)}


def python(*arguments: str, environment: Mapping[str, str]) -> str:
    command = [sys.executable, *arguments]
    done = subprocess.run(
        command, cwd=ROOT, env=dict(environment), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    return done.stdout


def files_that_use_it() -> list[str]:
    """The test files to which the version of transformers can matter."""
    found = [path for folder in WHERE for path in sorted((ROOT / "tests" / folder).glob("test_*.py"))]
    return [str(path) for path in found if path != Path(__file__) and USES.search(path.read_text())]


def test_it_is_the_one_that_child_processes_import(environment: Mapping[str, str]) -> None:
    said = python("-c", "import transformers; print(transformers.__version__)", environment=environment)

    assert said.strip() == VERSION


def test_it_passes_the_same_tests(environment: Mapping[str, str]) -> None:
    files = files_that_use_it()

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
        *files,
        environment=environment,
    )

    assert len(files) > 20
    assert " passed" in told


def test_a_whole_iteration_runs_on_it(environment: Mapping[str, str], tmp_path: Path) -> None:
    settings = [part for each in SMALL for part in ("--set", each)]

    told = python(
        "-m",
        "tasks",
        "run",
        "--iterations",
        "1",
        *tiny_options(tmp_path / "lake"),
        *settings,
        environment=environment,
    )

    assert (tmp_path / "lake").is_dir()
    assert told
