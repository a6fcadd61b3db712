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


def local_copy(cache: Path | None, lake: str, *, key: str, fetch: Callable[[], bytes]) -> Path:
    """Where the copy of the lake's object lies; without a cache, in a folder that goes with this process."""
    lake_name = hashlib.sha256(lake.encode()).hexdigest()[:16]
    path = (cache or process_cache(os.getpid())) / lake_name / key
    if not path.is_file():
        write_in_one_step(path, fetch())
    return path


def write_in_one_step(path: Path, data: bytes) -> None:
    """Readers see no file or all of it; it need not survive a crash, as who reads it checks its hash."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.parent / f".tmp-{uuid.uuid4().hex}"
    try:
        unfinished.write_bytes(data)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


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
