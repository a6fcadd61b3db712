"""The answer to a question about the lake: a table to read, or CSV, JSON and Markdown for what comes next."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from storage.warehouse import Answer
from tasks.config import ConfigError
from tasks.plain_text import UNSEEN, plain, print_table, visible

NARROW = 12  # characters of a long cell that are enough to read it, line by line
FRAME = 3  # characters that a table needs beside each cell
DECIMALS = 4
MOST_DIGITS = 1e15  # a float from here on has no digit after its point that means something
NULL = "null"


def print_answer(answer: Answer, form: str, *, out: Console) -> None:
    """Print as `table`, `csv`, `json` or `markdown`; ConfigError names an unknown form."""
    if form == "table":
        _print_rows(answer, out)
    elif form in WRITERS:
        out.file.write(WRITERS[form](answer, out.is_terminal))
    else:
        raise ConfigError(f"--format {form!r}: use one of table, {', '.join(WRITERS)}")


def number(value: float) -> str:
    """A float with up to four decimals, or four digits where those would be zeros."""
    if value == 0:
        return "0"
    if abs(value) < 1 or abs(value) >= MOST_DIGITS:
        return f"{value:.{DECIMALS}g}"
    text = f"{value:.{DECIMALS}f}"
    return text.rstrip("0").rstrip(".")


def _print_rows(answer: Answer, out: Console) -> None:
    rows = [[_cell(value) for value in row] for row in answer.rows]
    if out.is_terminal and _needed(answer.names, rows) > out.width:
        _print_upright(answer.names, rows, out=out)
        return
    table = Table()
    for name in answer.names:
        table.add_column(plain(name), overflow="fold")
    for row in rows:
        table.add_row(*row)
    print_table(table, out=out)


def _needed(names: Sequence[str], rows: Sequence[Sequence[Text]]) -> int:
    """The width below which cells are cut to pieces."""
    columns = zip(*rows, strict=True) if rows else [[] for _ in names]
    widest = [
        max([cell_len(name), *(cell.cell_len for cell in column)])
        for name, column in zip(names, columns, strict=True)
    ]
    return 1 + sum(min(width, NARROW) + FRAME for width in widest)


def _print_upright(names: Sequence[str], rows: Sequence[Sequence[Text]], *, out: Console) -> None:
    """A line per cell, for more columns than stand side by side."""
    if not rows:
        out.print(plain(f"no rows; columns: {', '.join(names)}"))
    for place, row in enumerate(rows, start=1):
        out.print(plain(f"row {place}", style="bold"))
        for name, cell in zip(names, row, strict=True):
            out.print(Text.assemble(visible(name), ": ", cell), soft_wrap=True)


def _cell(value: object) -> Text:
    return plain(NULL, style="dim") if value is None else plain(_text(value))


def _text(value: object) -> str:
    return number(value) if isinstance(value, float) else str(value)


def _csv(answer: Answer, to_terminal: bool) -> str:
    """Full precision. An empty text is quoted and a NULL is nothing: both come back as what they are."""
    lines = [",".join(map(_quoted, answer.names))]
    lines += [",".join("" if value is None else _quoted(str(value)) for value in row) for row in answer.rows]
    text = "".join(f"{line}\n" for line in lines)
    # A file gets the bytes of the lake; a terminal must not obey them.
    return visible(text) if to_terminal else text


def _quoted(text: str) -> str:
    needed = not text or any(character in text for character in ',"\r\n')
    return '"' + text.replace('"', '""') + '"' if needed else text


def _json(answer: Answer, _: bool) -> str:
    """An array with one object per row and line, in full precision."""
    twice = sorted({name for name in answer.names if answer.names.count(name) > 1})
    if twice:
        raise ConfigError(f"--format json: several columns are named {', '.join(twice)}; name them with `as`")
    rows = [dict(zip(answer.names, map(_json_value, row), strict=True)) for row in answer.rows]
    lines = ",\n".join(json.dumps(row, ensure_ascii=False, default=str) for row in rows)
    text = f"[\n{lines}\n]\n" if rows else "[]\n"
    return UNSEEN.sub(lambda match: f"\\u{ord(match.group()):04x}", text)


def _json_value(value: object) -> object:
    """JSON has no words for what is no number: they become texts, not null, which means unknown."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, list | tuple):
        return [_json_value(each) for each in value]
    if isinstance(value, dict):
        return {str(name): _json_value(each) for name, each in value.items()}
    return value


def _markdown(answer: Answer, _: bool) -> str:
    cells = [[NULL if value is None else _text(value) for value in row] for row in answer.rows]
    rows = [answer.names, ["---"] * len(answer.names), *cells]
    return "".join(f"| {' | '.join(map(_in_markdown, row))} |\n" for row in rows)


def _in_markdown(text: str) -> str:
    return visible(text).replace("|", "\\|").replace("\n", "<br>")


WRITERS: Mapping[str, Callable[[Answer, bool], str]] = MappingProxyType(
    {"csv": _csv, "json": _json, "markdown": _markdown}
)
