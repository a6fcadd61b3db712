"""What a fit of Q left for others: its gate in words. Light: no model is loaded to read it."""

import json
from dataclasses import dataclass

from storage import commits
from storage.commits import Commit
from tasks.context import Context

GATE_FILE = "gate.json"


@dataclass(frozen=True, slots=True)
class QGate:
    """Whether a policy step may follow this Q, and why."""

    is_open: bool
    reason: str


def committed_gate(context: Context, q: Commit) -> QGate:
    """The gate that a fit of Q committed, read without its weights."""
    found = json.loads(commits.checked_bytes(context.store, q.artifacts[GATE_FILE]))
    return QGate(bool(found["open"]), str(found["reason"]))
