"""The command line ends with one line and exit code 2 where a person can mend the cause."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


def itpo(*arguments: str, lake: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "ITPO_WORK": str(lake / "work"), "ITPO_REPORTS": str(lake / "reports")}
    command = [sys.executable, "-m", "tasks", *arguments, "--lake", str(lake)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_collecting_without_a_policy_says_so_and_how_to_get_one(tmp_path: Path):
    done = itpo("collect", "--iteration", "1", lake=tmp_path)

    assert done.returncode == 2
    assert "policy" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_stage_whose_input_is_missing_names_the_stage_to_run(tmp_path: Path):
    done = itpo("curate", "--iteration", "3", lake=tmp_path)

    assert done.returncode == 2
    assert "sales/rollouts/0003" in done.stderr
    assert "run `itpo collect`" in done.stderr


def test_an_unknown_setting_names_key_and_value(tmp_path: Path):
    done = itpo("curate", "--set", "train.epoch=3", lake=tmp_path)

    assert done.returncode == 2
    assert "train.epoch = 3" in done.stderr


def test_wrong_sql_comes_back_with_the_database_s_own_words(tmp_path: Path):
    done = itpo("sql", "select nothing from nowhere", lake=tmp_path)

    assert done.returncode == 2
    assert "nowhere" in done.stderr


def test_an_empty_lake_answers_with_empty_views(tmp_path: Path):
    done = itpo("sql", "select count(*) as n from conversations", lake=tmp_path)

    assert done.returncode == 0
    assert "0" in done.stdout


def test_a_missing_log_file_is_named(tmp_path: Path):
    done = itpo("import", str(tmp_path / "absent.jsonl"), "--experiment", "logs", lake=tmp_path)

    assert done.returncode == 2
    assert "absent.jsonl: no such log file" in done.stderr
