"""One run is one iteration: conversations in, a decision about the policy out.

Iteration 0 starts from logs (import, warm start); every later one from rollouts of the current policy
(collect, credit, train). A skipped branch carries on where the two meet again.
"""

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import Asset, PartitionedAtRuntime, dag, task

from dags import stages
from dags.launch import LaunchNext, launcher
from dags.params import run_params
from dags.ray_cluster import around
from dags.ray_job import RayCollectOperator, RayJobOperator, RayQOperator

ROLLOUTS, CREDIT, POLICY = Asset("itpo_rollouts"), Asset("itpo_credit"), Asset("itpo_policy")


@dag(
    schedule=PartitionedAtRuntime(), max_active_runs=1, catchup=False, render_template_as_native_obj=True,
    params=run_params(), default_args=stages.RETRIES, doc_md=__doc__, tags=["itpo"],
)  # fmt: skip
def itpo_iteration() -> None:
    """Order, skips, retries, the trainer's pool and the assets."""
    stage = task(multiple_outputs=False)(stages.run)
    either = "none_failed_min_one_success"

    plan = task(task_id="plan")(stages.plan)()
    logs = task(task_id="import_logs", multiple_outputs=False)(stages.run_offline)("import")
    collect = RayCollectOperator.partial(task_id="collect", map_index_template=stages.SHARD_LABEL)
    shards = collect.expand(shard=plan)
    curated = stage.override(task_id="curate", trigger_rule=either, outlets=[ROLLOUTS])("curate")
    warm = RayJobOperator(task_id="warm_start", pool="trainer")
    reward = RayJobOperator(task_id="fit_reward", pool="trainer", trigger_rule=either)
    q = RayQOperator(task_id="fit_q", pool="trainer")
    online = task(multiple_outputs=False)(stages.run_online)
    credit = online.override(task_id="credit", trigger_rule=either, outlets=[CREDIT])("credit")
    trained = RayJobOperator(task_id="train_policy", pool="trainer")
    evaluated = task.branch(task_id="evaluate", trigger_rule=either)(stages.evaluate)()
    approval = ApprovalOperator(
        task_id="approve", subject="Decide on this candidate?", body=stages.EVIDENCE,
        execution_timeout=None,  # a person takes the time that it takes
    )  # fmt: skip
    decided = stage.override(task_id="decide", trigger_rule="none_failed", outlets=[POLICY])("decide")
    report = stage.override(task_id="report")("report")

    plan >> logs
    [logs, shards] >> curated
    [logs, curated] >> warm  # skipped with the import
    [curated, warm] >> reward
    [shards, reward] >> q  # skipped with the rollouts, and where nothing needs it
    [plan, reward, q] >> credit  # not skipped with Q, nor where logged turns are stepped on
    credit >> trained
    [reward, trained] >> evaluated >> approval
    [evaluated, approval] >> decided >> report >> launcher(LaunchNext, task_id="next")
    around(plan, [shards, warm, reward, q, trained])


itpo_iteration()
