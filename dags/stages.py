"""The body of every task: a stage of the run's iteration, by a call into `tasks.pipeline`."""

import math
import os
import time
from datetime import timedelta
from typing import Any

from airflow.sdk import ExceptionRetryPolicy, RetryAction, RetryRule, get_current_context
from airflow.sdk.exceptions import AirflowSkipException

from dags.params import config_path, overrides
from tasks import preload

# A retry would meet these again: it costs minutes and hides which attempt was the first.
HOPELESS = {
    "tasks.config.ConfigError": "it will read the same",
    "storage.errors.ClosedIteration": "the iteration is decided",
    "storage.errors.ConflictingCommit": "the commit will not change",
    "storage.errors.ConflictingEvent": "the event will not change",
    "storage.errors.CorruptObject": "the object has to be restored first",
    "storage.errors.FutureSchema": "the program has to be upgraded first",
    "storage.errors.InvalidTable": "the same rows would be refused again",
    "storage.errors.ReadOnlyLake": "somebody has to give the permission first",
    "dags.ray_job.NothingToStart": "a person has to mend what it names",
    "storage.errors.RefusedFile": "the same file would be refused again",
    "storage.errors.SqlError": "the same SQL would fail again",
    "storage.errors.UnsafeStore": "the store has to be another one",
}
LONGEST_S = "86400"  # of a task in Airflow's own process, where ITPO_STAGE_TIMEOUT_S says nothing


def time_limit(given: str) -> timedelta:
    """After how many seconds a task that works in Airflow's own process is ended and tried again.

    A job of the cluster has `ray.timeout_s` instead: the task only waits for it.
    """
    try:
        seconds = float(given)
    except ValueError:
        seconds = math.nan
    if not 0.0 < seconds <= timedelta.max.total_seconds():
        raise ValueError(f"ITPO_STAGE_TIMEOUT_S {given!r}: give seconds above 0, such as {LONGEST_S}")
    return timedelta(seconds=seconds)


RETRIES = {
    "execution_timeout": time_limit(os.environ.get("ITPO_STAGE_TIMEOUT_S", LONGEST_S)),
    "retries": 3,
    "retry_delay": timedelta(seconds=5),
    "retry_exponential_backoff": 2.0,
    "retry_policy": ExceptionRetryPolicy(
        [RetryRule(error, action=RetryAction.FAIL, reason=reason) for error, reason in HOPELESS.items()]
    ),
}
SHARD_LABEL = "{{ 'all shards' if task.shard is none else 'shard-%03d' % task.shard }}"
EVIDENCE = "{{ ti.xcom_pull(task_ids='evaluate', key='evidence') }}"


def plan() -> list[int | None]:
    """Claim this run's iteration in the lake; the shards to collect, none when it starts from logs.

    One None stands for all of them together, as one job of the cluster.
    """
    from tasks import pipeline

    context = get_current_context()
    params = context["params"]
    claimed = pipeline.plan(config_path(params), overrides(params), run_id=context["run_id"])
    for key in ("experiment", "iteration", "offline"):
        context["ti"].xcom_push(key=key, value=claimed[key])
    return [] if claimed["offline"] else list(claimed["shards"])


def planned(key: str) -> Any:  # Any: a name, a number or a flag
    """What `plan` found out: `experiment`, `iteration` or `offline`."""
    return get_current_context()["ti"].xcom_pull(task_ids="plan", key=key)


def run(name: str, *, shard: int | None = None) -> dict[str, Any]:  # Any: JSON values
    """Run one stage; when it began, how long it worked (imports apart), and its result.

    `curate` first seals the shards of an iteration that was collected. Each asset that the task declares gets
    this iteration as its partition once everything is committed.
    """
    from tasks import pipeline

    preload.load()
    context = get_current_context()
    params, iteration = context["params"], planned("iteration")
    began, clock = time.time(), time.perf_counter()
    if name == "curate" and not planned("offline"):
        pipeline.run_stage("collect", config_path(params), overrides=overrides(params), iteration=iteration)
    result = pipeline.run_stage(
        name, config_path(params), overrides=overrides(params), iteration=iteration, shard=shard
    )
    _emit(f"{planned('experiment')}/{iteration:04d}")
    return {"began": began, "seconds": time.perf_counter() - clock, "result": result}


def run_offline(name: str) -> dict[str, Any]:  # Any: JSON values
    """Run a stage that only iteration 0 has."""
    if not planned("offline"):
        raise AirflowSkipException("only iteration 0 starts from logs")
    return run(name)


def run_online(name: str) -> dict[str, Any]:  # Any: JSON values
    """Run a stage that iteration 0 does not have."""
    check_online()
    return run(name)


def check_online() -> None:
    """Skip in iteration 0."""
    if planned("offline"):
        raise AirflowSkipException("iteration 0 starts from logs, which nobody's policy spoke")


def check_q_needed() -> None:
    """Skip where there is no Q to fit: for an algorithm that asks for none, and in iteration 0."""
    from tasks import pipeline

    params = get_current_context()["params"]
    if not pipeline.needs_q(config_path(params), overrides(params)):
        raise AirflowSkipException("neither the algorithm nor the estimator asks for a Q")
    check_online()


def evaluate() -> list[str]:
    """Evaluate; a person is asked before the decision only when the run says so."""
    context = get_current_context()
    outcome = run("evaluate")
    context["ti"].xcom_push(key="work", value=outcome)
    context["ti"].xcom_push(key="evidence", value=_as_table(outcome["result"]["figures"]))
    return ["approve", "decide"] if context["params"]["require_approval"] else ["decide"]


def _as_table(figures: dict[str, Any]) -> str:  # Any: JSON values
    return "\n".join(["| figure | value |", "|---|---|", *(f"| {key} | {figures[key]} |" for key in figures)])


def _emit(partition: str) -> None:
    context = get_current_context()
    for asset in context["task"].outlets:
        context["outlet_events"][asset].add_partitions(partition)
