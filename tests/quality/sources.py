"""The Python files of a tree, read and parsed once per check."""

import ast
from dataclasses import dataclass
from pathlib import Path

LAYERS = ("dags", "tasks", "itpo_core", "storage")


@dataclass(frozen=True, slots=True)
class Source:
    """One parsed file and its place relative to the root of the tree."""

    place: str
    text: str
    tree: ast.Module

    @property
    def package(self) -> str:
        """The top folder, which is the layer."""
        return self.place.split("/", maxsplit=1)[0]

    @property
    def module(self) -> str:
        """The dotted name under which the file is imported."""
        parts = self.place.removesuffix(".py").split("/")
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    @property
    def is_package_file(self) -> bool:
        """Whether this is an `__init__.py`."""
        return self.place.endswith("/__init__.py")


def read_sources(root: Path, folders: tuple[str, ...] = LAYERS) -> list[Source]:
    """Every Python file below the folders, in a fixed order."""
    paths = sorted(path for folder in folders for path in (root / folder).rglob("*.py"))
    return [_read(root, path) for path in paths if "__pycache__" not in path.parts]


def _read(root: Path, path: Path) -> Source:
    text = path.read_text(encoding="utf-8")
    return Source(path.relative_to(root).as_posix(), text, ast.parse(text, filename=str(path)))
