"""The difference of two iterations for the terminal: two columns of what is not the same."""

import re

from tasks.receipts import Told
from tasks.text_tree import Branch

HASH = re.compile(r"[0-9a-f]{40,64}")


def difference_tree(found: Told) -> Branch:
    """The difference as a tree."""
    one, other = found["iterations"]
    tree = Branch(f"{one} and {other}", style="bold")
    for kind, stage in found["stages"].items():
        _stage(tree, kind, stage=stage)
    for name in ("figures", "users", "credit", "decision"):
        same = "" if found[name] else ": the same"
        tree.add(name + same, style="bold").add_rows(_rows(found[name], heading=(one, other)))
    return tree


def _stage(tree: Branch, kind: str, *, stage: Told) -> None:
    if stage["absent"]:
        neither = "neither has one" if len(stage["absent"]) == 2 else f"{stage['absent'][0]} has none"
        tree.add(f"{kind}: {neither}")
        return
    branch = tree.add(f"{kind}: {'same data' if stage['same_data'] else 'other data'}", style="bold")
    for part in ("settings", "sql", "parents", "code"):
        if stage[part]:
            branch.add(part).add_rows(_rows(stage[part]))


def _rows(found: Told, *, heading: tuple[str, str] | None = None) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [(name, *map(_cell, values)) for name, values in found.items()]
    return [("", *heading), *rows] if heading and rows else rows


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4f}"
    text = "-" if value is None else str(value)
    return text[:16] if HASH.fullmatch(text) else text
