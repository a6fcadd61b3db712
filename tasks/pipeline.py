"""The order of the stages, for scheduler and people: plan an iteration, run a stage, find the next run."""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from storage import registry
from tasks import config as configuration
from tasks import from_logs, threads
from tasks.attempts import Attempt, perform
from tasks.config import Config
from tasks.context import Context, StageResult

ONLINE_STAGES = (
    "collect",
    "curate",
    "fit_reward",
    "fit_q",
    "credit",
    "train_policy",
    "evaluate",
    "decide",
    "report",
)
OFFLINE_STAGES = ("import", "curate", "warm_start", "fit_reward", "evaluate", "decide", "report")

Overrides = dict[str, Any]  # Any: JSON values by dotted key, checked by the configuration
Progress = Callable[[int, int], None]


def plan(config_path: str, overrides: Overrides, *, run_id: str) -> dict[str, Any]:
    """Which iteration this run does. It is claimed in the lake, so a repeated run gets the same.

    The shard None stands for all of them: the cluster makes them as one job. There is none to collect from
    logs, be it to imitate them or to step on their turns. Raises ConfigError where nobody is there to talk.
    """
    config = configuration.load(config_path, overrides=overrides)
    claimed = Context(config, 0)
    iteration = registry.claim_run(claimed.store, claimed.experiment, run_id=run_id)
    context = Context(config, iteration)
    from_logs.check_reachable(context)
    offline = iteration == 0
    shards = [] if offline else _shards_of(context)
    return {"experiment": context.experiment, "iteration": iteration, "offline": offline, "shards": shards}


def _shards_of(context: Context) -> list[int | None]:
    config = context.config
    if from_logs.is_step(context):
        return []
    return [None] if "collect" in config.ray.stages else list(range(config.collect.shards))


def run_stage(
    stage: str, config_path: str, *, overrides: Overrides, iteration: int, shard: int | None = None
) -> dict[str, Any]:
    """Run one stage from configuration to commit and say what came of it. `collect` without a shard seals."""
    context = Context(configuration.load(config_path, overrides=overrides), iteration)
    return run_in(context, stage, shard=shard)


def run_in(
    context: Context, stage: str, *, shard: int | None = None, on_progress: Progress | None = None
) -> dict[str, Any]:
    """`run_stage` on a context that is already there."""
    threads.limit()
    began = time.monotonic()
    attempt = Attempt(context, stage, shard)
    result = perform(attempt, lambda: _run(context, stage, shard, on_progress))
    return {**asdict(result), "seconds": round(time.monotonic() - began, 3)}


def next_run(
    config_path: str, overrides: Overrides, *, iteration: int, iterations_left: int
) -> dict[str, Any] | None:
    """The run that goes on, or None when the budget is spent or there is no policy to go on from."""
    context = Context(configuration.load(config_path, overrides=overrides), iteration)
    if iterations_left <= 0 or not _goes_on(context):
        return None
    return {"run_id": f"{context.experiment}-{iteration + 1:04d}", "iterations": iterations_left}


def _goes_on(context: Context) -> bool:
    """Whether the next iteration has something to go on from: a current policy, or logged turns."""
    following = Context(context.config, context.iteration + 1)
    last = from_logs.last_iteration(context.config)
    if last is not None and following.iteration > last:
        return False
    current = registry.find_current(context.store, context.experiment)
    return from_logs.is_step(following) or current is not None


def upcoming_run(config_path: str, overrides: Overrides) -> str:
    """The run id of the first iteration that has no decision: what a clock starts next."""
    context = Context(configuration.load(config_path, overrides=overrides), 0)
    return f"{context.experiment}-{registry.next_iteration(context.store, context.experiment):04d}"


def stages_of(iteration: int, config: Config) -> tuple[str, ...]:
    """Iteration 0 starts from logs; every later one from conversations, with a Q where one is needed.

    Logs of no domain are stepped on in iteration 1; without users there are no stages after that.
    """
    if iteration == 0:
        return OFFLINE_STAGES
    if from_logs.is_bare(config) and iteration == from_logs.STEP:
        return from_logs.STEP_STAGES
    if not from_logs.has_users(config):
        return ()
    return tuple(stage for stage in ONLINE_STAGES if stage != "fit_q" or config.credit.needs_q)


