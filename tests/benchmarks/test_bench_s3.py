"""The benchmark of the bucket: what the tables say of scans and rates."""

from dataclasses import replace

import pytest

from benchmarks import bench_s3
from benchmarks.bench_s3 import Rates, Scan

LOCAL = Scan("auto", "2.0.0", 0.5, 1.5, rows=7, digest="d" * 64, per_file={}, others=0)
REMOTE = replace(LOCAL, reader="s3fs", read_s=5.5, per_file={"a": 1, "b": 3}, others=4)


def test_a_scan_is_compared_with_local_files_and_its_requests_with_the_limit() -> None:
    lines = bench_s3.scan_table([LOCAL, REMOTE]).splitlines()

    assert lines[2] == "| local files | 2.0.0 | 0.50 | 1.50 | 1.0 | - | 0 | - |"
    assert lines[3] == "| s3fs | 2.0.0 | 0.50 | 5.50 | 3.0 | 2.00 (3) | 4 | yes |"


def test_one_file_that_took_more_requests_is_enough_for_a_no() -> None:
    assert "| NO |" in bench_s3.scan_table([LOCAL, replace(REMOTE, per_file={"a": 1, "b": 4})])


@pytest.mark.parametrize("other", [replace(REMOTE, rows=8), replace(REMOTE, digest="e" * 64)])
def test_rows_that_differ_are_shouted(other: Scan) -> None:
    assert "are the same for all 2" in bench_s3.agreement([LOCAL, REMOTE])
    assert "are DIFFERENT" in bench_s3.agreement([LOCAL, other])


def test_rates_stand_beside_their_ratio_to_the_bare_client() -> None:
    table = bench_s3.rate_table([Rates("moto", put=60.0, bare_put=80.0, get=400.0, bare_get=400.0)])

    assert table.splitlines()[2] == "| moto | 60 | 0.75 | 400 | 1.00 |"
