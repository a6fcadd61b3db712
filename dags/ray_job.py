"""A stage of the loop as a task: in Airflow's own process, or, where `[ray] stages` names it, as a Ray job.

The job has an id that follows from what it makes, so whoever comes later, a retry or a second scheduler, goes
on with the job that is there. The task waits in the triggerer; its success is the commit in the lake.
"""

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator, Context, get_current_context

from dags import ray_jobs, stages
from dags.params import config_path, overrides
from dags.ray_attempts import Adopt, Fail, JobName, next_step
from dags.ray_jobs import DuplicateJob, JobNotFound, JobRequest, RayHead, RayTrouble
from dags.ray_trigger import RayJobTrigger

if TYPE_CHECKING:  # tasks.cluster reads the lake: too heavy for a DAG file
    from tasks.cluster import StageJob

LOG = logging.getLogger(__name__)
ROUNDS = 3  # of looking and submitting, while others submit the same
Event = dict[str, Any]  # Any: JSON values, as RayJobTrigger reports them


class NothingToStart(RuntimeError):
    """The job may not be started, now or on a retry; the message says what a person has to do."""


class RayJobFailed(RuntimeError):
    """The job ended otherwise than well; a retry starts the next attempt."""


@dataclass(frozen=True, slots=True)
class Place:
    """Which stage of which iteration, as the configuration of the run has it."""

    stage: str
    config_path: str
    overrides: dict[str, Any]  # Any: JSON values by dotted key
    iteration: int

    def committed(self) -> dict[str, Any] | None:  # Any: JSON values
        """The stage's result, None while it is not in the lake."""
        from tasks import cluster

        return cluster.committed(
            self.stage, self.config_path, overrides=self.overrides, iteration=self.iteration
        )

    def job(self) -> "StageJob | None":
        """The stage as a job, None where it runs here."""
        from tasks import cluster

        return cluster.job_of(
            self.stage, self.config_path, overrides=self.overrides, iteration=self.iteration
        )

    def attempts_on_record(self, name: JobName) -> int:
        """The highest attempt whose log is in the lake; 0 for none."""
        from tasks import cluster

        kept = cluster.logs_kept(self.config_path, self.overrides, prefix=f"{name.prefix}-a")
        return max((name.attempt(each) or 0 for each in kept), default=0)

    def keep_log(self, head: RayHead, event: Event) -> None:
        """The whole log with its ending; where the head says nothing any more, the ending alone."""
        from tasks import cluster

        if event["outcome"] == "unreachable":
            return  # the job may still be at work: its log is kept when it has ended
        text = f"{_log(head, event['submission_id']).rstrip()}\n{event['outcome']}: {event['message']}"
        cluster.keep_log(self.config_path, self.overrides, name=event["submission_id"], text=text)


