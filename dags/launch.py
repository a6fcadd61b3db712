"""Start a run of `itpo_iteration` under a fixed run id, so that a retry or a second tick starts nothing."""

from collections.abc import Mapping
from typing import Any

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowSkipException

from dags.params import config_path, overrides
from dags.stages import planned

ITERATION_DAG = "itpo_iteration"
Params = Mapping[str, Any]  # Any: JSON values


def launcher(operator: "type[LaunchNext]", *, task_id: str) -> "LaunchNext":
    """The operator, set to start at once and to skip a run id that exists."""
    return operator(
        task_id=task_id, trigger_dag_id=ITERATION_DAG, logical_date=None, skip_when_already_exists=True
    )


class LaunchNext(TriggerDagRunOperator):
    """Last task of an iteration: start the next with the rest of the budget; skip when there is none."""

    def execute(self, context: Context) -> None:
        """Choose run id and Params, then trigger."""
        self.trigger_run_id, self.conf = self.choose(context["params"])
        super().execute(context)

    def choose(self, params: Params) -> tuple[str, dict[str, Any]]:  # Any: JSON values
        """Run id and Params of the run that follows this one."""
        following = run_after(planned("iteration"), params)
        if following is None:
            raise AirflowSkipException("the budget is spent, or there is no policy to go on from")
        return following


class LaunchUpcoming(LaunchNext):
    """The only task of the schedule: start the first iteration that nobody has claimed."""

    def choose(self, params: Params) -> tuple[str, dict[str, Any]]:  # Any: JSON values
        """Run id of that iteration, with the Params as they are."""
        from tasks import pipeline

        return pipeline.upcoming_run(config_path(params), overrides(params)), dict(params)


def run_after(iteration: int, params: Params) -> tuple[str, dict[str, Any]] | None:  # Any: JSON values
    """Run id and Params of the next iteration, with one less in the budget; None when it is spent."""
    from tasks import pipeline

    left = params["iterations"] - 1
    following = pipeline.next_run(
        config_path(params), overrides(params), iteration=iteration, iterations_left=left
    )
    return None if following is None else (following["run_id"], {**params, "iterations": left})