def needs_q(config_path: str, overrides: Overrides) -> bool:
    """Whether online iterations of this configuration fit a Q."""
    return configuration.load(config_path, overrides=overrides).credit.needs_q


def run_named(context: Context, stage: str, *, on_progress: Progress | None = None) -> dict[str, Any]:
    """One whole stage: `collect` means every shard, here or where `[ray.rollouts]` says, then the seal."""
    if stage != "collect" or _is_imported(context):
        return run_in(context, stage, on_progress=on_progress)
    troubles = _make_shards(context, on_progress)
    result = run_in(context, stage, on_progress=on_progress)
    return {**result, "figures": {**result["figures"], **troubles}}


def _is_imported(context: Context) -> bool:
    """Whether the iteration's conversations were held elsewhere, so that there is nothing to roll out."""
    from tasks import recompute

    return recompute.is_asked(context)


def _make_shards(context: Context, on_progress: Progress | None) -> Mapping[str, int]:
    """All shards; what went wrong on the way, counted by cause."""
    rollouts = context.config.ray.rollouts
    if rollouts is not None:
        from tasks import ray_rollouts

        return ray_rollouts.collect_shards(context, rollouts, on_progress=on_progress or _unseen)
    for shard in range(context.config.collect.shards):
        run_in(context, "collect", shard=shard, on_progress=on_progress)
    return {}


def _unseen(done: int, total: int) -> None:
    """Progress that nobody looks at."""


def _run(context: Context, stage: str, shard: int | None, on_progress: Progress | None) -> StageResult:
    if stage == "collect":
        from tasks import collect, recompute

        if recompute.is_asked(context):
            return recompute.run(context)
        return (
            collect.seal(context)
            if shard is None
            else collect.run_shard(context, shard, on_progress=on_progress)
        )
    return STAGES[stage](context, on_progress)


def _import(context: Context, on_progress: Progress | None) -> StageResult:
    from tasks import import_logs, late_outcomes

    imported = import_logs.run(context)
    return late_outcomes.after_import(context, imported) if context.config.outcomes.paths else imported


def _outcomes(context: Context, on_progress: Progress | None) -> StageResult:
    from tasks import late_outcomes

    return late_outcomes.run(context)


def _curate(context: Context, on_progress: Progress | None) -> StageResult:
    from tasks import curate

    return curate.run(context)


def _warm_start(context: Context, on_progress: Progress | None) -> StageResult:
    from tasks import warm_start

    return warm_start.run(context, on_progress=on_progress)


def _fit_reward(context: Context, on_progress: Progress | None) -> StageResult:
    from tasks import fit_reward

    return fit_reward.run(context)


def _fit_q(context: Context, on_progress: Progress | None) -> StageResult:
    from tasks import fit_q

    return fit_q.run(context, on_progress=on_progress)


def _credit(context: Context, on_progress: Progress | None) -> StageResult:
    from tasks import credit, log_credit

    return log_credit.run(context) if from_logs.is_step(context) else credit.run(context)


def _credit_lab(context: Context, on_progress: Progress | None) -> StageResult:
    from tasks import credit_lab

    return credit_lab.run(context)


def _train_policy(context: Context, on_progress: Progress | None) -> StageResult:
    from tasks import log_step, train_policy

    if from_logs.is_step(context):
        return log_step.run(context, on_progress=on_progress)
    return train_policy.run(context, on_progress=on_progress)


def _evaluate(context: Context, on_progress: Progress | None) -> StageResult:
    from tasks import evaluate, log_evidence

    return evaluate.run(context) if from_logs.has_users(context.config) else log_evidence.run(context)


def _decide(context: Context, on_progress: Progress | None) -> StageResult:
    from tasks import decide

    return decide.run(context)


def _report(context: Context, on_progress: Progress | None) -> StageResult:
    from tasks import report

    return report.run(context)


STAGES: dict[str, Callable[[Context, Progress | None], StageResult]] = {
    "import": _import,
    "outcomes": _outcomes,
    "curate": _curate,
    "warm_start": _warm_start,
    "fit_reward": _fit_reward,
    "fit_q": _fit_q,
    "credit": _credit,
    "credit_lab": _credit_lab,
    "train_policy": _train_policy,
    "evaluate": _evaluate,
    "decide": _decide,
    "report": _report,
}
