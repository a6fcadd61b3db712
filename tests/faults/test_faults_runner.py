"""The runner of planted faults, on a tree of three files."""

import subprocess
from pathlib import Path

import pytest

from tests.faults.run import Fault, Verdict, examine, main, read_fault

SUM = "def total(a: int, b: int) -> int:\n    return a + b\n"
TEST = """from parts import total

def test_sum():
    assert total(1, 2) == 3

def test_zero():
    assert total(0, 0) == 0

def test_red():
    assert False

def test_skipped():
    import pytest
    pytest.skip("no tool")
"""
MINUS = """# test: {test}
--- a/parts.py
+++ b/parts.py
@@ -1,2 +1,2 @@
 def total(a: int, b: int) -> int:
-    return a {sign} b
+    return a - b
"""
BROKEN = """# test: {test}
--- a/parts.py
+++ b/parts.py
@@ -1,2 +1,2 @@
-def total(a: int, b: int) -> int:
+def other(a: int, b: int) -> int:
     return a + b
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    root.mkdir()
    (root / "parts.py").write_text(SUM)
    (root / "test_parts.py").write_text(TEST)
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    return root


def fault(tree: Path, text: str) -> Fault:
    patch = tree.parent / "fault.patch"
    patch.write_text(text)
    return read_fault(patch)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        (MINUS.format(test="test_parts.py::test_sum", sign="+"), Verdict.RED),
        (MINUS.format(test="test_parts.py::test_zero", sign="+"), Verdict.STAYED_GREEN),
        (MINUS.format(test="test_parts.py::test_sum", sign="*"), Verdict.DOES_NOT_APPLY),
        (MINUS.format(test="test_parts.py::test_red", sign="+"), Verdict.NOT_GREEN_BEFORE),
        (MINUS.format(test="test_parts.py::test_skipped", sign="+"), Verdict.NOT_GREEN_BEFORE),
        (MINUS.format(test="test_parts.py::test_gone", sign="+"), Verdict.NOT_GREEN_BEFORE),
        (BROKEN.format(test="test_parts.py::test_sum"), Verdict.BROKE_COLLECTION),
        (MINUS.format(test="", sign="+").replace("# test: \n", ""), Verdict.NO_SUCH_TEST),
    ],
)
def test_each_fault_gets_its_verdict(tree: Path, text: str, verdict: Verdict) -> None:
    planted = fault(tree, text)

    assert examine(tree, [planted]) == {planted: verdict}
    assert (tree / "parts.py").read_text() == SUM


def test_a_name_that_is_no_fault_is_refused_before_anything_runs() -> None:
    with pytest.raises(SystemExit, match="no such fault: 12"):
        main(["12"])
