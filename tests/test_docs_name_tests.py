"""A page that names a test as its proof names one that exists."""

import ast
import re
from collections import defaultdict

from storage.paths import repository_root

NAMED = re.compile(r"`(?:([\w/]+\.py|…)::)?(test_\w+)`")


def functions_by_file() -> dict[str, set[str]]:
    """Of every test file, its name (without folders) and the test functions in it."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in (repository_root() / "tests").rglob("test_*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found[path.name] |= {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    return found


def unknown_in(text: str, tests: dict[str, set[str]]) -> list[str]:
    """The tests that a page names and that are not there; "…" is the file named before."""
    missing, last = [], ""
    everywhere = set().union(*tests.values())
    for file, name in NAMED.findall(text):
        last = file if file not in ("", "…") else last
        known = tests.get(last.rsplit("/", 1)[-1], set()) if file else everywhere
        missing += [] if name in known else [f"{file}::{name}"]
    return missing


def test_every_test_that_a_page_names_is_there() -> None:
    tests = functions_by_file()
    pages = [repository_root() / "README.md", *sorted((repository_root() / "docs").rglob("*.md"))]

    missing = {page.name: unknown_in(page.read_text(encoding="utf-8"), tests) for page in pages}

    assert {page: names for page, names in missing.items() if names} == {}


def test_a_test_that_went_away_or_moved_is_missed() -> None:
    tests = {"test_a.py": {"test_one"}, "test_b.py": {"test_two"}}

    missing = unknown_in("`test_a.py::test_two`, `…::test_one`, `test_two`, `test_three`", tests)

    assert missing == ["test_a.py::test_two", "::test_three"]
