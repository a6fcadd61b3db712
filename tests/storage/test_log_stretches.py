"""A file of lines in stretches: the rows and their numbers are those of the whole file, whatever the size."""

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage.json_rows import Item
from storage.log_files import read_rows
from storage.log_stretches import Stretch, stretch_rows, stretches_of

LINES = st.sampled_from(
    [b'{"a": 1}', b"\xef\xbb\xbf{}", b"", b" ", b'{"a": ', b"[1]", b'{"b": "\xff"}', b"\r"]
)


def rows_in_stretches(path: Path, *, size: int) -> list[tuple[int, Item]]:
    return [row for stretch in stretches_of(path, size=size) for row in stretch_rows(path, stretch)]


@given(
    lines=st.lists(LINES, max_size=12), size=st.integers(1, 60), ends=st.sampled_from([b"", b"\n", b"\n\n"])
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_stretches_hold_the_rows_of_the_file(
    tmp_path: Path, lines: list[bytes], size: int, ends: bytes
) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"first": 1}\n' + b"\n".join(lines) + ends)

    assert rows_in_stretches(path, size=size) == list(read_rows(path))


def test_a_stretch_ends_with_a_line_and_knows_the_lines_before_it(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(b"{}\n" * 5)

    assert stretches_of(path, size=4) == [Stretch(0, 6, 0), Stretch(6, 12, 2), Stretch(12, 15, 4)]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("log.jsonl", gzip.compress(b"{}\n", mtime=0)),
        ("log.jsonl.gz", gzip.compress(b"{}\n", mtime=0)),
        ("log.json", json.dumps([{}]).encode()),
        ("log.jsonl", b" \n" * 9),
        ("log.jsonl", b""),
    ],
)
def test_what_is_no_plain_file_of_lines_is_not_cut(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)

    assert stretches_of(tmp_path / name, size=4) == []
    assert stretches_of(tmp_path / "absent.jsonl", size=4) == []
