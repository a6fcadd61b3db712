"""Looking at a running job: has it ended one way or another, and what of its log has not been shown."""

from collections.abc import Mapping
from dataclasses import dataclass

from dags.ray_jobs import JobState, JobStatus

LONGEST_PIECE = 20_000  # characters of log per look; the whole log goes to the lake
LOG_BYTES_PER_S = 100_000  # a head sends the log from its beginning: a long one is fetched less often
OVERDUE = frozenset({"pending_too_long", "timed_out"})


@dataclass(frozen=True, slots=True)
class Limits:
    """Until when a job may wait, and until when it may run; seconds since 1970."""

    pending_until_s: float
    until_s: float


def outcome_of(job: JobState, limits: Limits, *, now_s: float) -> str | None:
    """How it ended: its final status in lower case, `pending_too_long` or `timed_out`; None: it goes on."""
    if job.status not in (JobStatus.PENDING, JobStatus.RUNNING):
        return job.status.lower()
    if job.status is JobStatus.PENDING and now_s >= limits.pending_until_s:
        return "pending_too_long"
    return "timed_out" if now_s >= limits.until_s else None


def unseen(text: str, *, seen: int) -> str:
    """What follows the first `seen` characters, cut at its beginning, with a note, where it is too long."""
    fresh = text[seen:]
    skipped = len(fresh) - LONGEST_PIECE
    if skipped <= 0:
        return fresh
    return f"({skipped} characters are left out here; the whole log is kept in the lake)\n{fresh[skipped:]}"


def whole_lines(text: str) -> str:
    """The text up to its last line break: a line in the making is shown when it is whole."""
    return text[: text.rfind("\n") + 1]


def log_pause_s(characters: int) -> float:
    """How long to leave a log of this length alone."""
    return characters / LOG_BYTES_PER_S


def what_is_missing(wanted: Mapping[str, float], totals: Mapping[str, float]) -> str:
    """What a job that never started waited for, against what the cluster has in all."""
    lacking = {name: share for name, share in wanted.items() if totals.get(name, 0.0) < share}
    if lacking:
        parts = [f"{name} {share:g} of {totals.get(name, 0.0):g}" for name, share in sorted(lacking.items())]
        return f"the cluster can never give it {', '.join(parts)}: add nodes, or ask for less in [ray]"
    if wanted:
        parts = [f"{name} {share:g} of {totals[name]:g}" for name, share in sorted(wanted.items())]
        return f"it waited for {', '.join(parts)}, which others held: wait for them, or add nodes"
    return "it asked for nothing: see the head's own log, setting up its environment may have hung"
