"""The style of the code is a number with a limit. Every limit is shown to go red on a planted fault."""

from collections.abc import Callable
from pathlib import Path

import pytest

from storage.paths import repository_root
from tests.quality import style
from tests.quality.sources import LAYERS, Source, read_sources

EVERYTHING = (*LAYERS, "benchmarks", "tests")
Check = Callable[[list[Source]], list[str]]


@pytest.fixture(scope="module")
def product() -> list[Source]:
    return read_sources(repository_root())


@pytest.fixture(scope="module")
def benchmarks() -> list[Source]:
    return read_sources(repository_root(), ("benchmarks",))


@pytest.fixture(scope="module")
def tests() -> list[Source]:
    return read_sources(repository_root(), ("tests",))


def of_text(root: Path, text: str, *, place: str = "tasks/a.py") -> list[Source]:
    """One file with the given text, as its own tree."""
    (root / place).parent.mkdir(parents=True, exist_ok=True)
    (root / place).write_text(text)
    return read_sources(root)


def lines(count: int) -> str:
    """A documented function of so many lines."""
    return (
        '"""Doc."""\n\n\ndef f() -> int:\n    """Doc."""\n' + "    a = 1\n" * (count - 3) + "    return a\n"
    )


@pytest.mark.parametrize("check", [style.size_faults, style.nesting_faults, style.word_faults])
def test_limits_hold_everywhere(
    check: Check, product: list[Source], benchmarks: list[Source], tests: list[Source]
) -> None:
    assert check(product + benchmarks + tests) == []


@pytest.mark.parametrize(
    "check", [style.annotation_faults, style.positional_faults, style.unexplained_excepts]
)
def test_limits_hold_in_the_product_and_its_benchmarks(
    check: Check, product: list[Source], benchmarks: list[Source]
) -> None:
    assert check(product + benchmarks) == []


@pytest.mark.parametrize("check", [style.docstring_faults, style.median_faults, style.habit_faults])
def test_budgets_hold_over_the_product(check: Check, product: list[Source]) -> None:
    assert check(product) == []


def test_no_function_is_too_complex() -> None:
    folders = tuple(folder for folder in EVERYTHING if (repository_root() / folder).is_dir())

    assert style.complexity_faults(repository_root(), folders) == []


def test_every_test_module_says_what_it_is_about(tests: list[Source]) -> None:
    assert [source.place for source in tests if not source.text.startswith('"""')] == []


def test_sixty_lines_pass_and_sixty_one_do_not(tmp_path: Path) -> None:
    assert style.size_faults(of_text(tmp_path, lines(60))) == []
    assert len(style.size_faults(of_text(tmp_path, lines(61)))) == 1


def test_four_hundred_and_one_lines_are_too_many(tmp_path: Path) -> None:
    faults = style.size_faults(of_text(tmp_path, "a = 1\n" * 401))

    assert faults == ["tasks/a.py has 401 lines, the limit is 400"]


def test_a_dag_file_has_a_limit_of_its_own(tmp_path: Path) -> None:
    text = "@dag(schedule=None)\ndef d() -> None: ...\n" + "a = 1\n" * 59

    assert len(style.size_faults(of_text(tmp_path, text, place="dags/a.py"))) == 1


NESTED_3 = "def f() -> None:\n  if a:\n    for b in c:\n      while d:\n        pass\n"
NESTED_4 = "def f() -> None:\n  if a:\n    for b in c:\n      while d:\n        with e:\n          pass\n"
ELIFS = "def f() -> None:\n  if a:\n    pass\n  elif b:\n    pass\n  elif c:\n    pass\n  elif d:\n    pass\n"
IN_ELSE = "def f() -> None:\n  if a:\n    pass\n  else:\n    x = 1\n    if b:\n      pass\n"


@pytest.mark.parametrize(("text", "depth"), [(NESTED_3, 3), (NESTED_4, 4), (ELIFS, 1), (IN_ELSE, 2)])
def test_nesting_counts_blocks_inside_blocks(tmp_path: Path, text: str, depth: int) -> None:
    (source,) = of_text(tmp_path, text)

    assert style.nesting(style.functions_of(source)[0]) == depth


@pytest.mark.parametrize(
    ("check", "text"),
    [
        (style.nesting_faults, NESTED_4),
        (style.annotation_faults, "def f(a) -> None: ..."),
        (style.annotation_faults, "def f(a: int): ..."),
        (style.annotation_faults, "def f(**options) -> None: ..."),
        (style.positional_faults, "def f(a: int, b: int, c: int) -> None: ..."),
        (style.docstring_faults, "a = 1"),
        (style.docstring_faults, '"""Doc."""\ndef f() -> None: ...'),
        (style.habit_faults, "try:\n    f()\nexcept Exception:\n    pass"),
        (style.habit_faults, "try:\n    f()\nexcept (KeyError, BaseException):\n    pass"),
        (style.habit_faults, "try:\n    f()\nexcept:\n    pass"),
        (style.habit_faults, "a = getattr(b, 'c')"),
        (style.habit_faults, "def f() -> None:\n    global a\n    a = 1"),
        (style.unexplained_excepts, "try:\n    f()\nexcept Exception:\n    pass"),
        (style.word_faults, "# TO" + "DO: later"),
        (style.word_faults, "from unittest.mock import Magic" + "Mock"),
        (style.median_faults, lines(12)),
        (style.median_faults, '"""Doc."""\n' + "def f() -> None: ...\n" * 151),
    ],
)
def test_a_planted_fault_is_found(tmp_path: Path, check: Check, text: str) -> None:
    assert len(check(of_text(tmp_path, text))) == 1


@pytest.mark.parametrize(
    ("check", "text"),
    [
        (style.annotation_faults, "class A:\n    def f(self, a: int) -> None: ..."),
        (style.positional_faults, "class A:\n    def f(self, a: int, b: int, *, c: int) -> None: ..."),
        (
            style.unexplained_excepts,
            "try:\n    f()\nexcept Exception:  # a row that breaks is counted\n    pass",
        ),
        (style.positional_faults, "@app.command()\ndef f(a: int, b: int, c: int) -> None: ..."),
        (style.positional_faults, "def _f(a: int, b: int, c: int) -> None: ..."),
        (style.habit_faults, "try:\n    f()\nexcept KeyError:\n    pass"),
        (style.docstring_faults, '"""Doc."""\ndef _f() -> None: ...'),
    ],
)
def test_what_is_allowed_is_left_alone(tmp_path: Path, check: Check, text: str) -> None:
    assert check(of_text(tmp_path, text)) == []


def test_code_in_a_package_file_is_found(tmp_path: Path) -> None:
    assert style.habit_faults(of_text(tmp_path, "from a import b", place="tasks/__init__.py")) == [
        "tasks/__init__.py is not empty"
    ]


def test_a_complex_function_is_found_even_when_excused(tmp_path: Path) -> None:
    branches = "".join(f"    if a == {n}:\n        return {n}\n" for n in range(11))
    of_text(tmp_path, f"def f(a: int) -> int:  # noqa: C901\n{branches}    return 0\n")

    assert len(style.complexity_faults(tmp_path, ("tasks",))) == 1
