"""A tree of plain lines: what is shown is what can be piped, searched and compared, however wide it is."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from rich.console import Console

from tasks.plain_text import one_line, plain


@dataclass(slots=True)
class Branch:
    """A line and what hangs under it; the style colours this line only."""

    line: str
    style: str = ""
    under: list["Branch"] = field(default_factory=list)

    def add(self, line: str, *, style: str = "") -> "Branch":
        """Hang a line under this one; gives its branch."""
        self.under.append(Branch(line, style))
        return self.under[-1]

    def add_rows(self, rows: Sequence[Sequence[str]]) -> None:
        """Hang rows under this one, in columns."""
        for line in aligned(rows):
            self.add(line)


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of cells as lines with every column as wide as its widest cell; numbers to the right."""
    columns = [_padded([one_line(cell) for cell in column]) for column in zip(*rows, strict=True)]
    return ["  ".join(cells).rstrip() for cells in zip(*columns, strict=True)]


def lines(branch: Branch) -> Iterator[tuple[str, str]]:
    """Every line with its guides, and the style of what comes after them."""
    yield branch.line, branch.style
    yield from _under(branch, "")


def print_tree(branch: Branch, *, out: Console) -> None:
    """Print without wrapping: a terminal breaks long lines by itself."""
    for line, style in lines(branch):
        out.print(plain(one_line(line), style=style), soft_wrap=True)


def _under(branch: Branch, indent: str) -> Iterator[tuple[str, str]]:
    for place, each in enumerate(branch.under):
        is_last = place == len(branch.under) - 1
        yield f"{indent}{'└─ ' if is_last else '├─ '}{each.line}", each.style
        yield from _under(each, indent + ("   " if is_last else "│  "))


def _padded(column: Sequence[str]) -> list[str]:
    """Cells of one width; numbers to the right, whatever their heading."""
    width = max(map(len, column))
    body = column if _is_number(column[0]) else column[1:]
    to_the_right = bool(body) and all(map(_is_number, body))
    return [cell.rjust(width) if to_the_right else cell.ljust(width) for cell in column]


def _is_number(cell: str) -> bool:
    return cell.lstrip("-").replace(".", "", 1).isdigit()
