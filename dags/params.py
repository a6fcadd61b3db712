"""What a person may choose when starting a run: JSON schemas that the web form shows and Airflow enforces."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from airflow.sdk import Param

from tasks.config import ADVANTAGES, EXPERIMENT_PATTERN, Algorithm, Collect

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = sorted(f"configs/{path.name}" for path in (ROOT / "configs").glob("*.toml"))
DEFAULT_CONFIG = "configs/sales_small.toml"
GROUP = Collect.model_fields["group_size"].default
# Param -> dotted key of the configuration that it replaces when it is given.
KEYS = {
    "experiment": "experiment",
    "algorithm": "credit.algorithm",
    "advantage": "credit.advantage",
    "conversations": "collect.conversations",
    "seed": "seed",
}


def run_params(*, config: str = DEFAULT_CONFIG) -> dict[str, Param]:
    """Params of one run; an empty field keeps the value of the configuration."""
    return {
        "config": Param(
            config,
            type="string",
            pattern=r"^[^\n]+\.toml$",
            examples=SHIPPED,
            title="Configuration",
            description="A TOML file: one of the shipped ones, or the path of your own.",
        ),
        "experiment": Param(
            None,
            type=["null", "string"],
            pattern=EXPERIMENT_PATTERN,
            title="Experiment",
            description="1 to 63 of a-z, 0-9, - and _. Empty: the name in the configuration.",
        ),
        **_learning_params(),
        "iterations": Param(
            1,
            type="integer",
            minimum=1,
            maximum=100,
            title="Iterations",
            description="The budget: each run does one iteration and starts the next while any are left.",
        ),
        "conversations": Param(
            None,
            type=["null", "integer"],
            minimum=GROUP,
            maximum=1_000_000,
            multipleOf=GROUP,
            title="Conversations",
            description=f"Rollouts per iteration, in whole groups of {GROUP}. Empty: as configured.",
        ),
        "seed": Param(
            None,
            type=["null", "integer"],
            minimum=0,
            maximum=2**31 - 1,
            title="Seed",
            description="Root of every random choice. Empty: as configured.",
        ),
        "require_approval": Param(
            False,
            type="boolean",
            title="Require approval",
            description="Wait for a person before the decision about the candidate policy.",
        ),
    }


def _learning_params() -> dict[str, Param]:
    return {
        "algorithm": Param(
            None,
            type=["null", "string"],
            enum=[None, *(algorithm.value for algorithm in Algorithm)],
            values_display={"null": "as configured"},
            title="Algorithm",
            description="The turn reward that trains the policy. Empty: as configured.",
        ),
        "advantage": Param(
            None,
            type=["null", "string"],
            enum=[None, *ADVANTAGES],
            values_display={"null": "as configured"},
            title="Advantage",
            description="The estimator that makes advantages of turn rewards. Empty: as configured.",
        ),
    }


def config_path(params: Mapping[str, Any]) -> str:  # Any: JSON values
    """The configuration's path; a relative one starts at the checkout, wherever Airflow runs."""
    return str(ROOT / params["config"])


def overrides(params: Mapping[str, Any]) -> dict[str, Any]:  # Any: JSON values
    """Configuration values by dotted key, for the Params that are given."""
    return {key: params[name] for name, key in KEYS.items() if params[name] is not None}