class RayJobOperator(BaseOperator):
    """Runs the stage that its task id names. Deferred while a Ray job runs; a kill stops the job."""

    _submitting: tuple[RayHead, str] | None = None
    _is_killed = False

    def execute(self, context: Context) -> dict[str, Any]:  # Any: JSON values
        """Run the stage here, or see to its job; what it came to."""
        self.check_needed()
        place = self.place(context)
        job = place.job()
        return self.run_here() if job is None else self._pursue(place, job)

    def run_here(self) -> dict[str, Any]:  # Any: JSON values
        """The stage in this process."""
        return stages.run(self.task_id)

    def check_needed(self) -> None:
        """Raise AirflowSkipException where this iteration has no such stage; here every one has it."""

    def resume(self, context: Context, event: Event) -> dict[str, Any]:  # Any: JSON values
        """The trigger fired: keep the log, then look for the commit, or say what went wrong."""
        place = self.place(context)
        job = place.job()
        if job is None:
            raise NothingToStart(f"ray.stages no longer names {self.task_id}: clear the task to run it here")
        place.keep_log(RayHead(job.address), event)
        if event["outcome"] == "stopped" and event["adopted"]:
            LOG.warning("%s had been asked to stop before this try: next attempt", event["submission_id"])
            return self._pursue(place, job)
        if event["outcome"] != "succeeded":
            raise RayJobFailed(f"job {event['submission_id']}: {event['outcome']}, {event['message']}")
        return _result(place, event)

    def on_kill(self) -> None:
        """Stop a job that is being submitted at this moment; one that is waited for is the trigger's.

        A worker that is only shut down leaves the job to the next try.
        """
        if self._submitting is None or self.is_wanted():
            return
        self._is_killed = True
        _stop(*self._submitting)

    def is_wanted(self) -> bool:
        """Whether Airflow still has the task as running: then this process is merely being shut down."""
        ti = get_current_context()["ti"]
        states = ti.get_task_states(dag_id=ti.dag_id, task_ids=[ti.task_id], run_ids=[ti.run_id])
        return states.get(ti.run_id, {}).get(ti.task_id) == "running"

    def place(self, context: Context) -> Place:
        """Where the configuration of the run puts this task."""
        params = context["params"]
        return Place(self.task_id, config_path(params), overrides(params), stages.planned("iteration"))

    def _pursue(self, place: Place, job: "StageJob") -> dict[str, Any]:  # Any: JSON values
        if (found := place.committed()) is not None:
            return _work(found)
        head = RayHead(job.address)
        _check_version(head, job.settings.version)
        step, adopted = self._settle(head, place, job=job)
        if step.is_done:
            return _result(place, {"submission_id": step.submission_id, "began_s": None, "ended_s": None})
        settings, now_s = job.settings, time.time()
        self.defer(
            trigger=RayJobTrigger(
                address=job.address,
                submission_id=step.submission_id,
                pending_until_s=now_s + settings.pending_deadline_s,
                until_s=now_s + settings.timeout_s,
                poll_s=settings.poll_s,
                unreachable_s=settings.unreachable_s,
                wanted=job.resources,
                adopted=adopted,
            ),
            method_name="resume",
        )

    def _settle(self, head: RayHead, place: Place, *, job: "StageJob") -> tuple[Adopt, bool]:
        """The job to wait for, and whether it was there already."""
        name = JobName(job.prefix, job.owner)
        for _ in range(ROUNDS):
            listed = head.ask(ray_jobs.jobs())
            step = next_step(
                listed,
                name,
                committed=place.committed() is not None,
                used=place.attempts_on_record(name),
                limit=job.settings.attempts,
            )
            if isinstance(step, Fail):
                raise NothingToStart(step.reason)
            if isinstance(step, Adopt):
                LOG.info("going on with job %s", step.submission_id)
                return step, True
            try:
                return Adopt(self._submit(head, name.of(step.attempt), job=job), is_done=False), False
            except DuplicateJob as first:
                LOG.info("somebody else was first: %s", first)
        raise RayJobFailed(f"{job.prefix}: others took every attempt, {ROUNDS} times; a retry looks again")

    def _submit(self, head: RayHead, submission_id: str, *, job: "StageJob") -> str:
        request = JobRequest(submission_id, job.entrypoint, job.env, job.owner, job.resources)
        names = ", ".join(sorted(job.env))
        LOG.info("submitting %s to %s: %s (variables %s)", submission_id, head.address, job.entrypoint, names)
        self._submitting = (head, submission_id)
        try:
            head.ask(ray_jobs.submit(request))
            if self._is_killed:  # the stop that was asked for meanwhile may have come before the job
                _stop(head, submission_id)
        finally:
            self._submitting = None
        return submission_id


class RayQOperator(RayJobOperator):
    """As its base, for the stage that only some algorithms have."""

    def check_needed(self) -> None:
        """Skip in iteration 0, and where neither algorithm nor estimator asks for a Q."""
        stages.check_q_needed()


class RayCollectOperator(RayJobOperator):
    """As its base, for one shard; the shard None is all of them, which is a job and nothing else."""

    def __init__(self, *, shard: int | None, **airflow: Any) -> None:  # Any: what every operator takes
        super().__init__(**airflow)
        self.shard = shard

    def run_here(self) -> dict[str, Any]:  # Any: JSON values
        """The one shard in this process."""
        if self.shard is None:
            raise NothingToStart(
                "ray.stages no longer names collect: clear the task plan to run its shards here"
            )
        return stages.run(self.task_id, shard=self.shard)


def _check_version(head: RayHead, wanted: str | None) -> None:
    if wanted is None:
        return
    found = head.ask(ray_jobs.version())
    if found != wanted:
        raise NothingToStart(
            f"the cluster at {head.address} runs Ray {found}, ray.version is {wanted}: correct one of the two"
        )


def _log(head: RayHead, submission_id: str) -> str:
    try:
        return head.ask(ray_jobs.logs(submission_id))
    except (JobNotFound, RayTrouble) as trouble:
        return f"(the log is gone: {trouble})"


def _result(place: Place, event: Event) -> dict[str, Any]:  # Any: JSON values
    found = place.committed()
    if found is None:
        raise RayJobFailed(
            f"job {event['submission_id']} ended well, but the lake has no commit of {place.stage} in "
            f"iteration {place.iteration}: does the cluster write to the same lake?"
        )
    return _work(found, began_s=event["began_s"], ended_s=event["ended_s"]) | {"job": event["submission_id"]}


def _work(
    found: dict[str, Any], *, began_s: float | None = None, ended_s: float | None = None
) -> dict[str, Any]:  # Any: JSON values
    seconds = 0.0 if began_s is None or ended_s is None else ended_s - began_s
    return {"began": began_s or time.time(), "seconds": seconds, "result": found}


def _stop(head: RayHead, submission_id: str) -> None:
    try:
        head.ask(ray_jobs.stop(submission_id))
    except (JobNotFound, RayTrouble) as trouble:
        LOG.warning("job %s is not stopped: %s", submission_id, trouble)
