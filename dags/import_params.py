"""What a person may choose when importing logs, and the body of every task of that DAG."""

import time
from collections.abc import Mapping
from typing import Any, get_args

from airflow.sdk import Param, get_current_context

from dags.params import ROOT, config_path, run_params
from tasks import preload
from tasks.config_logs import LogFormatName

# Param -> dotted key of the configuration that it replaces when it is given.
KEYS = {
    "experiment": "experiment",
    "format": "logs.format",
    "outcome_column": "logs.outcome_column",
    "user_column": "logs.user_column",
    "outcomes_key": "outcomes.key",
}


def import_params() -> dict[str, Param]:
    """Params of one import; an empty field keeps the value of the configuration."""
    common = run_params()
    return {
        "files": Param(
            type="array",
            items={"type": "string", "minLength": 1},
            minItems=1,
            title="Log files",
            description="JSONL, JSON or Parquet, each also gzipped, one path per line; all of them or none.",
        ),
        "format": Param(
            "auto",
            type="string",
            enum=[*get_args(LogFormatName)],
            title="Format",
            description="auto: each file's format is found out, or the candidates are named.",
        ),
        "config": common["config"],
        "experiment": common["experiment"],
        "outcome_column": _column(
            "Outcome column", "A number in [0, 1]; a dotted name looks inside objects."
        ),
        "user_column": _column("User column", "Who spoke with the assistant; needed to forget a user."),
        "outcomes": Param(
            [],
            type="array",
            items={"type": "string", "minLength": 1},
            title="Outcomes that came later",
            description="JSONL, CSV or Parquet, a key and an outcome in each row; one path per line.",
        ),
        "outcomes_key": _column("Key of the outcomes", "id, conversation_id, or a fact: metadata.order_id."),
    }


def import_overrides(params: Mapping[str, Any]) -> dict[str, Any]:  # Any: JSON values
    """Configuration values by dotted key; relative files start at the checkout, wherever Airflow runs."""
    given = {key: params[name] for name, key in KEYS.items() if params[name] is not None}
    files = {"logs.paths": params["files"], "outcomes.paths": params["outcomes"]}
    return {**given, **{key: [str(ROOT / file) for file in named] for key, named in files.items() if named}}


def run(name: str) -> dict[str, Any]:  # Any: JSON values
    """Run one stage of iteration 0; when it began, how long it worked (imports apart), and its result."""
    from tasks import pipeline

    preload.load()
    params = get_current_context()["params"]
    began, clock = time.time(), time.perf_counter()
    result = pipeline.run_stage(name, config_path(params), overrides=import_overrides(params), iteration=0)
    return {"began": began, "seconds": time.perf_counter() - clock, "result": result}


def _column(title: str, description: str) -> Param:
    return Param(
        None, type=["null", "string"], title=title, description=f"{description} Empty: as configured."
    )
