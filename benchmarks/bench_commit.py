"""What the commit protocol costs over writing the same Parquet bytes to the same disk.

Writing alone: cast, order and check the rows, encode them, write the bytes to a temporary file, fsync it,
rename it, fsync the folder. The protocol: `publish_shard` and `seal` of the same rows, which does all that
and digests the rows, hashes the bytes, looks for an earlier winner, claims the shard, reads the claim back,
writes the commit and reads it back. Both take turns on one disk.
"""

import os
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import pyarrow as pa

from benchmarks.synthetic_turns import spoken_turns
from storage import commits
from storage.digests import data_digest, file_sha256
from storage.local_store import LocalStore
from storage.manifests import CommitKey
from storage.tables import conform, encode

# Turns, and how often each way is measured.
SIZES = {1_200: 15, 60_000: 5, 600_000: 2}
LIMIT = 0.05


@dataclass(frozen=True, slots=True)
class Spent:
    """Seconds of some work: on the clock, and of all threads together."""

    wall_s: float
    cpu_s: float


@dataclass(frozen=True, slots=True)
class Round:
    """Both ways once, one after the other, and two parts of the protocol on the clock."""

    alone: Spent
    protocol: Spent
    claims_s: float  # the shard manifest and the commit, written and made durable
    reads_s: float


@dataclass(frozen=True, slots=True)
class Measured:
    """One size."""

    turns: int
    size_mb: float
    rounds: Sequence[Round]
    digest_cpu_s: float  # of the rows
    hash_cpu_s: float  # of the bytes

    @property
    def wall_overhead(self) -> float:
        """Time on the clock beyond writing alone, as a share of it: the median of the rounds."""
        return median(each.protocol.wall_s / each.alone.wall_s - 1 for each in self.rounds)

    @property
    def cpu_overhead(self) -> float:
        """The same of processor time."""
        return median(each.protocol.cpu_s / each.alone.cpu_s - 1 for each in self.rounds)


@dataclass(slots=True)
class TimedStore:
    """A local store that notes how long its small objects and its reads take."""

    inner: LocalStore
    claims_s: float = 0.0
    reads_s: float = 0.0

    def get(self, key: str) -> bytes:
        """Timed, also where there is nothing."""
        begun_s = time.perf_counter()
        try:
            return self.inner.get(key)
        finally:
            self.reads_s += time.perf_counter() - begun_s

    def create(self, key: str, data: bytes) -> bool:
        """Timed, unless it is a data file: writing alone writes that as well."""
        begun_s = time.perf_counter()
        created = self.inner.create(key, data)
        self.claims_s += time.perf_counter() - begun_s if key.endswith(".json") else 0.0
        return created

    def list(self, prefix: str) -> list[str]:
        """As it is: the protocol never lists."""
        return self.inner.list(prefix)


def main() -> str:
    """Measure, and return the section of docs/benchmarks.md."""
    with tempfile.TemporaryDirectory(prefix="itpo-bench-") as folder:
        return section([measure(Path(folder), turns, rounds=rounds) for turns, rounds in SIZES.items()])


def measure(folder: Path, turns: int, *, rounds: int) -> Measured:
    """Both ways in turn, then the two hashes by themselves."""
    table = spoken_turns(turns)
    found = [one_round(folder, table) for _ in range(rounds)]
    rows = conform("turns", table)
    data = encode(rows)
    return Measured(
        turns,
        len(data) / 1e6,
        found,
        digest_cpu_s=spent(lambda: data_digest(rows)).cpu_s,
        hash_cpu_s=spent(lambda: file_sha256(data)).cpu_s,
    )


def one_round(folder: Path, table: pa.Table) -> Round:
    """Write alone, then by the protocol into a new lake."""
    alone = spent(lambda: write_alone(folder, table))
    store = TimedStore(LocalStore(folder / uuid.uuid4().hex))
    protocol = spent(lambda: write_by_protocol(store, table))
    return Round(alone, protocol, store.claims_s, store.reads_s)


def write_alone(folder: Path, table: pa.Table) -> None:
    """One Parquet file, durable under its final name."""
    data = encode(conform("turns", table))
    unfinished = folder / f"{uuid.uuid4().hex}.tmp"
    with open(unfinished, "xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    unfinished.rename(folder / "turns.parquet")
    descriptor = os.open(folder, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def write_by_protocol(store: TimedStore, table: pa.Table) -> None:
    """The same rows as the only table of a new commit."""
    key = CommitKey("bench", "rollouts", 0)
    commits.publish_shard(store, key, shard=0, tables={"turns": table}, inputs={}, attempt="bench")
    commits.seal(store, key, shards=1, parents={}, inputs={})


def spent(work: Callable[[], object]) -> Spent:
    """Time of one call."""
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    work()
    return Spent(time.perf_counter() - wall_s, time.process_time() - cpu_s)


def section(found: Sequence[Measured]) -> str:
    """The Markdown of the measurements."""
    about = (
        "Writing alone: cast, order and check the rows, encode them, one durable file. The protocol does "
        "that and digests\nthe rows and hashes the bytes (both beside the encoding, in a thread of their "
        "own), and claims shard and commit: two\nsmall durable objects, each read back. The overhead is the "
        "time beyond writing alone as a share of it, median of the\nrounds; the claims cost the same for "
        f"any number of rows. Load {os.getloadavg()[0]:.1f} at the end."
    )
    head = (
        "| turns | MB | writing alone, wall s | CPU s | overhead on the clock | at most 5 % "
        "| of processor time | digest of rows, CPU ms | hash of bytes, CPU ms | both claims, ms | reads, ms |"
    )
    rows = "\n".join(map(row, found))
    return "\n".join([f"## The commit protocol\n\n{about}\n", head, "|" + "---|" * 11, rows]) + "\n"


def row(of: Measured) -> str:
    """One line of the table."""
    alone_s = median(each.alone.wall_s for each in of.rounds)
    alone_cpu_s = median(each.alone.cpu_s for each in of.rounds)
    parts_s = [
        of.digest_cpu_s,
        of.hash_cpu_s,
        median(each.claims_s for each in of.rounds),
        median(each.reads_s for each in of.rounds),
    ]
    cells = [
        f"{of.turns:,}",
        f"{of.size_mb:.1f}",
        f"{alone_s:.3f}",
        f"{alone_cpu_s:.3f}",
        f"{of.wall_overhead:.1%}",
        "yes" if of.wall_overhead <= LIMIT else "no",
        f"{of.cpu_overhead:.1%}",
        *(f"{part_s * 1e3:.1f}" for part_s in parts_s),
    ]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    print(main())
