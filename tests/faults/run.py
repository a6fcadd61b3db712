"""Apply each planted fault to a copy of the tree and demand that the test it names goes red.

A patch in this folder starts with `# test: <pytest node id>` (more lines name more tests) and goes on with a
unified diff that `git apply -p1` accepts. Run as `python -m tests.faults.run [name…]`.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from queue import SimpleQueue

from rich.console import Console
from rich.table import Column, Table

from storage.paths import repository_root

TIMEOUT_S = 300
WORKERS = 2
TEST_LINE = "# test:"


class Verdict(StrEnum):
    """What became of one fault. Only RED is good."""

    RED = "red"
    STAYED_GREEN = "stayed green"
    NO_SUCH_TEST = "names no test"
    NOT_GREEN_BEFORE = "its test does not pass without the fault"
    DOES_NOT_APPLY = "patch does not apply"
    BROKE_COLLECTION = "no test could run: the fault breaks an import"


@dataclass(frozen=True, slots=True)
class Fault:
    """One patch and the tests that must go red under it."""

    patch: Path
    tests: tuple[str, ...]


def read_fault(patch: Path) -> Fault:
    """Read the tests that a patch names in its head."""
    lines = patch.read_text(encoding="utf-8").splitlines()
    return Fault(
        patch, tuple(line.removeprefix(TEST_LINE).strip() for line in lines if line.startswith(TEST_LINE))
    )


def examine(root: Path, faults: list[Fault]) -> dict[Fault, Verdict]:
    """Judge every fault on copies of the tree; the tree itself is never touched."""
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        copies: SimpleQueue[Path] = SimpleQueue()
        for number in range(WORKERS):
            copies.put(copy_tree(root, Path(folder) / str(number)))
        green = _green_tests(copies, faults)
        with ThreadPoolExecutor(WORKERS) as workers:
            verdicts = workers.map(lambda fault: _judge(copies, fault, green=green), faults)
            return dict(zip(faults, verdicts, strict=True))


def copy_tree(root: Path, copy: Path) -> Path:
    """Copy what git knows or would add, and link the virtual environment beside it."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=root, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    for place in filter(None, listed.split("\0")):
        if (root / place).is_file():
            (copy / place).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / place, copy / place)
    if (root / ".venv").exists():
        (copy / ".venv").symlink_to((root / ".venv").resolve())
    return copy


@contextmanager
def _borrowed(copies: "SimpleQueue[Path]") -> Generator[Path]:
    copy = copies.get()
    try:
        yield copy
    finally:
        copies.put(copy)


def _green_tests(copies: "SimpleQueue[Path]", faults: list[Fault]) -> set[str]:
    """The named tests that pass in the untouched copy; all at once, and one by one only if that fails."""
    named = sorted({test for fault in faults for test in fault.tests})
    with _borrowed(copies) as copy:
        if _all_pass(copy, named):
            return set(named)
        return {test for test in named if _all_pass(copy, [test])}


def _all_pass(copy: Path, tests: list[str]) -> bool:
    done, counts = _run_tests(copy, tests)
    return done == 0 and counts["passed"] > 0 and counts["skipped"] == 0


def _judge(copies: "SimpleQueue[Path]", fault: Fault, *, green: set[str]) -> Verdict:
    if not fault.tests:
        return Verdict.NO_SUCH_TEST
    if not green.issuperset(fault.tests):
        return Verdict.NOT_GREEN_BEFORE
    with _borrowed(copies) as copy:
        if not _apply(copy, fault.patch):
            return Verdict.DOES_NOT_APPLY
        try:
            return _worst(_verdict_of_run(copy, test) for test in fault.tests)
        finally:
            if not _apply(copy, fault.patch, "--reverse"):
                raise RuntimeError(
                    f"{fault.patch.name} could not be taken back: a test changed the copied tree"
                )


def _worst(verdicts: Iterator[Verdict]) -> Verdict:
    return next((verdict for verdict in verdicts if verdict is not Verdict.RED), Verdict.RED)


def _verdict_of_run(copy: Path, test: str) -> Verdict:
    done, counts = _run_tests(copy, [test])
    if done == 0:
        return Verdict.STAYED_GREEN
    return Verdict.RED if counts["failed"] else Verdict.BROKE_COLLECTION


def _apply(copy: Path, patch: Path, *options: str) -> bool:
    # Outside of a repository, `git apply` patches plain files below the working directory.
    fenced = os.environ | {"GIT_CEILING_DIRECTORIES": str(copy.parent)}
    command = ["git", "apply", "-p1", *options, str(patch)]
    return subprocess.run(command, cwd=copy, env=fenced, capture_output=True, check=False).returncode == 0


def _run_tests(copy: Path, tests: list[str]) -> tuple[int, Counter[str]]:
    """The exit status of pytest on these tests, and how many passed, failed and were skipped."""
    report = copy.parent / f"{copy.name}.xml"
    report.unlink(missing_ok=True)
    options = ["-q", "-p", "no:cacheprovider", "-o", "xfail_strict=true", f"--junitxml={report}"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *tests],
        cwd=copy, env=_environment(copy), capture_output=True, check=False, timeout=TIMEOUT_S,
    )  # fmt: skip
    return done.returncode, _counts(report)


def _environment(copy: Path) -> dict[str, str]:
    # The path puts the copy before the editable install. No byte code is written: a patch put on and taken
    # off within one second would leave byte code of the wrong version that looks fresh.
    return os.environ | {
        "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1",
        "HYPOTHESIS_STORAGE_DIRECTORY": str(copy.parent / "hypothesis"),
    }  # fmt: skip


def _counts(report: Path) -> Counter[str]:
    if not report.exists():
        return Counter()
    return Counter(_status(case) for case in ElementTree.parse(report).iter("testcase"))


def _status(case: ElementTree.Element) -> str:
    if case.find("skipped") is not None:
        return "skipped"
    error = case.find("error")
    if error is not None and "collection failure" in error.get("message", ""):
        return "not collected"
    return "failed" if error is not None or case.find("failure") is not None else "passed"


def main(names: list[str]) -> int:
    """Judge the named faults, or all; 0 only when each turns its tests red."""
    folder = Path(__file__).parent
    unknown = sorted(set(names) - {patch.stem for patch in folder.glob("*.patch")})
    if unknown:
        raise SystemExit(f"no such fault: {', '.join(unknown)}; give a patch's whole name, without .patch")
    faults = [
        read_fault(patch) for patch in sorted(folder.glob("*.patch")) if not names or patch.stem in names
    ]
    verdicts = examine(repository_root(), faults)
    _show(verdicts)
    return 0 if faults and all(verdict is Verdict.RED for verdict in verdicts.values()) else 1


def _show(verdicts: dict[Fault, Verdict]) -> None:
    table = Table(
        *(Column(name, overflow="fold") for name in ("planted fault", "test that must go red", "verdict"))
    )
    for fault, verdict in verdicts.items():
        color = "green" if verdict is Verdict.RED else "bold red"
        table.add_row(fault.patch.stem, "\n".join(fault.tests), f"[{color}]{verdict}[/]")
    console = Console()
    console.print(table)
    red = sum(verdict is Verdict.RED for verdict in verdicts.values())
    console.print(f"{red} of {len(verdicts)} planted faults are found")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
