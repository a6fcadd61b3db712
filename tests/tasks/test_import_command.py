"""`itpo import`: its options, and what the configuration and --set have where they are left out."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tasks.__main__ import app
from tests.builders import CONFIG_FILE
from tests.log_shapes import openai_row


def imported(folder: Path, *more: str, config: Path = CONFIG_FILE) -> str:
    """What the command says of a log of one conversation, whose outcome stands in `won`."""
    log = folder / "log.jsonl"
    log.write_text(json.dumps(openai_row(won=1)) + "\n", encoding="utf-8")
    asked = ["import", str(log), "-e", "talks", "--lake", str(folder / "lake"), "--config", str(config)]
    return CliRunner().invoke(app, [*asked, *more]).output.replace("\n", " ")


@pytest.mark.parametrize(
    "more", [("--outcome-column", "won"), ("--set", "logs.outcome_column=won")], ids=["option", "set"]
)
def test_the_outcome_column_may_be_an_option_or_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: tuple[str, ...]
) -> None:
    monkeypatch.setenv("ITPO_WORK", str(tmp_path / "work"))

    said = imported(tmp_path, *more)

    assert "accepted 1" in said
    assert "unscored" not in said


def test_the_outcome_column_of_the_configuration_is_not_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ITPO_WORK", str(tmp_path / "work"))
    config = tmp_path / "mine.toml"
    config.write_text('experiment = "talks"\n[logs]\noutcome_column = "won"\n', encoding="utf-8")

    assert "unscored" not in imported(tmp_path, config=config)


def test_a_format_that_was_set_is_taken_and_none_is_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ITPO_WORK", str(tmp_path / "work"))

    assert "openai: named" in imported(tmp_path, "--set", "logs.format=openai")
    assert "alone claims 1" in imported(tmp_path, "--lake", str(tmp_path / "other"))
