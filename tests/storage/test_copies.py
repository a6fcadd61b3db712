"""Local copies of objects: one for all who ask, and none of a forked child's business when it ends."""

import subprocess
import sys
from pathlib import Path

from storage.copies import copy_of, copy_place

FORKING = """
import os, sys
from storage.copies import copy_of, copy_place

mine = copy_of(copy_place(None, "lake", key="a"), fetch=lambda: b"parents")
child = os.fork()
if child == 0:
    own = copy_place(None, "lake", key="a")
    if own == mine or copy_of(own, fetch=lambda: b"childs").read_bytes() != b"childs":
        os._exit(7)
    sys.exit(0)  # as an ordinary child ends: with everything that was to be done at the end
_, status = os.waitpid(child, 0)
print(os.waitstatus_to_exitcode(status), mine.is_file() and mine.read_bytes().decode(), mine)
"""


def test_a_forked_child_has_copies_of_its_own_and_leaves_those_of_its_parent() -> None:
    told = subprocess.run(
        [sys.executable, "-c", FORKING], capture_output=True, text=True, check=True, timeout=60
    ).stdout.split()

    assert told[:2] == ["0", "parents"]
    assert not Path(told[2]).exists()  # the parent's own end took them away


def test_a_copy_is_fetched_once(tmp_path: Path) -> None:
    fetched: list[int] = []

    def fetch() -> bytes:
        fetched.append(1)
        return b"data"

    place = copy_place(tmp_path, "s3://lake", key="sales/a")
    copies = [copy_of(place, fetch=fetch) for _ in range(2)]

    assert [copy.read_bytes() for copy in copies] == [b"data", b"data"]
    assert fetched == [1]
