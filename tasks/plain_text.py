"""Text out of the lake on its way to a terminal: shown as it is, it neither styles nor commands anything."""

import re

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

# Controls but the newline, lone surrogates, and the marks that make text run backwards.
UNSEEN = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str) -> str:
    """The text with every control character as its escape (an ESC as four characters); newlines stay."""
    return UNSEEN.sub(_escape, text)


def one_line(text: str) -> str:
    """As `visible`, and newlines are escapes, too."""
    return visible(text).replace("\n", "\\n")


def plain(text: str, *, style: str = "") -> Text:
    """What Rich prints without looking for its own markup or emoji in it."""
    return Text(visible(text), style=style)


def print_table(table: Table, *, out: Console) -> None:
    """As wide as the terminal; where there is none, as wide as it needs to be."""
    if out.is_terminal:
        out.print(table)
        return
    unbounded = out.options.update(width=10**6)
    needed = Measurement.get(out, unbounded, table).maximum
    Console(file=out.file, highlight=False, width=needed).print(table)


def _escape(match: re.Match[str]) -> str:
    return match.group().encode("unicode_escape").decode("ascii")
