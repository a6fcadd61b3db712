"""The lake in a bucket: requests per data file, cold scans by each way to read, bytes per second in and out.

The servers are real ones on loopback, moto (whose door counts) and ministack: no network lies between, so the
times say what the programs cost, not how far away a bucket is.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.bench_commit import spent
from benchmarks.bench_curate import OTHER
from benchmarks.synthetic_turns import spoken_turns
from storage import commits
from storage.manifests import CommitKey
from storage.objects import LakeStore
from storage.paths import repository_root
from storage.stores import open_store
from tests.storage.counting import CountingServer, counting_server
from tests.storage.servers import (
    aws_environment,
    client,
    make_bucket,
    ministack_server,
    moto_server,
    probed_lake,
)

SHARDS, SHARD_TURNS, LARGE_TURNS = 20, 3_000, 120_000
MOST_REQUESTS = 3
OBJECT_BYTES = 32 << 20
# A process of its own for each scan: nothing is warm but the disk.
SCAN = """
import json, sys, time
import duckdb
from storage.digests import data_digest
from storage.duck import DuckSettings
from storage.stores import open_store
from storage.warehouse import open_lake
store, begun_s = open_store(sys.argv[1]), time.perf_counter()
with open_lake(store, "bench", settings=DuckSettings(reader=sys.argv[2], threads=2)) as connection:
    opened_s = time.perf_counter()
    rows = connection.sql("select * from turns order by conversation_id, turn_index").to_arrow_table()
    read_s = time.perf_counter()
