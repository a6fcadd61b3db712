"""`itpo doctor`: what is installed, reachable and writable on this machine, and what to do about the rest.

Nothing heavy is imported: versions are read from the metadata of the installed packages.
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from importlib import metadata
from pathlib import Path

from rich.console import Console
from rich.table import Column, Table

from storage.errors import StorageError

GIB = 1 << 30
NEEDED_DISK_BYTES = 2 * GIB
LARGEST_SKEW_S = 60.0
PYTHON = (3, 11)
NEEDED = (
    "pyarrow",
    "duckdb",
    "pydantic",
    "numpy",
    "jinja2",
    "typer",
    "torch",
    "transformers",
    "tokenizers",
    "safetensors",
    "s3fs",
)
FOR_AIRFLOW = ("apache-airflow",)
FOR_CLUSTER = ("vllm", "openrlhf", "ray")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
COLORS = {"fine": "green", "optional": "yellow", "missing": "bold red"}


class State(StrEnum):
    """Whether a finding stands in the way: only MISSING does."""

    FINE = "fine"
    OPTIONAL = "optional"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at: what was found, and what to do when it is not fine."""

    name: str
    state: State
    found: str
    remedy: str = ""


def run(root: str) -> int:
    """Print a table of the findings for this lake root; 1 when something required is missing, else 0."""
    findings = examine(root, environment=os.environ)
    console = Console()
    console.print(_table(findings))
    missing = [finding.name for finding in findings if finding.state is State.MISSING]
    console.print(f"missing: {', '.join(missing)}" if missing else "everything required is here")
    return 1 if missing else 0


def examine(root: str, environment: Mapping[str, str]) -> list[Finding]:
    """Look at the interpreter, the packages, the folders and the machine."""
    home = environment.get("AIRFLOW_HOME", str(Path.home() / "airflow"))
    return [
        check_python(sys.version_info[:2]),
        *check_packages(NEEDED, state=State.MISSING, remedy="make setup"),
        *check_packages(
            FOR_AIRFLOW, state=State.OPTIONAL, remedy="make setup (needed for make demo and make ui)"
        ),
        *check_packages(FOR_CLUSTER, state=State.OPTIONAL, remedy="extra `gpu`, on the cluster only"),
        *check_lake(root),
        check_folder("AIRFLOW_HOME", home, state=State.OPTIONAL),
        check_disk(root, needed_bytes=NEEDED_DISK_BYTES),
        check_cores(os.cpu_count() or 1),
        check_gpu(Path("/proc/driver/nvidia/version")),
        check_browser(BROWSERS),
        check_byte_code(environment),
    ]


def check_python(version: tuple[int, int]) -> Finding:
    """The locks are compiled for one version of Python."""
    found = ".".join(map(str, version))
    if version == PYTHON:
        return Finding("python", State.FINE, found)
    return Finding("python", State.MISSING, found, "install Python 3.11, then make distclean setup")


def check_packages(names: Iterable[str], *, state: State, remedy: str) -> list[Finding]:
    """The version of each package, or the state and the remedy for one that is absent."""
    return [_check_package(name, state=state, remedy=remedy) for name in names]


def _check_package(name: str, *, state: State, remedy: str) -> Finding:
    try:
        return Finding(name, State.FINE, metadata.version(name))
    except metadata.PackageNotFoundError:
        return Finding(name, state, "not installed", remedy)


def check_lake(root: str) -> list[Finding]:
    """A local lake root must be writable; a bucket must answer, know us, and honour conditional writes."""
    scheme, separator, path = root.partition("://")
    if scheme == "s3" and separator:
        return check_bucket(root)
    if separator and scheme != "file":
        remedy = "use a folder, file:///absolute/folder or s3://bucket/prefix"
        return [Finding("lake root", State.MISSING, f"{scheme}:// is no kind of lake", remedy)]
    return [check_folder("lake root", path if separator else root, state=State.MISSING)]


