"""Where the checkout lies: `sql/`, `configs/` and the report templates are found from here.

The project is installed in editable mode, so the files beside the packages are always there.
"""

from pathlib import Path


def repository_root() -> Path:
    """The folder that holds `pyproject.toml`, `sql/` and `configs/`."""
    return Path(__file__).resolve().parent.parent
