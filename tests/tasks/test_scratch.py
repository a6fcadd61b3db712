"""Each attempt has a scratch folder of its own; a killed one leaves nothing but trainings to the next."""

import subprocess
import sys
from pathlib import Path

import pytest

from tasks.context import Context
from tasks.scratch import open_scratch
from tests.loop.tiny import tiny_config

HOLD = """
import sys
from pathlib import Path
from tasks.scratch import open_scratch
mine = open_scratch(Path(sys.argv[1]), "elsewhere")
(mine.folder / "weights").write_text("half")
print("ready", flush=True)
sys.stdin.read()
"""


def context_of(folder: Path, monkeypatch: pytest.MonkeyPatch, attempt: str) -> Context:
    monkeypatch.setenv("ITPO_WORK", str(folder / "work"))
    return Context(tiny_config(folder / "lake"), 1, attempt)


def test_two_attempts_at_once_have_two_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (context_of(tmp_path, monkeypatch, name) for name in ("one", "manual__2026/train/2"))
    for context in (first, second):
        folder = context.work_folder("train", "policy")
        folder.mkdir(parents=True)
        (folder / "model").write_text(context.attempt)

    read = [(each.work_folder("train", "policy") / "model").read_text() for each in (first, second)]
    assert read == ["one", "manual__2026/train/2"]


def test_one_attempt_finds_its_folder_again(tmp_path: Path) -> None:
    first = open_scratch(tmp_path, "one")

    assert open_scratch(tmp_path, "one").folder == first.folder


def test_the_folder_of_an_attempt_that_ended_goes_and_that_of_a_running_one_stays(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        first = open_scratch(tmp_path, "first")
        seen = sorted(path.name for path in tmp_path.iterdir())
        other.kill()

    second = open_scratch(tmp_path, "second")

    assert len(seen) == 2
    assert first.folder.name in seen
    assert sorted(tmp_path.iterdir()) == sorted([first.folder, second.folder])


def test_what_lies_beside_the_attempts_stays(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()

    open_scratch(tmp_path, "one")

    assert (tmp_path / "state").is_dir()


def test_the_training_of_an_attempt_that_ended_is_the_next_ones(tmp_path: Path) -> None:
    killed = open_scratch(tmp_path, "killed").folder  # nobody keeps its lock
    for place in ("train/policy.work", "policy.work", "train/policy"):
        (killed / place).mkdir(parents=True)
    (killed / "train" / "policy.work" / "epoch-0002").write_text("state")

    heir = open_scratch(tmp_path, "heir").folder

    assert (heir / "train" / "policy.work" / "epoch-0002").read_text() == "state"
    assert (heir / "policy.work").is_dir()
    assert not (heir / "train" / "policy").exists()
    assert not killed.exists()


def test_a_training_under_way_stays_where_it_is_and_is_not_replaced(tmp_path: Path) -> None:
    running, ended = open_scratch(tmp_path, "running"), open_scratch(tmp_path, "ended").folder
    for folder, state in ((running.folder, "of the running"), (ended, "of the ended")):
        (folder / "q.work").mkdir()
        (folder / "q.work" / "state").write_text(state)

    again = open_scratch(tmp_path, "running").folder
    other = open_scratch(tmp_path, "other").folder

    assert (again / "q.work" / "state").read_text() == "of the running"
    assert not ended.exists()
    assert not (other / "q.work").exists()
