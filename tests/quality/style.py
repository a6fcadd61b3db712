"""Style as numbers: sizes, nesting, annotations, docstrings and habits. Each check takes parsed sources."""

import ast
import re
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.quality.sources import Source

FUNCTION_LINES = 60
FILE_LINES = 400
DAG_FILE_LINES = 60
NESTING = 3
COMPLEXITY = 10
POSITIONAL = 2
MEDIAN_FUNCTION_LINES = 11
P90_FUNCTION_LINES = 35
MEDIAN_FILE_LINES = 150
PUBLIC_DOCSTRINGS = 0.8
PER_THOUSAND_LINES = 0.3

# Written so that this file does not find itself.
UNWANTED = re.compile(r"\bT[O]DO\b|\bF[I]XME\b|\bX[X]X\b|\bfor n[o]w\b|\bMagic[M]ock\b|\bmock[.]p[a]tch\b")

Function = ast.FunctionDef | ast.AsyncFunctionDef
NESTED = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith, ast.Try, ast.TryStar, ast.Match)


def functions_of(source: Source) -> list[Function]:
    """Every function and method of a file, nested ones too."""
    return [node for node in ast.walk(source.tree) if isinstance(node, Function)]


def function_lines(function: Function) -> int:
    """Lines from `def` to the last one."""
    return (function.end_lineno or function.lineno) - function.lineno + 1


def file_lines(source: Source) -> int:
    """Lines of the file, blanks and comments included."""
    return len(source.text.splitlines())


def nesting(function: Function) -> int:
    """How deep if, for, while, with, try and match stand inside each other; `elif` adds nothing."""
    return max((_depth(child) for child in function.body), default=0)


def _depth(node: ast.AST) -> int:
    if isinstance(node, Function | ast.ClassDef | ast.Lambda):
        return 0
    own = 1 if isinstance(node, NESTED) else 0
    elifs = node.orelse if isinstance(node, ast.If) and _is_elif(node) else []
    inner = [_depth(c) - (1 if c in elifs else 0) for c in ast.iter_child_nodes(node)]
    return own + max(inner, default=0)


def _is_elif(node: ast.If) -> bool:
    return len(node.orelse) == 1 and isinstance(node.orelse[0], ast.If)


def size_faults(sources: list[Source]) -> list[str]:
    """Functions and files over the limit."""
    long_functions = [
        f"{_at(source, function)} has {function_lines(function)} lines, the limit is {FUNCTION_LINES}"
        for source in sources
        for function in functions_of(source)
        if function_lines(function) > FUNCTION_LINES
    ]
    long_files = [
        f"{source.place} has {file_lines(source)} lines, the limit is {_file_limit(source)}"
        for source in sources
        if file_lines(source) > _file_limit(source)
    ]
    return long_functions + long_files


def _file_limit(source: Source) -> int:
    decorated = {ast.unparse(d) for f in functions_of(source) for d in f.decorator_list}
    declares_dag = source.package == "dags" and any(re.match(r"(\w+\.)*dag\b", text) for text in decorated)
    return DAG_FILE_LINES if declares_dag else FILE_LINES


def nesting_faults(sources: list[Source]) -> list[str]:
    """Functions nested deeper than the limit."""
    return [
        f"{_at(source, function)} nests {nesting(function)} deep, the limit is {NESTING}"
        for source in sources
        for function in functions_of(source)
        if nesting(function) > NESTING
    ]


def annotation_faults(sources: list[Source]) -> list[str]:
    """Arguments and results without a type, `self` and `cls` apart."""
    return [
        f"{_at(source, function)} does not annotate {name}"
        for source in sources
        for function in functions_of(source)
        for name in _unannotated(function)
    ]


def _unannotated(function: Function) -> Iterator[str]:
    spec = function.args
    named = [*spec.posonlyargs, *spec.args]
    skipped = 1 if named and named[0].arg in {"self", "cls"} else 0
    starred = [argument for argument in (spec.vararg, spec.kwarg) if argument is not None]
    yield from (a.arg for a in [*named[skipped:], *spec.kwonlyargs, *starred] if a.annotation is None)
    if function.returns is None:
        yield "its result"


def positional_faults(sources: list[Source]) -> list[str]:
    """Public functions with more than two parameters that can be given by position.

    The rule protects calls far from the definition. Private helpers are called beside it, and the parameters
    of a decorated function (a command, a task) belong to the framework that calls it.
    """
    return [
        f"{_at(source, function)} takes {count} parameters by position, the limit is {POSITIONAL}"
        for source in sources
        for function in functions_of(source)
        if (count := _positional_count(function)) > POSITIONAL and _is_called_from_afar(function)
    ]


def _is_called_from_afar(function: Function) -> bool:
    return not function.name.startswith("_") and not function.decorator_list


def _positional_count(function: Function) -> int:
    named = [*function.args.posonlyargs, *function.args.args]
    return len(named) - (1 if named and named[0].arg in {"self", "cls"} else 0)


