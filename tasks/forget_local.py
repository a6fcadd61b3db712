"""What this machine keeps beside the lake: copies of its objects, scratch of its stages, pages for people."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from storage.forget_search import holds_marked
from storage.lake_places import places
from storage.needles import Needles, is_textual
from storage.objects import ObjectStore
from storage.tombstones import Marks
from tasks.context import work_root
from tasks.report import reports_root


@dataclass(frozen=True, slots=True)
class Traces:
    """What to look for in a file: words, and in tables marked rows."""

    needles: Needles
    marks: Marks

    def are_in(self, path: Path) -> bool:
        """Whether the file shows any of them; one that vanished meanwhile does not."""
        if path.suffix != ".parquet" and not is_textual(path.name):
            return False  # weights are large, and are not searched
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return False
        if path.suffix == ".parquet":
            return holds_marked(data, table=path.name.rpartition("-")[0], marks=self.marks)
        return self.needles.are_in(data, name=path.name)


@dataclass(frozen=True, slots=True)
class Removed:
    """Every file that was removed, and those of them that are pages of a report."""

    files: tuple[Path, ...]
    pages: tuple[Path, ...]


def remove_local_traces(store: ObjectStore, traces: Traces) -> Removed:
    """Remove every file with a trace from the cache, the scratch folders and the reports of this lake."""
    experiments = sorted({place.key.partition("/")[0] for place in places(store, None)})
    scratch = [work_root() / "cache", *(f for name in experiments for f in _iterations(work_root() / name))]
    pages = [reports_root() / name for name in experiments]
    found = [path for folder in (*scratch, *pages) for path in _files(folder) if traces.are_in(path)]
    for path in found:
        path.unlink(missing_ok=True)
    return Removed(
        tuple(found),
        tuple(p for p in found if p.suffix == ".html" and any(p.is_relative_to(f) for f in pages)),
    )


def _iterations(folder: Path) -> list[Path]:
    """The scratch folders of an experiment; whatever else lies there is not ours."""
    return sorted(path for path in folder.glob("iteration=*") if path.is_dir())


def _files(folder: Path) -> Iterator[Path]:
    for place, _, names in os.walk(folder):
        yield from (Path(place) / name for name in sorted(names))
