"""A process that ends with the one that started it, however that one ends."""

import ctypes
import os
import signal
import sys

PARENT_VARIABLE = "ITPO_PARENT_PROCESS"
PR_SET_PDEATHSIG = 1


def as_parent() -> dict[str, str]:
    """The variable that names this process to a child."""
    return {PARENT_VARIABLE: str(os.getpid())}


def end_with_parent() -> None:
    """Be killed when the parent ends, on Linux; at once when it ended before this was called.

    Without the variable nothing happens: then a person started this process.
    """
    parent = os.environ.pop(PARENT_VARIABLE, None)
    if parent is None or not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(parent):
        sys.exit(f"the process {parent} that asked for this work has ended")
