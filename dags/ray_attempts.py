"""Which job to go on with, or what to start: a choice from what the head lists. Nothing is asked here."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dags.ray_jobs import JobState, JobStatus

ACTIVE = frozenset({JobStatus.PENDING, JobStatus.RUNNING})


@dataclass(frozen=True, slots=True)
class JobName:
    """What the jobs of one stage of one iteration are called, and how one knows one's own."""

    prefix: str  # itpo-sales-0003-train_policy-1a2b3c4d
    owner: Mapping[str, str]

    def of(self, attempt: int) -> str:
        """The submission id of an attempt."""
        return f"{self.prefix}-a{attempt}"

    def attempt(self, submission_id: str) -> int | None:
        """Which attempt that id is, None for another's id."""
        found = re.fullmatch(re.escape(self.prefix) + r"-a([1-9]\d*)", submission_id)
        return int(found[1]) if found else None


@dataclass(frozen=True, slots=True)
class Adopt:
    """Go on with a job that is there."""

    submission_id: str
    is_done: bool


@dataclass(frozen=True, slots=True)
class Submit:
    """Start this attempt."""

    attempt: int


@dataclass(frozen=True, slots=True)
class Fail:
    """Nothing may be started; a retry would meet the same."""

    reason: str


def next_step(
    jobs: Sequence[JobState], name: JobName, *, committed: bool, used: int, limit: int
) -> Adopt | Submit | Fail:
    """What to do, given every job of the head, listed before `committed` was looked up.

    `used` is the highest attempt whose end is on record elsewhere: a head that was lost remembers none. A job
    that succeeded without its commit counts as failed. At most `limit` attempts are made.
    """
    own = [(attempt, job) for job in jobs if (attempt := name.attempt(job.submission_id)) is not None]
    if foreign := [job for _, job in own if dict(job.metadata) != dict(name.owner)]:
        return Fail(_of_somebody_else(foreign[0], name))
    by_attempt = [job for _, job in sorted(own, key=lambda pair: pair[0], reverse=True)]
    for job in by_attempt:
        if job.status in ACTIVE:
            return Adopt(job.submission_id, is_done=False)
    for job in by_attempt:
        if job.status is JobStatus.SUCCEEDED and committed:
            return Adopt(job.submission_id, is_done=True)
    attempt = max([used, *(attempt for attempt, _ in own)]) + 1
    if attempt > limit:
        return Fail(f"{limit} attempts were made as {name.prefix}: read their logs, then raise ray.attempts")
    return Submit(attempt)


def _of_somebody_else(job: JobState, name: JobName) -> str:
    differing = sorted(
        f"{key} {job.metadata.get(key)!r} instead of {name.owner.get(key)!r}"
        for key in job.metadata.keys() | name.owner.keys()
        if job.metadata.get(key) != name.owner.get(key)
    )
    return (
        f"job {job.submission_id} is somebody else's ({', '.join(differing)}): "
        "give this experiment another name, or use another Ray head"
    )
