"""A small export of somebody's help desk, in words of no built-in domain: talks of tasks, some solved."""

import json
from pathlib import Path
from typing import Any

from tasks.config import Config, load
from tests.log_shapes import assistant, openai_row, user

CONFIG_FILE = Path(__file__).parents[1] / "configs" / "from_foreign_logs.toml"
ROOMS = ("kitchen", "cellar", "attic", "garden", "garage", "hallway", "nursery", "library", "pantry", "loft")
TINY: dict[str, Any] = {  # Any: JSON values by dotted key
    "experiment": "desk",
    "logs.format": "openai",
    "model.max_context_tokens": 256,
    "curate.heldout_permille": 300,
    "offline.vocabulary_size": 400,
    "offline.piece_tokens": 64,
    "offline.epochs": 1,
    "warm_start.steps": 12,
    "warm_start.batch": 4,
    "reward.first_epochs": 1,
    "reward.min_heldout_auc": 0.0,
    "evaluate.bootstrap": 100,
}


def talk(room: str, trial: int, *, solved: bool) -> dict[str, Any]:  # Any: JSON values
    """One talk of a task; who solves it asks where the lamp hangs."""
    asked = "Where exactly does the lamp hang?" if solved else "Have you tried to restart it?"
    ended = f"Please turn fuse {trial + 1} of the {room} back on." if solved else "I am sorry, goodbye."
    said = [user(f"The light in my {room} is out."), assistant(asked), user("Above the door, nothing works.")]
    named = {"id": f"{room}-{trial}", "metadata": {"scenario_id": f"light-{room}"}}
    return openai_row(*said, assistant(ended), outcome=float(solved), **named)


def write_log(folder: Path, *, trials: int = 4) -> Path:
    """Every task a few times, every other trial solved."""
    rows = [talk(room, trial, solved=trial % 2 == 0) for room in ROOMS for trial in range(trials)]
    path = folder / "desk.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def foreign_config(folder: Path, log: Path, **changes: Any) -> Config:  # Any: JSON values
    """The shipped configuration, small, on this file; `changes` use double underscores for dots."""
    dotted = {key.replace("__", "."): value for key, value in changes.items()}
    own = {"logs.paths": [str(log)], "lake.root": str(folder / "lake")}
    return load(CONFIG_FILE, overrides={**TINY, **own, **dotted})