def docstring_faults(sources: list[Source]) -> list[str]:
    """Modules without a docstring, and a share of documented public names below the target."""
    bare = [
        f"{s.place} has no module docstring" for s in sources if s.text.strip() and not _has_docstring(s.tree)
    ]
    public = [(s, node) for s in sources for node in _public_names(s)]
    missing = [(s, node) for s, node in public if not _has_docstring(node)]
    if len(missing) > (1 - PUBLIC_DOCSTRINGS) * len(public):
        names = ", ".join(f"{s.place}:{node.name}" for s, node in missing)
        bare.append(f"{len(missing)} of {len(public)} public names have no docstring: {names}")
    return bare


def _public_names(source: Source) -> list[Function | ast.ClassDef]:
    inner = {id(n) for f in functions_of(source) for n in ast.walk(f) if n is not f}
    named = [n for n in ast.walk(source.tree) if isinstance(n, Function | ast.ClassDef)]
    return [node for node in named if not node.name.startswith("_") and id(node) not in inner]


def _has_docstring(node: Function | ast.ClassDef | ast.Module) -> bool:
    return ast.get_docstring(node) is not None


def median_faults(sources: list[Source]) -> list[str]:
    """Typical sizes over the targets: function lines (median, ninth decile) and file lines (median)."""
    lengths = sorted(function_lines(f) for s in sources for f in functions_of(s))
    files = [file_lines(s) for s in sources if s.text.strip()]
    measured = [
        ("median function", statistics.median(lengths), MEDIAN_FUNCTION_LINES),
        ("ninth decile of functions", lengths[int(0.9 * (len(lengths) - 1))], P90_FUNCTION_LINES),
        ("median file", statistics.median(files), MEDIAN_FILE_LINES),
    ]
    return [
        f"{name}: {lines} lines, the target is {target}" for name, lines, target in measured if lines > target
    ]


def habit_faults(sources: list[Source]) -> list[str]:
    """Broad excepts, getattr and hasattr beyond their budget; `global`; package files that hold code."""
    thousands = sum(file_lines(s) for s in sources) / 1000
    return [
        *_over_budget("broad excepts", _places(sources, _is_broad_except), thousands),
        *_over_budget("getattr and hasattr", _places(sources, _is_attribute_trick), thousands),
        *(f"{place} says global" for place in _places(sources, _is_global)),
        *(f"{s.place} is not empty" for s in sources if s.is_package_file and s.text.strip()),
    ]


def _over_budget(name: str, places: list[str], thousands: float) -> list[str]:
    allowed = PER_THOUSAND_LINES * thousands
    return (
        [f"{len(places)} {name}, {allowed:.1f} allowed: {', '.join(places)}"] if len(places) > allowed else []
    )


def unexplained_excepts(sources: list[Source]) -> list[str]:
    """Broad excepts without a comment on their line, above or below that says why."""
    return [
        place
        for source in sources
        for place in _places([source], _is_broad_except)
        if not any("#" in line for line in _lines_around(source, int(place.rsplit(":", 1)[1])))
    ]


def _lines_around(source: Source, line: int) -> list[str]:
    return source.text.splitlines()[max(line - 2, 0) : line + 1]


def _places(sources: list[Source], is_one: Callable[[ast.AST], bool]) -> list[str]:
    return [f"{s.place}:{_line(node)}" for s in sources for node in ast.walk(s.tree) if is_one(node)]


def _line(node: ast.AST) -> int:
    return node.lineno if isinstance(node, ast.expr | ast.stmt | ast.excepthandler) else 0


def _is_broad_except(node: ast.AST) -> bool:
    if not isinstance(node, ast.ExceptHandler):
        return False
    caught = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
    return any(one is None or ast.unparse(one) in {"Exception", "BaseException"} for one in caught)


def _is_attribute_trick(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func) in {"getattr", "hasattr", "setattr"}


def _is_global(node: ast.AST) -> bool:
    return isinstance(node, ast.Global)


def word_faults(sources: list[Source]) -> list[str]:
    """Words that promise work instead of doing it, and tests that patch what they test."""
    return [
        f"{source.place}:{number} says {found.group()}"
        for source in sources
        for number, line in enumerate(source.text.splitlines(), start=1)
        if (found := UNWANTED.search(line))
    ]


def complexity_faults(root: Path, folders: tuple[str, ...]) -> list[str]:
    """Functions whose cyclomatic complexity ruff finds above the limit, also where a comment excuses them."""
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--ignore-noqa", "--no-cache", "--quiet"]
    options = [
        "--select",
        "C901",
        "--config",
        f"lint.mccabe.max-complexity={COMPLEXITY}",
        "--output-format",
        "concise",
    ]
    done = subprocess.run(
        [*command, *options, *folders], cwd=root, capture_output=True, text=True, check=False
    )
    if done.returncode not in {0, 1}:
        raise RuntimeError(f"ruff did not run: {done.stderr}")
    return [line for line in done.stdout.splitlines() if "C901" in line]


def _at(source: Source, function: Function) -> str:
    return f"{source.place}:{function.lineno} {function.name}"
