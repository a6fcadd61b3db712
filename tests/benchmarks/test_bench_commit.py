"""The benchmark of the protocol: both ways write the same bytes; the overhead is what lies between them."""

from pathlib import Path

import pytest

from benchmarks import bench_commit
from benchmarks.bench_commit import Measured, Round, Spent, TimedStore
from benchmarks.synthetic_turns import spoken_turns
from storage.errors import ObjectMissing
from storage.local_store import LocalStore

ROUND = Round(Spent(2.0, 1.0), Spent(2.1, 1.2), claims_s=0.03, reads_s=0.001)


def test_both_ways_write_the_same_bytes(tmp_path: Path) -> None:
    table = spoken_turns(60)

    bench_commit.write_alone(tmp_path, table)
    bench_commit.write_by_protocol(TimedStore(LocalStore(tmp_path / "lake")), table)

    (stored,) = (tmp_path / "lake").rglob("*.parquet")
    assert stored.read_bytes() == (tmp_path / "turns.parquet").read_bytes()


def test_claims_and_reads_are_timed_and_data_files_are_not(tmp_path: Path) -> None:
    store = TimedStore(LocalStore(tmp_path))

    store.create("a/data.parquet", b"rows")
    before_s = store.claims_s
    store.create("a/shard-0000.json", b"{}")

    assert before_s == 0.0 < store.claims_s
    with pytest.raises(ObjectMissing):
        store.get("nothing")
    assert store.reads_s > 0.0


def test_the_overhead_is_the_median_of_what_lies_beyond_writing_alone() -> None:
    rounds = [ROUND, Round(Spent(1.0, 1.0), Spent(1.5, 1.1), 0.0, 0.0), ROUND]

    of = Measured(1_200, 1.0, rounds, digest_cpu_s=0.1, hash_cpu_s=0.02)

    assert of.wall_overhead == pytest.approx(0.05)
    assert of.cpu_overhead == pytest.approx(0.2)
    assert bench_commit.row(of).startswith("| 1,200 | 1.0 | 2.000 | 1.000 | 5.0% |")


def test_more_than_the_limit_is_said() -> None:
    slow = Round(Spent(1.0, 1.0), Spent(1.06, 1.0), 0.0, 0.0)

    assert "| 6.0% | no |" in bench_commit.row(Measured(1, 1.0, [slow], 0.0, 0.0))
