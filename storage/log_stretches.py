"""A large JSONL file as stretches of whole lines, so that several processes can read it at once."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from storage.json_rows import Item, json_lines
from storage.log_files import kind_of

STRETCH_BYTES = 8 << 20
LINE_KINDS = ("jsonl", "ndjson")
_PACKED = b"\x1f\x8b"


@dataclass(frozen=True, slots=True)
class Stretch:
    """Bytes of a file from `begin` up to `end`, which are whole lines, and how many lines are before them."""

    begin: int
    end: int
    lines_before: int


def stretches_of(path: Path, *, size: int = STRETCH_BYTES) -> list[Stretch]:
    """Stretches of about `size` bytes, together the whole file. None of a file that cannot be cut: that is
    no plain JSONL, begins with nothing but blanks, or is not there."""
    if kind_of(path) not in LINE_KINDS or not path.is_file():
        return []
    found: list[Stretch] = []
    begin = lines = 0
    with open(path, "rb") as file:
        while data := file.read(size):
            if not found and (data.startswith(_PACKED) or data.isspace()):
                return []
            data += file.readline()
            found.append(Stretch(begin, begin + len(data), lines))
            begin, lines = begin + len(data), lines + data.count(b"\n")
    return found


def stretch_rows(path: Path, stretch: Stretch) -> Iterator[tuple[int, Item]]:
    """Its rows as `storage.log_files.read_rows` numbers those of the whole file."""
    with open(path, "rb") as file:
        file.seek(stretch.begin)
        data = file.read(stretch.end - stretch.begin)
    for number, item in json_lines(data.split(b"\n")):
        yield stretch.lines_before + number, item
