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

GIB = 1 << 30
NEEDED_DISK_BYTES = 2 * GIB
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
        check_lake(root),
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


def check_lake(root: str) -> Finding:
    """A local lake root must be writable; another kind of store is not opened from here."""
    scheme, separator, path = root.partition("://")
    if separator and scheme != "file":
        remedy = f"check it with a tool of that store: the {scheme} root is opened only by a run"
        return Finding("lake root", State.OPTIONAL, f"{root}, not looked at", remedy)
    return check_folder("lake root", path if separator else root, state=State.MISSING)


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
