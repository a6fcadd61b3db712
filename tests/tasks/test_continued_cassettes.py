"""A recording that broke off is continued: what was answered is not asked, and not paid, a second time."""

import shutil
from pathlib import Path

import pytest

from itpo_core.llm.base import CallStatus
from itpo_core.llm.cassettes import Recording
from tasks.cassettes import path_of, read_tape, tape_of
from tasks.config import Config
from tests.itpo_core.llm.questions import ScriptedModel, call, numbered
from tests.loop.tiny import tiny_config

FIRST, SECOND, THIRD = numbered(range(3))


def recording(folder: Path, mode: str) -> Config:
    return tiny_config("lake", cassettes__mode=mode, cassettes__folder=str(folder), user__kind="llm")


def test_of_a_recording_that_was_killed_every_call_that_came_back_is_there(tmp_path: Path) -> None:
    with tape_of(recording(tmp_path / "killed", "record"), 1, name="a") as tape:
        Recording(ScriptedModel(), tape).ask(FIRST)
        shutil.copytree(tmp_path / "killed", tmp_path / "left")  # as a kill leaves it, in the middle
    half = next((tmp_path / "left").rglob("*.unfinished"))
    with half.open("a") as lines:
        lines.write('{"key": "of a call that was being wr')

    model = ScriptedModel()
    with tape_of(recording(tmp_path / "left", "continue"), 1, name="a") as tape:
        both = [Recording(model, tape).ask(each) for each in (FIRST, SECOND)]

    assert model.asked == [SECOND]
    kept = read_tape(path_of(recording(tmp_path / "left", "replay"), 1, name="a"))
    assert len(kept) == len(both) == 2
    assert not half.exists()


def test_what_failed_is_asked_again_and_what_was_answered_or_declined_is_not(tmp_path: Path) -> None:
    ends = [call(CallStatus.ANSWERED), call(CallStatus.FAILED), call(CallStatus.ABSTAINED)]
    with tape_of(recording(tmp_path, "record"), 1, name="a") as tape:
        for question, end in zip((FIRST, SECOND, THIRD), ends, strict=True):
            Recording(ScriptedModel([end]), tape).ask(question)

    model = ScriptedModel()
    with tape_of(recording(tmp_path, "continue"), 1, name="a") as tape:
        for question in (FIRST, SECOND, THIRD):
            Recording(model, tape).ask(question)

    assert model.asked == [SECOND]


@pytest.mark.parametrize("mode", ["record", "off"])
def test_only_a_continued_recording_remembers(tmp_path: Path, mode: str) -> None:
    with tape_of(recording(tmp_path, "record"), 1, name="a") as tape:
        Recording(ScriptedModel(), tape).ask(FIRST)

    with tape_of(recording(tmp_path, mode), 1, name="a") as tape:
        assert len(tape) == 0
