"""The benchmark of curation compares two programs that do the same work."""

from pathlib import Path

import pytest

from benchmarks import bench_curate
from benchmarks.bench_curate import Cost
from benchmarks.disk_use import largest_size
from benchmarks.synthetic_turns import Sizes, write_relations
from storage.duck import DuckSettings


def test_sql_and_polars_credit_the_same_turns_alike(tmp_path: Path) -> None:
    paths = write_relations(tmp_path, Sizes(400))

    ours = bench_curate.credit(paths, bench_curate.curate(paths))

    assert 1500 < ours.num_rows < 2000
    assert bench_curate.largest_difference(ours, paths) < 1e-9


def test_a_comparison_of_different_turns_is_refused(tmp_path: Path) -> None:
    paths = write_relations(tmp_path, Sizes(80))
    ours = bench_curate.credit(paths, bench_curate.curate(paths))

    with pytest.raises(ValueError, match="not the same work"):
        bench_curate.largest_difference(ours.slice(1), paths)


def test_the_section_states_ratios_to_ours() -> None:
    costs = {"ours": Cost(2.0, 4.0), "theirs": Cost(1.0, 1.0)}

    section = bench_curate.section(costs, facts="facts", agreement="agreement")

    assert section.startswith("## ")
    assert "| theirs | 1.00 | 1.00 | 0.50 | 0.25 |" in section


def test_a_digest_that_differs_is_shouted() -> None:
    assert "are the same for threads=1, 300MB" in bench_curate.agreement({"threads=1": "a", "300MB": "a"})
    assert "are DIFFERENT for" in bench_curate.agreement({"threads=1": "a", "300MB": "b"})


def test_the_largest_size_of_a_folder_is_noted_though_it_shrinks(tmp_path: Path) -> None:
    with largest_size(tmp_path) as noted:
        (tmp_path / "a").write_bytes(bytes(1_000))
        (tmp_path / "b").write_bytes(bytes(500))
        noted.look()
        (tmp_path / "a").unlink()

    assert noted.bytes == 1_500


@pytest.mark.slow
def test_curation_and_credit_finish_on_disk_with_the_same_rows(tmp_path: Path) -> None:
    paths = write_relations(tmp_path, Sizes(40_000))
    spill = tmp_path / "spill"
    spill.mkdir()
    tight = DuckSettings(threads=2, memory_limit="95MB", spill=spill)

    with largest_size(spill) as noted:
        found = bench_curate.both_digests(paths, tight)

    assert found == bench_curate.digest(paths, threads=2)
    assert noted.bytes > 1_000_000