times_s = [opened_s - begun_s, read_s - opened_s]
print(json.dumps([duckdb.__version__, *times_s, rows.num_rows, data_digest(rows)]))
"""


@dataclass(frozen=True, slots=True)
class Scan:
    """All columns of all turns, read by a new process, and what the server saw of it."""

    reader: str
    duckdb: str
    open_s: float
    read_s: float
    rows: int
    digest: str
    per_file: Mapping[str, int]  # requests for each data file
    others: int  # requests for anything else


@dataclass(frozen=True, slots=True)
class Rates:
    """Megabytes per second of one server: through the store, and through boto3 alone."""

    server: str
    put: float
    bare_put: float
    get: float
    bare_get: float


def main() -> str:
    """Measure, and return the section of docs/benchmarks.md."""
    scans, written = scan_everything()
    found = []
    for name, start in {"moto": moto_server, "ministack": ministack_server}.items():
        with start() as endpoint, aws_environment(endpoint):
            found.append(rates(name, endpoint))
    return section(scans, found, written=written)


def scan_everything() -> tuple[list[Scan], Mapping[str, int]]:
    """Every way to read the same lake, local files first, and the requests of writing it by method."""
    with (
        tempfile.TemporaryDirectory(prefix="itpo-bench-") as folder,
        counting_server() as server,
        aws_environment(server.endpoint),
    ):
        lake, local = probed_lake(server.endpoint), f"{folder}/lake"
        server.requests.clear()
        fill(open_store(lake))
        written = Counter(method for method, _ in server.requests)
        fill(open_store(local))
        scans = [scan(local, "auto", server=server)]
        scans += [scan(lake, reader, server=server) for reader in ("s3fs", "pyarrow")]
        scans += [scan(lake, reader, server=server, duckdb=OTHER) for reader in ("httpfs", "s3fs", "pyarrow")]
    return scans, written


def fill(store: LakeStore) -> None:
    """Twenty small shards in one iteration, and one large file in the next."""
    for iteration, (shards, turns) in enumerate(((SHARDS, SHARD_TURNS), (1, LARGE_TURNS))):
        key = CommitKey("bench", "rollouts", iteration)
        for shard in range(shards):
            rows = {"turns": spoken_turns(turns, seed=1_000 * iteration + shard)}
            commits.publish_shard(store, key, shard=shard, tables=rows, inputs={}, attempt="bench")
        commits.seal(store, key, shards=shards, parents={}, inputs={})


def scan(lake: str, reader: str, *, server: CountingServer, duckdb: Path | None = None) -> Scan:
    """Read everything in a new process, with this DuckDB or one in another folder."""
    server.requests.clear()
    folders = [repository_root()] if duckdb is None else [duckdb, repository_root()]
    told = subprocess.run(
        [sys.executable, "-c", SCAN, lake, reader],
        cwd=repository_root(),
        env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, folders))},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    version, open_s, read_s, rows, digest = json.loads(told.stdout)
    per_file = Counter(path for _, path in server.requests if path.endswith(".parquet"))
    others = len(server.requests) - per_file.total()
    return Scan(reader, version, open_s, read_s, rows, digest, per_file, others)


def rates(name: str, endpoint: str) -> Rates:
    """One object of 32 MiB in and out, each way three times, the fastest."""
    bucket, data = make_bucket(endpoint), os.urandom(OBJECT_BYTES)
    store, bare = open_store(probed_lake(endpoint)), client(endpoint)
    times_s: dict[str, list[float]] = {}
    for attempt in range(3):
        key = f"object-{attempt}"
        ways = {
            "put": partial(store.create, key, data),
            "bare_put": partial(bare.put_object, Bucket=bucket, Key=key, Body=data),
            "get": partial(store.get, key),
            "bare_get": lambda key=key: bare.get_object(Bucket=bucket, Key=key)["Body"].read(),
        }
        for way, work in ways.items():
            times_s.setdefault(way, []).append(spent(work).wall_s)
    return Rates(name, **{way: OBJECT_BYTES / 1e6 / min(taken) for way, taken in times_s.items()})


def section(scans: Sequence[Scan], found: Sequence[Rates], *, written: Mapping[str, int]) -> str:
    """The Markdown of the measurements."""
    about = (
        f"{scans[0].rows:,} turns in {SHARDS + 1} files, one of them of {LARGE_TURNS:,} turns; every scan "
        "reads all columns in a\nnew process, from opening the lake to an Arrow table. The servers are on "
        f"loopback; load {os.getloadavg()[0]:.1f} at the end."
    )
    wrote = (
        f"Writing the lake took {written.get('PUT', 0)} PUT and {written.get('GET', 0)} GET: per shard a "
        "data file, and a claim that is looked\nfor before, read back and read once more for the commit."
    )
    head = f"## The lake in a bucket\n\n{about}\n"
    return "\n\n".join([head.strip(), scan_table(scans), agreement(scans), rate_table(found), wrote]) + "\n"


def scan_table(scans: Sequence[Scan]) -> str:
    """One line per way to read; the first scan is of local files."""
    local_s = scans[0].open_s + scans[0].read_s
    lines = [
        f"| {of.reader if of.per_file else 'local files'} | {of.duckdb} | {of.open_s:.2f} | {of.read_s:.2f} "
        f"| {(of.open_s + of.read_s) / local_s:.1f} | {_per_file(of)} | {of.others} | {_verdict(of)} |"
        for of in scans
    ]
    head = (
        "| read by | DuckDB | open s | scan s | local files = 1 | requests per data file, mean (most) "
        f"| other requests | at most {MOST_REQUESTS} |"
    )
    return "\n".join([head, "|---|---|---|---|---|---|---|---|", *lines])


def agreement(scans: Sequence[Scan]) -> str:
    """Whether every way gave the same rows."""
    same = "the same" if len({(of.rows, of.digest) for of in scans}) == 1 else "DIFFERENT"
    return f"The digests of the rows are {same} for all {len(scans)} (`{scans[0].digest[:32]}`)."


def rate_table(found: Sequence[Rates]) -> str:
    """Megabytes per second in and out."""
    lines = [
        f"| {of.server} | {of.put:.0f} | {of.put / of.bare_put:.2f} "
        f"| {of.get:.0f} | {of.get / of.bare_get:.2f} |"
        for of in found
    ]
    head = (
        f"| server, objects of {OBJECT_BYTES >> 20} MiB | store puts, MB/s | boto3 alone = 1 "
        "| store gets, MB/s | boto3 alone = 1 |"
    )
    return "\n".join([head, "|---|---|---|---|---|", *lines])


def _per_file(of: Scan) -> str:
    if not of.per_file:
        return "-"
    return f"{sum(of.per_file.values()) / len(of.per_file):.2f} ({max(of.per_file.values())})"


def _verdict(of: Scan) -> str:
    if not of.per_file:
        return "-"
    return "yes" if max(of.per_file.values()) <= MOST_REQUESTS else "NO"


if __name__ == "__main__":
    print(main())
