"""Watches one job of a Ray cluster from Airflow's triggerer, which holds no worker meanwhile.

All it needs is in its arguments, so a triggerer that was killed is followed by one that watches the same job.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from dags import ray_jobs
from dags.ray_jobs import JobNotFound, JobState, RayHead, RayTrouble
from dags.ray_watch import OVERDUE, Limits, log_pause_s, outcome_of, unseen, what_is_missing, whole_lines

STOP_TRIES = 3


class RayJobTrigger(BaseTrigger):
    """Fires once, when the job has ended, is lost, or is overdue; an overdue job is stopped first.

    Times are seconds since 1970. `adopted`, whether an earlier try had started the job, is handed through.
    """

    def __init__(
        self,
        *,
        address: str,
        submission_id: str,
        pending_until_s: float,
        until_s: float,
        poll_s: float,
        unreachable_s: float,
        wanted: Mapping[str, float],
        adopted: bool,
    ) -> None:
        super().__init__()
        self.address = address
        self.submission_id = submission_id
        self.limits = Limits(pending_until_s, until_s)
        self.poll_s = poll_s
        self.unreachable_s = unreachable_s
        self.wanted = dict(wanted)
        self.adopted = adopted
        self._head = RayHead(address)
        self._answered_s = time.monotonic()
        self._shown = 0
        self._next_log_s = 0.0

    def serialize(self) -> tuple[str, dict[str, Any]]:  # Any: JSON values
        """Class and arguments; no secret is among them, for they lie in Airflow's database."""
        return (
            "dags.ray_trigger.RayJobTrigger",
            {
                "address": self.address,
                "submission_id": self.submission_id,
                "pending_until_s": self.limits.pending_until_s,
                "until_s": self.limits.until_s,
                "poll_s": self.poll_s,
                "unreachable_s": self.unreachable_s,
                "wanted": self.wanted,
                "adopted": self.adopted,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look until there is something to say."""
        while (report := await self.look()) is None:
            await asyncio.sleep(self.poll_s)
        yield TriggerEvent(report)

    async def look(self) -> dict[str, Any] | None:  # Any: JSON values
        """Show what is new in the log; the job's end, if this is it."""
        try:
            job = await self._head.ask_async(ray_jobs.status(self.submission_id))
            outcome = outcome_of(job, self.limits, now_s=time.time())
            await self._show_log(job, is_last=outcome is not None)
        except JobNotFound as lost:
            return self._report("lost", f"{lost}: the head that ran it is gone")
        except RayTrouble as trouble:
            return self._not_answered(trouble)
        self._answered_s = time.monotonic()
        if outcome in OVERDUE:
            return self._report(outcome, await self._stopped(outcome), job=job)
        return None if outcome is None else self._report(outcome, job.message, job=job)

    async def on_kill(self) -> None:
        """A person cleared or marked the waiting task: stop the job. A mere restart does not come here."""
        await self._stop(f"job {self.submission_id} is stopped: its task was cleared or marked")

    async def _stop(self, reason: str) -> None:
        for _ in range(STOP_TRIES):
            try:
                await self._head.ask_async(ray_jobs.stop(self.submission_id))
            except JobNotFound:
                return
            except RayTrouble as trouble:
                self.log.warning("job %s is not stopped yet: %s", self.submission_id, trouble)
                await asyncio.sleep(1.0)
            else:
                self.log.warning(reason)
                return
        self.log.error("job %s could not be stopped: stop it by hand", self.submission_id)

    async def _stopped(self, outcome: str) -> str:
        explanation = "it was not through by ray.timeout_s"
        if outcome == "pending_too_long":
            explanation = f"it had not started after ray.pending_deadline_s; {await self._missing()}"
        await self._stop(f"job {self.submission_id} is stopped: {explanation}")
        return explanation

    async def _missing(self) -> str:
        try:
            totals = await self._head.ask_async(ray_jobs.resources())
        except RayTrouble as trouble:
            return f"what it waited for is not known ({trouble})"
        return what_is_missing(self.wanted, totals)

    async def _show_log(self, job: JobState, *, is_last: bool) -> None:
        if not is_last and time.monotonic() < self._next_log_s:
            return
        text = await self._head.ask_async(ray_jobs.logs(job.submission_id))
        ready = text if is_last else whole_lines(text)
        for line in unseen(ready, seen=self._shown).splitlines():
            self.log.info("%s", line)
        self._shown = len(ready)
        self._next_log_s = time.monotonic() + log_pause_s(len(text))

    def _not_answered(self, trouble: RayTrouble) -> dict[str, Any] | None:  # Any: JSON values
        silent_s = time.monotonic() - self._answered_s
        if silent_s >= self.unreachable_s:
            return self._report("unreachable", f"{trouble} (silent for {silent_s:.0f} s)")
        self.log.warning("still watching %s: %s", self.submission_id, trouble)
        return None

    def _report(
        self, outcome: str, message: str, *, job: JobState | None = None
    ) -> dict[str, Any]:  # Any: JSON values
        return {
            "submission_id": self.submission_id,
            "outcome": outcome,
            "message": message,
            "began_s": None if job is None else job.began_s,
            "ended_s": None if job is None else job.ended_s,
            "adopted": self.adopted,
        }
