"""Cassettes as files: one for each shard of rollouts and arm of an evaluation, outside the lake."""

import json
import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TextIO

from itpo_core.llm.base import CallStatus
from itpo_core.llm.cassettes import Cassette, CassetteRow, read_call
from storage.paths import repository_root
from tasks.config import Config, ConfigError

SETTLED = frozenset({CallStatus.ANSWERED, CallStatus.ABSTAINED})


@contextmanager
def tape_of(config: Config, iteration: int, name: str) -> Generator[Cassette]:
    """An empty cassette; one that is kept, call by call as they come, when calls are recorded; the kept one
    when they are replayed; and when a recording is continued, what earlier attempts were answered.

    Raises ConfigError where one that is replayed is not there, or is none.
    """
    path, mode = path_of(config, iteration, name=name), config.cassettes.mode
    if mode in ("off", "replay"):
        yield Cassette() if mode == "off" else read_tape(path)
        return
    with _recorder(path, keeps=mode == "continue") as (rows, write):
        tape = Cassette(rows, on_new=write)
        try:
            yield tape
        finally:
            write_tape(path, tape)
            _unfinished(path).unlink()  # after a kill it is what is left


@contextmanager
def _recorder(
    path: Path, *, keeps: bool
) -> Generator[tuple[list[CassetteRow], Callable[[CassetteRow], None]]]:
    """What is gone on from, and where calls are written as they come."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = _settled(path) if keeps else []
    with _unfinished(path).open("a" if keeps else "w", encoding="utf-8", buffering=1) as lines:
        yield rows, lambda row: _write(lines, row)


def _write(lines: TextIO, row: CassetteRow) -> None:
    lines.write(json.dumps(asdict(row)) + "\n")


def _unfinished(path: Path) -> Path:
    return path.with_name(f"{path.name}.unfinished")


def _settled(path: Path) -> list[CassetteRow]:
    """The answers of earlier attempts at this part, whole ones and one that was killed; what failed is asked
    again. Raises ConfigError for what is no cassette."""
    kept = {row.key: row for row in read_tape(path).rows()} if path.exists() else {}
    broken_off = _unfinished(path)
    if broken_off.exists():
        whole = broken_off.read_text(encoding="utf-8", errors="replace").rpartition("\n")[0]
        broken_off.write_text(f"{whole}\n" if whole else "", encoding="utf-8")
        kept |= {row.key: row for row in _rows(broken_off)}
    return [row for row in kept.values() if read_call(row.call_json).status in SETTLED]


def path_of(config: Config, iteration: int, *, name: str) -> Path:
    """Where the cassette of a shard or arm lies."""
    folder = repository_root() / config.cassettes.folder
    return folder / config.experiment / f"iteration={iteration:04d}" / f"{name}.jsonl"


def write_tape(path: Path, tape: Cassette) -> None:
    """Write a cassette, whole or not at all, in place of an older one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(asdict(row)) + "\n" for row in tape.rows())
    unfinished = path.with_name(f"{path.name}.{os.getpid()}")
    unfinished.write_text(lines, encoding="utf-8")
    unfinished.replace(path)


def read_tape(path: Path) -> Cassette:
    """Read a cassette back. Raises ConfigError naming the file where it is none."""
    rows = _rows(path)
    try:
        return Cassette(rows)
    except ValueError as error:
        raise ConfigError(f"{path}: not a cassette ({error}); record it again") from None


def _rows(path: Path) -> list[CassetteRow]:
    """The lines of a cassette. Raises ConfigError for a file that is not there, and for other lines."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        return [CassetteRow(**json.loads(line)) for line in lines]
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: no cassette of this part; record one with --set cassettes.mode=record, into a lake "
            "that does not have the iteration yet"
        ) from None
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{path}: not a cassette ({error}); record it again") from None
