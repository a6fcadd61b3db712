"""One attempt at a stage: nobody else makes it meanwhile; what it took and said stays beside the data."""

import contextlib
import logging
import os
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace

from storage import commits, exclusion, leases, registry, run_logs
from storage.errors import ClosedIteration, StorageError
from storage.facts import record_facts
from storage.leases import Holder, Lease, Patience
from tasks.context import Context, StageResult, code_revision

LOG = logging.getLogger(__name__)
OUTSIDE_S = 1.0  # between looks while something is being removed from the lake
Work = Callable[[], StageResult]

# The kind of commit beside which a stage leaves its side facts.
KINDS = {"import": "rollouts", "outcomes": "rollouts", "collect": "rollouts", "curate": "curated",
         "warm_start": "policy", "fit_reward": "reward", "fit_q": "q", "credit": "credit",
         "credit_lab": "reward", "train_policy": "policy", "evaluate": "evaluation", "decide": "evaluation",
         "report": "report"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Attempt:
    """A stage of an iteration, or one shard of it, about to be made."""

    context: Context
    stage: str
    shard: int | None

    @property
    def name(self) -> str:
        """What is made, within the experiment: `collect-0003-001`."""
        place = f"{self.stage}-{self.context.iteration:04d}"
        return place if self.shard is None else f"{place}-{self.shard:03d}"


def perform(attempt: Attempt, work: Work) -> StageResult:
    """Do the work unless it is done; while somebody else is at it, wait and take over their result.

    What is there already is only looked at, without a lease: a finished lake can be read-only.
    """
    if is_done(attempt):
        return _recorded(attempt, work)
    context = attempt.context
    commits.check_open(context.store, context.key(KINDS[attempt.stage]))
    while True:
        with _leased(attempt) as lease:
            if lease is None or not _is_kept_out(attempt):
                return _recorded(attempt, work)
        LOG.warning("%s waits: something is being removed from the lake", attempt.name)
        time.sleep(OUTSIDE_S)


def _leased(attempt: Attempt) -> contextlib.AbstractContextManager[Lease | None]:
    context = attempt.context
    return leases.held(
        context.store,
        leases.lease_place(context.experiment, attempt.name),
        attempt=context.attempt,
        patience=Patience(ttl_s=context.config.lake.lease_ttl_s),
        on_wait=lambda holder: _say_waiting(attempt, holder),
    )


def _is_kept_out(attempt: Attempt) -> bool:
    """Whether rows are being removed from the lake, which this attempt could write again."""
    context = attempt.context
    place = leases.lease_place(context.experiment, attempt.name)
    return exclusion.is_kept_out(context.store, place, ttl_s=context.config.lake.lease_ttl_s)


def is_done(attempt: Attempt) -> bool:
    """Whether the output is in the lake, whoever made it."""
    context = attempt.context
    if attempt.stage == "collect" and attempt.shard is not None:
        return _shard_is_there(context, attempt.shard)
    if attempt.stage == "outcomes" or (attempt.stage == "import" and context.config.outcomes.paths):
        return False  # another file may always come, and is not joined beside a forgetting
    if attempt.stage == "decide":
        events = registry.events(context.store, context.experiment)
        return any(event.event_id == f"decide/{context.iteration:04d}" for event in events)
    return context.find(KINDS[attempt.stage]) is not None


def _shard_is_there(context: Context, shard: int) -> bool:
    try:
        return commits.read_shard(context.store, context.key("rollouts"), shard=shard) is not None
    except ClosedIteration:
        return False  # the stage says so


def _say_waiting(attempt: Attempt, holder: Holder) -> None:
    LOG.warning(
        "%s of %s is being made by process %d on %s (attempt %s): waiting; its result will be taken over",
        attempt.name,
        attempt.context.experiment,
        holder.process.pid,
        holder.process.host,
        holder.attempt,
    )


def _recorded(attempt: Attempt, work: Work) -> StageResult:
    began, cpu = time.monotonic(), _cpu_s()
    with run_logs.listening() as lines:
        try:
            result = _adopted(attempt, work())
        except Exception as problem:  # counted and kept, then raised again
            lines.extend(traceback.format_exception(problem))
            _keep(attempt, lines, error=f"{type(problem).__name__}: {problem}", began=began, cpu=cpu)
            raise
    if not result.resumed:
        _keep(attempt, lines, error="", began=began, cpu=cpu)
    return result


def _cpu_s() -> float:
    """Of this process and of those that it started and that have ended."""
    return sum(os.times()[:4])


def _adopted(attempt: Attempt, result: StageResult) -> StageResult:
    """The result as resumed where another attempt was first with the same data."""
    if result.resumed or attempt.stage in ("decide", "credit_lab"):
        return result
    if attempt.stage == "collect" and attempt.shard is None:
        return result  # sealing is a function of the shards, the same whoever does it
    context = attempt.context
    winner = commits.read_shard(context.store, context.key(KINDS[attempt.stage]), shard=attempt.shard or 0)
    if winner is None or winner.attempt == context.attempt:
        return result
    LOG.warning("%s: attempt %s was first, its result is taken over", attempt.name, winner.attempt)
    # What this attempt measured is not what is committed.
    return replace(result, resumed=True, figures={})


def _keep(attempt: Attempt, lines: list[str], *, error: str, began: float, cpu: float) -> None:
    """Timing, code revision, error and log lines of the attempt, outside every digest."""
    context = attempt.context
    facts = {
        "stage": attempt.stage,
        "shard": -1 if attempt.shard is None else attempt.shard,
        "seconds": time.monotonic() - began,
        "cpu_seconds": _cpu_s() - cpu,
        "code_revision": code_revision(),
    } | ({"error": error} if error else {})
    name = f"{context.attempt}-{attempt.stage}" + ("" if attempt.shard is None else f"-{attempt.shard:03d}")
    try:
        record_facts(context.store, context.key(KINDS[attempt.stage]), attempt=name, facts=facts)
        run_logs.keep(
            context.store, context.experiment, name=f"{attempt.name}-{context.attempt}", lines=lines
        )
    except StorageError as problem:
        if not error:
            raise
        LOG.warning("the error above is not kept in the lake: %s", problem)
