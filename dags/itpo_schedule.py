"""The clock: on each tick, start the run of the next iteration, unless it has been started already.

`ITPO_SCHEDULE` replaces the cron line and `ITPO_SCHEDULE_CONFIG` the configuration; the DAG is paused until a
person asks for it.
"""

import os
from datetime import UTC, datetime

from airflow.sdk import dag

from dags.launch import LaunchUpcoming, launcher
from dags.params import DEFAULT_CONFIG, run_params
from dags.stages import RETRIES

CRON = os.environ.get("ITPO_SCHEDULE", "0 2 * * *")  # every night
CONFIG = os.environ.get("ITPO_SCHEDULE_CONFIG", DEFAULT_CONFIG)


@dag(
    schedule=CRON, start_date=datetime(2026, 1, 1, tzinfo=UTC), catchup=False, max_active_runs=1,
    is_paused_upon_creation=True, params=run_params(config=CONFIG),
    default_args=RETRIES, doc_md=__doc__, tags=["itpo"],
)  # fmt: skip
def itpo_schedule() -> None:
    """One task."""
    launcher(LaunchUpcoming, task_id="start")


itpo_schedule()