def check_bucket(root: str) -> list[Finding]:
    """The endpoint, the source of the credentials (never their value), the clock, and writers that race."""
    # Imported here: the client of S3 is heavy, and most lakes are folders.
    from storage.s3_diagnosis import look, open_for_a_look, race_writers

    try:
        store = open_for_a_look(root)
        found = look(store)
    except StorageError as problem:
        return [Finding("lake root", State.MISSING, "not reachable", str(problem))]
    findings = [
        Finding("lake root", State.FINE, f"{store.address} at {found.endpoint}, region {found.region}"),
        Finding("credentials", State.FINE, f"from {found.credentials}"),
        check_clock(found.skew_s),
    ]
    try:
        race_writers(store)
    except StorageError as problem:
        return [*findings, Finding("conditional writes", State.MISSING, "not safe", str(problem))]
    return [*findings, Finding("conditional writes", State.FINE, "honoured, also by racing writers")]


def check_clock(skew_s: float) -> Finding:
    """S3 refuses requests that are signed a quarter of an hour off; a minute is a warning of it."""
    found = f"{abs(skew_s):.0f} s {'behind' if skew_s > 0 else 'ahead of'} the store"
    if abs(skew_s) < LARGEST_SKEW_S:
        return Finding("clock", State.FINE, found)
    return Finding("clock", State.MISSING, found, "set the clock of this machine (NTP)")


def check_folder(name: str, path: str, *, state: State) -> Finding:
    """Whether a file can be made in the folder, or in the nearest one above it that exists."""
    folder = _nearest_existing(Path(path).absolute())
    if not folder.is_dir():
        return Finding(name, state, f"{folder} is a file", "move it away or choose another folder")
    try:
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"1")
    except OSError as error:
        return Finding(
            name, state, f"{folder}: {error.strerror}", "make it writable or choose another folder"
        )
    return Finding(name, State.FINE, f"{path}, writable")


def _nearest_existing(path: Path) -> Path:
    return next(folder for folder in (path, *path.parents) if folder.exists())


def check_disk(root: str, *, needed_bytes: int) -> Finding:
    """Space where the lake lies: a small experiment takes a few hundred megabytes."""
    free_bytes = shutil.disk_usage(_nearest_existing(Path(root.removeprefix("file://")).absolute())).free
    found = f"{free_bytes / GIB:.1f} GiB free"
    if free_bytes >= needed_bytes:
        return Finding("disk", State.FINE, found)
    return Finding(
        "disk", State.MISSING, found, f"free {needed_bytes / GIB:.0f} GiB or move the lake (lake.root)"
    )


def check_cores(cores: int) -> Finding:
    """One core works; the demo's time is stated for two."""
    if cores >= 2:
        return Finding("cores", State.FINE, str(cores))
    return Finding("cores", State.OPTIONAL, str(cores), "expect twice the time that the documentation states")


def check_gpu(driver: Path) -> Finding:
    """Whether an NVIDIA driver is loaded; everything but the cluster backends runs without one."""
    if driver.exists():
        return Finding("GPU", State.FINE, driver.read_text().splitlines()[0])
    return Finding("GPU", State.OPTIONAL, "no NVIDIA driver", "nothing to do: the default runs on the CPU")


def check_browser(names: Iterable[str]) -> Finding:
    """A Chromium for the tests of the web pages."""
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found:
        return Finding("browser", State.FINE, found)
    return Finding(
        "browser", State.OPTIONAL, "no Chromium", "apt-get install chromium (only for make test-full)"
    )


def check_byte_code(environment: Mapping[str, str]) -> Finding:
    """With byte code forbidden every Airflow process compiles all that it imports again."""
    if not environment.get("PYTHONDONTWRITEBYTECODE"):
        return Finding("byte code", State.FINE, "written")
    return Finding(
        "byte code", State.OPTIONAL, "PYTHONDONTWRITEBYTECODE is set", "unset it: starts take twice as long"
    )


def _table(findings: Iterable[Finding]) -> Table:
    table = Table(*(Column(name, overflow="fold") for name in ("", "state", "found", "what to do")))
    for finding in findings:
        state = f"[{COLORS[finding.state]}]{finding.state}[/]"
        table.add_row(finding.name, state, finding.found, finding.remedy)
    return table
