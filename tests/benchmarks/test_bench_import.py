"""The benchmark of the import: logs with known damage, a stage in a child, and rows that must add up."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import bench_import, stage_child
from benchmarks.stage_child import StageCost
from benchmarks.synthetic_logs import LogSizes, write_logs

SIZES = LogSizes(1_000, files=3, words=20_000)
COUNTS = {"read": 1_008, "accepted": 1_000, "quarantined": 3, "duplicate": 5}
ROWS = {"conversations": 1_000, "turns": 6_000, "logged_ids": 1_000, "quarantine": 8}
COST = StageCost("import", 12.0, 10.0, 900.0, "d", ROWS, dict(COUNTS))


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_logs(tmp_path_factory.mktemp("logs"), SIZES)


def test_the_logs_are_as_many_lines_as_they_say(logs: list[Path]) -> None:
    lines = [line for path in logs for line in path.read_text().splitlines()]

    # 1000 talks, 5 of them repeated, 2 cut, one id used again.
    assert len(lines) == SIZES.lines == 1_008
    assert sum(not line.endswith("}") for line in lines) == 2
    assert len(set(lines)) == 1_003


def test_the_same_sizes_give_the_same_bytes(logs: list[Path], tmp_path: Path) -> None:
    again = write_logs(tmp_path, SIZES)

    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in logs]


def test_logs_that_tell_numbers_are_the_same_talks_with_numbers(logs: list[Path], tmp_path: Path) -> None:
    told = write_logs(tmp_path, replace(SIZES, tells_numbers=True))

    pairs = [
        (json.loads(plain), json.loads(other))
        for path, written in zip(logs, told, strict=True)
        for plain, other in zip(path.read_text().splitlines(), written.read_text().splitlines(), strict=True)
        if plain.endswith("}")
    ]

    assert all(plain["id"] == other["id"] and plain["outcome"] == other["outcome"] for plain, other in pairs)
    digits = [any(each.isdigit() for each in str(other["messages"][1]["content"])) for _, other in pairs]
    assert 0.25 < sum(digits) / len(digits) < 0.5


@pytest.mark.slow
def test_every_line_is_found_again_after_an_import(logs: list[Path], tmp_path: Path) -> None:
    config = {
        "experiment": "bench",
        "lake": {"root": str(tmp_path / "lake")},
        "logs": {"paths": [str(path) for path in logs]},
    }

    cost = stage_child.run_stage("import", config, work=tmp_path / "work")

    assert {name: cost.figures[name] for name in COUNTS} == COUNTS
    assert cost.rows == ROWS
    assert 50 < cost.peak_mb < 2_000
    assert cost.cpu_s > 0


@pytest.mark.slow
def test_processes_that_a_stage_starts_count_too(logs: list[Path], tmp_path: Path) -> None:
    paths = {"paths": [str(path) for path in logs]}

    alone, ahead = (
        stage_child.run_stage(
            "import",
            {
                "experiment": "bench",
                "lake": {"root": str(tmp_path / f"lake-{workers}")},
                "logs": {**paths, "workers": workers},
            },
            work=tmp_path / "work",
        )
        for workers in (0, 2)
    )

    assert ahead.digest == alone.digest
    assert ahead.peak_mb > alone.peak_mb + 100  # two interpreters with Arrow
    assert ahead.cpu_s > alone.cpu_s


def test_rows_that_do_not_add_up_are_refused() -> None:
    bench_import.check_conserved(COST, SIZES)

    with pytest.raises(ValueError, match=r"'rows of turns': \(5999, 6000\)"):
        bench_import.check_conserved(replace(COST, rows={**ROWS, "turns": 5_999}), SIZES)


def test_the_table_says_when_a_limit_was_missed() -> None:
    slow, large = replace(COST, wall_s=61.0), replace(COST, peak_mb=2_001.0)

    lines = bench_import.table([COST, slow, large]).splitlines()

    assert lines[2] == "| import | 12.0 | 10.0 | 10,000 | 900 | yes |"
    assert [line.split("|")[-2].strip() for line in lines[3:]] == ["NO", "NO"]


def test_a_cost_survives_the_way_from_the_child() -> None:
    from dataclasses import asdict

    assert StageCost(**json.loads(json.dumps(asdict(COST)))) == COST
