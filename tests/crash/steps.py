"""The smallest loop that runs every stage: its configuration, its steps, and one step as a function."""

import gc
import importlib
import os
import pkgutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from storage import registry
from storage.errors import ClosedIteration
from storage.listing import list_commits
from storage.manifests import decode_shard
from storage.objects import LakeStore
from storage.verification import verify
from tasks import pipeline
from tasks.config import Config, load
from tests.crash.gates import Gate, GatedContext

CONFIG_FILE = Path(__file__).parents[2] / "configs" / "sales_small.toml"
EXPERIMENT = "tiny"
SMALL: dict[str, Any] = {  # Any: JSON values by dotted key
    "experiment": EXPERIMENT,
    "logs.scripted_conversations": 24,
    "logs.scripted_requests": 8,
    "warm_start.steps": 4,
    "warm_start.batch": 8,
    "warm_start.min_copy_accuracy": 0.0,
    "warm_start.min_start_success": 0.0,
    "sampling.max_new_tokens": 8,
    "collect.conversations": 16,
    "collect.group_size": 4,
    "collect.shards": 2,
    "collect.failure_budget": 1.0,
    "curate.heldout_permille": 300,
    "reward.first_epochs": 1,
    "reward.min_heldout_auc": 0.0,
    "reward.replay_iterations": 0,
    "train.epochs": 1,
    "train.minibatch": 8,
    "evaluate.unseen_scenarios": 4,
    "evaluate.seen_scenarios": 4,
    "evaluate.bootstrap": 50,
}
# This estimator asks for a critic, so that `fit_q` is a stage of the loop.
WITH_Q: dict[str, Any] = {"credit.advantage": "ppo", "q.first_epochs": 1}  # Any: as above
WITHOUT_Q: dict[str, Any] = {"credit.advantage": "grpo"}  # Any: as above
OF_THE_CLUSTER = frozenset({"deepspeed", "openrlhf", "vllm"})


@dataclass(frozen=True, slots=True)
class Step:
    """A stage of an iteration, one shard of it, or `plan`, which claims the iteration for a run."""

    iteration: int
    stage: str
    shard: int | None = None

    @property
    def name(self) -> str:
        """How it is printed, and its folder: `1-collect-0`."""
        return f"{self.iteration}-{self.stage}" + ("" if self.shard is None else f"-{self.shard}")


@dataclass(frozen=True, slots=True)
class Seen:
    """What a reader finds: digest and rows of every commit, the data of every shard, and the registry."""

    digests: dict[str, str]
    shards: dict[str, str]
    rows: dict[str, list[tuple[str, int]]]
    events: list[tuple[str, str, str, str]]


def loop_config(lake: str, settings: Mapping[str, Any] | None = None) -> Config:  # Any: JSON values
    """The small experiment in this lake, with a critic, and with these settings by dotted key."""
    return load(CONFIG_FILE, overrides={**SMALL, **WITH_Q, "lake.root": lake, **(settings or {})})


def steps_of(iteration: int, config: Config) -> list[Step]:
    """Every step of an iteration, in order."""
    stages = pipeline.stages_of(iteration, config)
    shards = range(config.collect.shards)
    parts = {"collect": [Step(iteration, "collect", shard) for shard in shards]}
    steps = [step for stage in stages for step in (*parts.get(stage, ()), Step(iteration, stage))]
    return [Step(iteration, "plan"), *steps]


def run_step(step: Step, config: Config, *, gate: Gate, attempt: str) -> dict[str, Any]:
    """Run one step as the scheduler's task would; `resumed` and what it made (Any: both as they are)."""
    context = GatedContext(config, step.iteration, attempt, gate)
    if step.stage == "plan":
        claimed = registry.claim_run(
            context.store, context.experiment, run_id=f"{context.experiment}-{step.iteration:04d}"
        )
        return {"resumed": False, "made": str(claimed)}
    result = pipeline.run_in(context, step.stage, shard=step.shard)
    return {"resumed": result["resumed"], "made": f"{result['commit']} {result['digest']}"}


def look(store: LakeStore, experiment: str = EXPERIMENT) -> Seen:
    """What a reader finds now; raises whatever is wrong with it."""
    found = list(list_commits(store, experiment))
    return Seen(
        digests={commit.key.text: commit.digest for commit in found},
        shards={
            place: _data_of(store, place) for place in store.list(f"{experiment}/") if "/shard-" in place
        },
        rows={commit.key.text: [(entry.table, entry.rows) for entry in commit.files] for commit in found},
        events=[
            (event.event_id, event.action, event.version, event.digest)
            for event in registry.events(store, experiment)
        ],
    )


def _data_of(store: LakeStore, place: str) -> str:
    try:
        files = decode_shard(store.get(place), place=place).files
    except ClosedIteration:
        return "closed"
    return " ".join(f"{entry.table} {entry.rows} {entry.data_digest}" for entry in files)


def problems_of(store: LakeStore, keys: Sequence[str], experiment: str = EXPERIMENT) -> list[str]:
    """What `verify` finds in the commits of these names."""
    return [
        problem
        for commit in list_commits(store, experiment)
        if commit.key.text in keys
        for problem in verify(store, commit)
    ]


def _import_if_here(name: str) -> None:
    """Adapters of what only a cluster has are left out."""
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] not in OF_THE_CLUSTER:
            raise


def import_everything() -> None:
    """All that a stage imports, so that forked children find it there."""
    import itpo_core
    import tasks
    from tasks import preload

    preload.load()
    for package in (itpo_core, tasks):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__"):
                _import_if_here(module.name)
    gc.freeze()  # what is never collected is never copied for a child


def use_scratch(folder: Path) -> None:
    """Every file that this process writes outside of the lake lies in the folder."""
    os.environ["ITPO_WORK"] = str(folder / "work")
    os.environ["ITPO_REPORTS"] = str(folder / "reports")
    (folder / "tmp").mkdir(parents=True, exist_ok=True)
    tempfile.tempdir = str(folder / "tmp")
