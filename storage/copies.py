"""Local copies of objects that never change, each made in one step and then used again."""

import atexit
import functools
import hashlib
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path


def copy_place(cache: Path | None, lake: str, *, key: str) -> Path:
    """Where the copy of the lake's object lies; without a cache, in a folder that goes with this process."""
    lake_name = hashlib.sha256(lake.encode()).hexdigest()[:16]
    return (cache or process_cache(os.getpid())) / lake_name / key


def copy_of(place: Path, *, fetch: Callable[[], bytes]) -> Path:
    """The place itself, filled if nobody has done so before.

    Readers see no file or all of it; it need not survive a crash, as who reads it checks its hash.
    """
    if not place.is_file():
        place.parent.mkdir(parents=True, exist_ok=True)
        unfinished = place.parent / f".tmp-{uuid.uuid4().hex}"
        try:
            unfinished.write_bytes(fetch())
            unfinished.replace(place)
        finally:
            unfinished.unlink(missing_ok=True)
    return place


@functools.cache
def process_cache(process: int) -> Path:
    """A temporary folder of this process, removed when it ends; a forked child asks under its own number."""
    folder = Path(tempfile.mkdtemp(prefix="itpo-objects-"))
    atexit.register(_remove, folder, process)
    return folder


def _remove(folder: Path, process: int) -> None:
    # A forked child inherits this duty of its parent, whose folder is still in use.
    if os.getpid() == process:
        shutil.rmtree(folder, ignore_errors=True)
