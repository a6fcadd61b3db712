"""One DuckDB connection: in memory, without downloads, within the limits that it is given."""

import shutil
import tempfile
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb

from storage.errors import SqlError, StorageError
from storage.sql_text import literal


@dataclass(frozen=True, slots=True)
class DuckSettings:
    """What a connection may use. None of it changes an answer, so none of it is an input of a commit.

    `memory_limit` and `max_spill` are sizes as DuckDB writes them ("2GB"), `spill` is the folder in which
    each connection makes one of its own (None: the system's temporary one), `threads` None is one per core,
    `reader` is how objects that are no local files are read (see storage/scans.py).
    """

    threads: int | None = None
    memory_limit: str = "2GB"
    spill: Path | None = None
    max_spill: str = "10GB"
    reader: str = "auto"


DEFAULTS = DuckSettings()


def connect(settings: DuckSettings = DEFAULTS) -> duckdb.DuckDBPyConnection:
    """An in-memory database that spills, if it must, into a folder of its own, which goes when it is closed.

    Raises SqlError for limits that DuckDB does not understand.
    """
    config: dict[str, str | bool | int | float | list[str]] = {
        "allow_persistent_secrets": False,  # credentials live and die with the connection
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "memory_limit": settings.memory_limit,
        "python_enable_replacements": False,  # a name that is no relation is an error, not a Python variable
        "temp_directory": str(_spill_folder(settings)),
    }
    if settings.threads is not None:
        config["threads"] = settings.threads
    try:
        connection = duckdb.connect(":memory:", config=config)
        # Given above, this limit would be forgotten when the folder is named.
        connection.execute(f"set max_temp_directory_size = {literal(settings.max_spill)}")
    except duckdb.Error as problem:
        raise SqlError(f"DuckDB refuses the limits of the section lake ({settings}): {problem}") from problem
    # A long query would draw its bar into whatever the caller prints.
    connection.execute("set enable_progress_bar = false")
    return connection


@contextmanager
def database(settings: DuckSettings = DEFAULTS) -> Generator[duckdb.DuckDBPyConnection, None, None]:
    """A connection for one piece of work; what it spilled is gone afterwards, also when the work failed."""
    connection = connect(settings)
    spilled = connection.execute("select current_setting('temp_directory')").fetchall()[0][0]
    try:
        yield connection
    finally:
        connection.close()
        shutil.rmtree(spilled, ignore_errors=True)


def refusal(what: str, problem: duckdb.Error) -> StorageError:
    """DuckDB's complaint about `what` as an error of the lake: in its words, or with the key to change."""
    # What a reader of objects raised inside DuckDB comes out as DuckDB's error, which it is the cause of.
    if isinstance(problem.__cause__, StorageError):
        return problem.__cause__
    short = str(problem).split("\n", maxsplit=1)[0]
    if isinstance(problem, duckdb.OutOfMemoryException):
        spilled = "max_temp_directory_size" in str(problem)
        resource, key = ("disk", "lake.max_spill") if spilled else ("memory", "lake.memory_limit")
        return SqlError(
            f"{what} needs more {resource} than it may use: raise {key} in the configuration, or set "
            f"lake.threads to fewer ({short})"
        )
    if isinstance(problem, duckdb.PermissionException):
        return SqlError(f"{what} is refused: only the files behind the views can be read ({short})")
    return SqlError(f"{what} failed: {problem}")


def _spill_folder(settings: DuckSettings) -> Path:
    # Two connections that spill into one folder would use the same file names.
    base = (settings.spill or Path(tempfile.gettempdir())).expanduser().absolute()
    try:
        base.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise SqlError(
            f"lake.spill {base} cannot be made ({problem.strerror}): name another folder"
        ) from problem
    return base / f"itpo-duckdb-{uuid.uuid4().hex}"
