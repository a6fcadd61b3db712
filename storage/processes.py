"""Which process this is, so that another one on the same machine can tell when it is gone."""

import os
import socket
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_DEAD = frozenset("ZX")  # ended, and only not yet collected by its parent


@dataclass(frozen=True, slots=True)
class Process:
    """A process among all machines and for all time: number alone would be given out again."""

    host: str
    boot: str
    pid: int
    born: str


def this_process() -> Process:
    """This one."""
    return Process(socket.gethostname(), _boot(), os.getpid(), _state_and_birth(os.getpid())[1])


def is_gone(process: Process) -> bool:
    """True only when it ran on this machine and has ended; of any other nothing can be known from here."""
    here = this_process()
    if (process.host, process.boot) != (here.host, here.boot) or not here.boot:
        return False
    state, born = _state_and_birth(process.pid)
    if not born:
        return not _exists(process.pid)
    return born != process.born or state in _DEAD


def _exists(pid: int) -> bool:
    """Whether there is such a process at all: where /proc hides those of others nothing more is known."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _boot() -> str:
    """What this start of the machine is called, with the namespace in which its process numbers hold."""
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}/{os.readlink(_PROC / 'self/ns/pid')}"
    except OSError:
        return ""


def _state_and_birth(pid: int) -> tuple[str, str]:
    """The letter of its state and its start in clock ticks since boot; empty when there is none."""
    try:
        text = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "", ""
    fields = text.rpartition(")")[2].split()  # a program's name may hold blanks and parentheses
    return fields[0], fields[19]
