"""Which processes read logs for another one: looked up among all that run."""

import time
from pathlib import Path


def readers_of(parent: int) -> list[int]:
    """Its children that read logs."""
    return [int(place.name) for place in Path("/proc").glob("[0-9]*") if _is_reader(place, parent)]


def is_gone(process: int, *, limit_s: float) -> bool:
    """Whether it ends in that time."""
    deadline = time.monotonic() + limit_s
    while _state(Path(f"/proc/{process}")) not in ("", "Z"):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _is_reader(place: Path, parent: int) -> bool:
    try:
        stat, command = (place / "stat").read_text(errors="replace"), (place / "cmdline").read_bytes()
    except OSError:
        return False  # it ended meanwhile
    return int(stat.rpartition(")")[2].split()[1]) == parent and b"tasks.log_child" in command


def _state(place: Path) -> str:
    try:
        return (place / "stat").read_text(errors="replace").rpartition(")")[2].split()[0]
    except OSError:
        return ""
