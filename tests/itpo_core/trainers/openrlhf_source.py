"""OpenRLHF's own command, run without what it needs: its parser, its checks, and what it would ask of Ray.

The parser of `train_ppo_ray` stands below the module's main guard and so cannot be imported. Its source is
read and those statements are run as they are; what comes from Ray, vLLM and DeepSpeed is replaced by names
that take anything, and `train` by a list that keeps what it was given.
"""

import argparse
import ast
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from types import CodeType, SimpleNamespace
from typing import Any

from storage.paths import repository_root

PACKAGE = repository_root() / ".venv" / "openrlhf" / "openrlhf"
COMMAND = PACKAGE / "cli" / "train_ppo_ray.py"
REMEDY = f"{PACKAGE} is not there: make .venv/openrlhf/.installed"


class Anything:
    """Takes every call and has every attribute; true, and empty."""

    def __call__(self, *args: object, **named: object) -> "Anything":
        return self

    def __getattr__(self, name: str) -> "Anything":
        return self

    def __iter__(self) -> Iterator[object]:
        return iter(())


@dataclass(frozen=True, slots=True)
class Placement:
    """GPUs that OpenRLHF's `train` would ask of Ray: for bundles, for engines, for groups of models alone."""

    bundles: list[int] = field(default_factory=list)
    engines: list[int] = field(default_factory=list)
    alone: list[int] = field(default_factory=list)

    @property
    def gpus(self) -> int:
        """All of them."""
        return sum((*self.bundles, *self.engines, *self.alone))


def parsed(argv: Sequence[str]) -> SimpleNamespace:
    """What OpenRLHF makes of these arguments. SystemExit (2) or AssertionError where it refuses them."""
    kept: list[SimpleNamespace] = []
    names = {
        "argparse": argparse,
        "datetime": datetime,
        "hierarchize": _hierarchize(),
        "train": kept.append,
    }
    before = sys.argv
    sys.argv = ["train_ppo_ray", *argv]
    try:
        exec(_main_block(), names)
    finally:
        sys.argv = before
    return kept[0]


def placement(args: SimpleNamespace) -> Placement:
    """Run OpenRLHF's `train` on the arguments: its asserts are asked, and what it asks of Ray is kept."""
    found, anything = Placement(), Anything()

    def group(nodes: int, gpus: int, model: object, *, pg: object, **named: object) -> Anything:
        if pg is None:
            found.alone.append(nodes * gpus)
        return anything

    def bundles(wanted: Sequence[object], strategy: str) -> Anything:
        found.bundles.append(len(wanted))
        return anything

    def engines(*given: Any, **named: object) -> list[object]:
        if given[8] is None:  # no placement group: GPUs of their own
            found.engines.append(given[0] * given[1])
        return []

    names = dict.fromkeys(_imported(), anything) | {
        "os": os,
        "RayActorGroup": group,
        "placement_group": bundles,
        "create_vllm_engines": engines,
        "PPOTrainer": anything,
    }
    exec(_train_block(), names)
    names["train"](args)
    return found


@cache
def _tree() -> ast.Module:
    assert COMMAND.is_file(), REMEDY
    return ast.parse(COMMAND.read_text(encoding="utf-8"))


def _imported() -> list[str]:
    return [
        alias.asname or alias.name
        for node in _tree().body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    ]


@cache
def _main_block() -> CodeType:
    (guard,) = (node for node in _tree().body if isinstance(node, ast.If))
    return _compiled([node for node in guard.body if not isinstance(node, ast.ImportFrom)])


@cache
def _train_block() -> CodeType:
    (train,) = (node for node in _tree().body if isinstance(node, ast.FunctionDef))
    return _compiled([_WithoutImports().visit(train)])


class _WithoutImports(ast.NodeTransformer):
    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.Pass:
        return ast.copy_location(ast.Pass(), node)


def _compiled(body: list[ast.stmt]) -> CodeType:
    return compile(ast.Module(body, type_ignores=[]), str(COMMAND), "exec")


@cache
def _hierarchize() -> Callable[[argparse.Namespace], SimpleNamespace]:
    names: dict[str, Any] = {}
    path = PACKAGE / "utils" / "config.py"
    exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), names)
    return names["hierarchize"]
