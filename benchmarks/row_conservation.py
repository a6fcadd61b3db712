"""What the importer makes of the real logs, whole and damaged: the table of docs/real-logs.md.

Run as `python -m benchmarks.row_conservation FOLDER`; the folder holds `tau_bench` and `mtmeddialog`.
"""

import gzip
import random
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from tasks.import_counts import listed
from tasks.log_intake import NothingImported, import_files
from tasks.logged_rows import Place

FLIPPED_BYTES = 20
SEED = 0


def whole(data: bytes) -> bytes:
    """As published."""
    return data


def cut(data: bytes) -> bytes:
    """Without the last third."""
    return data[: 2 * len(data) // 3]


def flipped(data: bytes) -> bytes:
    """With a few bytes replaced anywhere before the last hundredth, where Parquet keeps its footer."""
    place = random.Random(SEED)
    damaged = bytearray(data)
    for _ in range(FLIPPED_BYTES):
        damaged[place.randrange(len(data) * 99 // 100)] = place.randrange(256)
    return bytes(damaged)


def packed_and_cut(data: bytes) -> bytes:
    """Gzipped, without the last third."""
    return cut(gzip.compress(data, mtime=0))


def packed_and_flipped(data: bytes) -> bytes:
    """Gzipped, with a few bytes replaced."""
    return flipped(gzip.compress(data, mtime=0))


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "whole": whole,
    "last third cut off": cut,
    f"{FLIPPED_BYTES} bytes replaced": flipped,
    "gzipped, last third cut off": packed_and_cut,
    f"gzipped, {FLIPPED_BYTES} bytes replaced": packed_and_flipped,
}
FILES = {
    "tau_bench/gpt-4o-airline.json": "tau_bench",
    "mtmeddialog/sft_val.parquet": "mtmeddialog",
    "mtmeddialog/sft_train.parquet": "mtmeddialog",
}


def lines(folder: Path) -> Iterator[str]:
    """The table as Markdown."""
    yield "| file | copy | read | accepted | quarantined | duplicate | because |"
    yield "|---|---|---|---|---|---|---|"
    for name, log_format in FILES.items():
        data = (folder / name).read_bytes()
        for kind, damage in DAMAGE.items():
            ending = ".gz" if kind.startswith("gzipped") else ""
            if ending and name.endswith(".parquet"):
                continue  # Parquet is packed inside, column by column
            counts = outcome(damage(data), name=Path(name).name + ending, log_format=log_format)
            yield f"| `{name}` | {kind} | {counts} |"


def outcome(data: bytes, *, name: str, log_format: str) -> str:
    """The counts of an import of these bytes, as table cells."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / name
        path.write_bytes(data)
        try:
            counts = import_files([path], log_format=log_format, place=Place("table")).counts
        except NothingImported as refused:
            return f"refused | 0 | | | {str(refused).partition(': ')[2].partition(';')[0]}"
    return (
        f"{counts.read} | {counts.accepted} | {counts.quarantined} | {counts.duplicate} | "
        f"{listed(counts.reasons) or '-'}"
    )


if __name__ == "__main__":
    for line in lines(Path(sys.argv[1])):
        print(line)
