"""Iterations of the loop through Ray and OpenRLHF on this CPU, by the command that a person types."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from storage import commits, registry, run_logs
from storage.commits import CommitKey
from storage.paths import repository_root
from storage.stores import open_store
from tests.openrlhf.on_cpu import HALF_AN_HOUR_S

CONFIG = "configs/sales_openrlhf_cpu.toml"
NAME = "sales-openrlhf-cpu"
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(3 * HALF_AN_HOUR_S)]
WAYS = {
    "credited conversations": (),
    "histories under Q": ("--algorithm", "iterative_ppo", "--advantage", "reinforce_pp"),
    "conversations held inside": (
        "--set", "openrlhf.rollouts=online", "--set", "openrlhf.samples_per_prompt=2",
        "--set", "openrlhf.prompts_per_step=8",
    ),
}  # fmt: skip


def itpo(*words: str, lake: Path, work: Path) -> str:
    """The output of a command that ended well."""
    done = subprocess.run(
        [sys.executable, "-m", "tasks", *words],
        cwd=repository_root(),
        env=surroundings(lake, work),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.mark.parametrize("way", WAYS)
def test_two_iterations_make_two_versions_each_from_the_one_before(tmp_path: Path, way: str) -> None:
    lake, stage = tmp_path / "lake", tmp_path / "stage"
    here = {"lake": lake, "work": tmp_path / "work"}

    itpo("run", "--config", CONFIG, "--iterations", "2", "--set", f'openrlhf.stage_folder="{stage}"',
         *WAYS[way], **here)  # fmt: skip

    store = open_store(str(lake))
    versions = registry.versions(store, NAME)
    assert [version.name for version in versions] == [f"{NAME}/v{number:04d}" for number in range(3)]
    assert [version.parent for version in versions] == [None, f"{NAME}/v0000", f"{NAME}/v0001"]
    assert len({commits.read(store, CommitKey(NAME, "policy", number)).digest for number in range(3)}) == 3
    assert "0 problems" in itpo("verify", "-e", NAME, **here)
    assert f"parent: {NAME}/v0001" in itpo("why", f"{NAME}/v0002", **here)
    assert len(run_logs.names(store, NAME, prefix="openrlhf-")) == 2
    assert list(stage.glob("*/*")) == []


def test_a_training_that_was_killed_goes_on_from_the_last_state(tmp_path: Path) -> None:
    lake, stage, work = tmp_path / "lake", tmp_path / "stage", tmp_path / "work"
    words = [
        "run", "--config", CONFIG, "--iterations", "1", *WAYS["histories under Q"],
        "--set", f'openrlhf.stage_folder="{stage}"', "--set", "openrlhf.prompts_per_step=8",
        "--set", "openrlhf.batch=8",
    ]  # fmt: skip
    first = subprocess.Popen([sys.executable, "-m", "tasks", *words], cwd=repository_root(),
                             env=surroundings(lake, work), stdout=subprocess.DEVNULL)  # fmt: skip
    while first.poll() is None and "Global step 3" not in said(stage):
        time.sleep(0.2)

    first.kill()
    first.wait()
    itpo(*words, lake=lake, work=work)

    store = open_store(str(lake))
    (log,) = (lines for name, lines in run_logs.read(store, NAME).items() if name.startswith("openrlhf-"))
    steps = [int(step) for step in re.findall(r"Global step (\d+):", "\n".join(log))]
    # The state of step 3 may have been half written.
    assert steps in (list(range(1, len(steps) + 1)), [1, 2, 3, *range(3, len(steps))])
    assert len(steps) > 6


def said(stage: Path) -> str:
    return "".join(path.read_text(errors="replace") for path in stage.glob("*/*/openrlhf.log"))


def surroundings(lake: Path, work: Path) -> dict[str, str]:
    return {
        **os.environ,
        "ITPO_LAKE": str(lake),
        "ITPO_WORK": str(work),
        "ITPO_REPORTS": str(work / "reports"),
    }
