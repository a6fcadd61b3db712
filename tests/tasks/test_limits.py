"""Limits may move between two runs of one experiment; whatever decides rows may not."""

from pathlib import Path

from tasks.limits import but_for_limits
from tests.loop.tiny import tiny_config


def inputs(folder: Path, **changes: object) -> dict[str, str]:
    return tiny_config(folder, **changes).section("collect", "evaluate")


def test_another_limit_is_no_other_input_and_commits_go_on_saying_their_own(
    tmp_path: Path,
) -> None:
    committed = inputs(tmp_path)

    now = inputs(tmp_path, collect__failure_budget=0.9, evaluate__contamination="report")

    assert now != committed
    assert but_for_limits(now, committed) == committed
    assert but_for_limits(now, None) == now


def test_what_decides_rows_stays_another_input(tmp_path: Path) -> None:
    committed = inputs(tmp_path)

    now = inputs(tmp_path, collect__failure_budget=0.9, collect__batch=8)

    assert but_for_limits(now, committed)["collect"] == now["collect"] != committed["collect"]
