"""The benchmark of curation compares two programs that do the same work."""

from pathlib import Path

import pytest

from benchmarks import bench_curate
from benchmarks.bench_curate import Cost
from benchmarks.synthetic_turns import Sizes, write_relations


def test_sql_and_polars_credit_the_same_turns_alike(tmp_path: Path) -> None:
    paths = write_relations(tmp_path, Sizes(400))

    ours = bench_curate.credit(paths, bench_curate.curate(paths, threads=1), threads=1)

    assert 1500 < ours.num_rows < 2000
    assert bench_curate.largest_difference(ours, paths) < 1e-9


def test_a_comparison_of_different_turns_is_refused(tmp_path: Path) -> None:
    paths = write_relations(tmp_path, Sizes(80))
    ours = bench_curate.credit(paths, bench_curate.curate(paths, threads=1), threads=1)

    with pytest.raises(ValueError, match="not the same work"):
        bench_curate.largest_difference(ours.slice(1), paths)


def test_the_section_states_ratios_to_ours() -> None:
    costs = {"ours": Cost(2.0, 4.0), "theirs": Cost(1.0, 1.0)}

    section = bench_curate.section(costs, facts="facts", agreement="agreement")

    assert section.startswith("## ")
    assert "| theirs | 1.00 | 1.00 | 0.50 | 0.25 |" in section
