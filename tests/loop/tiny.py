"""A loop small enough for a test: real environment, engine, trainer and lake; nothing is replaced."""

from pathlib import Path
from typing import Any

from tasks.config import Config, load

CONFIG_FILE = Path(__file__).parents[2] / "configs" / "sales_small.toml"
TINY: dict[str, Any] = {  # Any: JSON values by dotted key
    "experiment": "tiny",
    "logs.scripted_conversations": 160,
    "logs.scripted_requests": 160,
    "warm_start.steps": 110,
    "warm_start.min_copy_accuracy": 0.0,
    "warm_start.min_start_success": 0.0,
    "collect.conversations": 96,
    "curate.heldout_permille": 300,
    "collect.shards": 2,
    "reward.first_epochs": 1,
    "reward.min_heldout_auc": 0.0,
    "train.epochs": 1,
    "train.minibatch": 16,
    "evaluate.unseen_scenarios": 24,
    "evaluate.seen_scenarios": 8,
    "evaluate.bootstrap": 200,
}


def tiny_config(lake: Path | str, **changes: Any) -> Config:  # Any: JSON values
    """The tiny experiment in a lake of its own; `changes` use double underscores for dots."""
    dotted = {key.replace("__", "."): value for key, value in changes.items()}
    return load(CONFIG_FILE, overrides={**TINY, "lake.root": str(lake), **dotted})


def tiny_options(lake: Path | str) -> list[str]:
    """The same on the command line."""
    named = {key: value for key, value in TINY.items() if key != "experiment"}
    settings = [part for key, value in named.items() for part in ("--set", f"{key}={value}")]
    return ["--config", str(CONFIG_FILE), "--experiment", "tiny", "--lake", str(lake), *settings]
