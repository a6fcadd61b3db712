"""What this DuckDB makes of the same data, as digests in JSON: `python -m tests.storage.duck_digests`.

Every view of the fixture of the present schema, and the SQL of the stages over synthetic rows, by thread.
"""

import json
import tempfile
from pathlib import Path

import duckdb

from benchmarks import bench_curate
from benchmarks.synthetic_turns import Sizes, write_relations
from storage.digests import data_digest
from storage.local_store import LocalStore
from storage.schemas import SCHEMA_VERSION
from storage.warehouse import open_lake
from tests.storage.frozen import FIXTURES

NAMES = "select view_name from duckdb_views() where not internal order by view_name"


def view_digests() -> dict[str, str]:
    """The rows of every view, in the order of all of its columns."""
    with open_lake(LocalStore(FIXTURES / f"v{SCHEMA_VERSION}" / "lake"), None) as connection:
        names = [name for (name,) in connection.execute(NAMES).fetchall()]
        return {
            name: data_digest(connection.sql(f'select * from "{name}" order by all').to_arrow_table())
            for name in names
        }


def stage_digests() -> dict[str, str]:
    """Curation and credit of 400 conversations."""
    with tempfile.TemporaryDirectory() as folder:
        paths = write_relations(Path(folder), Sizes(400))
        return {f"{threads} threads": bench_curate.digest(paths, threads=threads) for threads in (1, 2, 4)}


if __name__ == "__main__":
    print(json.dumps({"duckdb": duckdb.__version__, "views": view_digests(), "stages": stage_digests()}))
