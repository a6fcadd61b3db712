"""Write the fixture of the present schema version: `python -m tests.storage.write_fixture`, once per version.

A fixture that exists is never written again: it is what a released version left on people's disks.
"""

import json
import sys
from pathlib import Path

from storage.local_store import LocalStore
from storage.schemas import SCHEMA_VERSION
from tests.storage.fixture_lake import write_lake
from tests.storage.frozen import FIXTURES, columns_of, facts_of


def write_fixture(folder: Path) -> None:
    """The lake, the description of its columns, and its digests and answers, in a new folder."""
    if folder.exists():
        raise FileExistsError(
            f"{folder} exists: fixtures are never changed; raise SCHEMA_VERSION in storage/schemas.py first"
        )
    store = LocalStore(folder / "lake")
    write_lake(store)
    _write(folder / "schemas.json", columns_of())
    _write(folder / "golden.json", facts_of(store))


def _write(path: Path, content: object) -> None:
    text = json.dumps(content, indent=1, ensure_ascii=False, sort_keys=True)
    path.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    try:
        write_fixture(FIXTURES / f"v{SCHEMA_VERSION}")
    except FileExistsError as refused:
        sys.exit(str(refused))
