"""docs/lake.md explains every column of every dataset, with its type; nothing else."""

import re
from collections.abc import Iterator

import pyarrow as pa

from storage.paths import repository_root
from storage.rules import ROW_ORDER
from storage.schemas import SCHEMA_VERSION, SCHEMAS

TEXT = (repository_root() / "docs" / "lake.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `(\w+)` \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)


def explained() -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Each dataset with the names and types of its columns, as the page has them."""
    for section in TEXT.split("\n### ")[1:]:
        yield section.split("\n", 1)[0], [(name, kind) for name, kind, _ in ROW.findall(section)]


def in_words(field: pa.Field) -> str:
    kind = f"list of {field.type.value_type}" if pa.types.is_list(field.type) else str(field.type)
    return f"{kind} or null" if field.nullable else kind


def test_every_dataset_and_column_is_explained_with_its_type() -> None:
    expected = {name: [(field.name, in_words(field)) for field in SCHEMAS[name]] for name in ROW_ORDER}

    assert dict(explained()) == expected


def test_every_version_says_what_it_added() -> None:
    versions = re.findall(r"^\| (\d+) \| \S", TEXT, re.MULTILINE)

    assert versions == [str(version) for version in range(1, SCHEMA_VERSION + 1)]
