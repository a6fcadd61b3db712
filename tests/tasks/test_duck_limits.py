"""The limits of [lake] reach every connection of every stage."""

import ast
from pathlib import Path

from storage.duck import DuckSettings
from storage.paths import repository_root
from tasks.config import Config
from tasks.context import Context

QUERIES = frozenset({"run_sql", "run_checks", "open_lake", "lab_batch", "connect", "database"})


def calls(path: Path) -> list[ast.Call]:
    """Every call of a function that opens a connection."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in QUERIES
    ]


def test_every_query_of_a_stage_is_given_the_limits() -> None:
    found = {
        f"{path.name}:{call.lineno}": {keyword.arg for keyword in call.keywords}
        for path in sorted((repository_root() / "tasks").rglob("*.py"))
        for call in calls(path)
    }

    assert len(found) > 15
    assert [place for place, keywords in found.items() if "settings" not in keywords] == []


def test_the_context_hands_on_what_the_section_says() -> None:
    lake = {"threads": 3, "memory_limit": "300MB", "spill": "/big", "max_spill": "1GB", "reader": "s3fs"}

    settings = Context(Config.model_validate({"experiment": "shop", "lake": lake}), 0).duck

    assert settings == DuckSettings(
        threads=3, memory_limit="300MB", spill=Path("/big"), max_spill="1GB", reader="s3fs"
    )
    assert Context(Config(experiment="shop"), 0).duck == DuckSettings()
