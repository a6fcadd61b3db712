"""A stage as a job of a Ray cluster: what to run there, whether it is done, and where its log stays."""

import hashlib
import json
import os
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from storage import commits, run_logs
from storage.commits import Commit
from storage.paths import repository_root
from tasks import config as configuration
from tasks import threads
from tasks.attempts import KINDS
from tasks.config import Config
from tasks.config_engine import engine_part
from tasks.config_parts import Section
from tasks.config_ray import Ray
from tasks.context import Context, lake_address

Overrides = Mapping[str, Any]  # Any: JSON values by dotted key, checked by the configuration


@dataclass(frozen=True, slots=True)
class StageJob:
    """One stage of one iteration as a job. `owner` tells it from another's of the same name."""

    settings: Ray
    address: str
    prefix: str
    entrypoint: str
    owner: Mapping[str, str]
    env: Mapping[str, str] = field(repr=False)

    @property
    def resources(self) -> dict[str, float]:
        """What the job waits for before it starts, by Ray's names."""
        wanted = {"CPU": self.settings.num_cpus, "GPU": self.settings.num_gpus, **self.settings.resources}
        return {name: share for name, share in wanted.items() if share > 0}


def job_of(stage: str, config_path: str, *, overrides: Overrides, iteration: int) -> StageJob | None:
    """The job of a stage, None where the configuration has it run in the scheduler's own task."""
    config = configuration.load(config_path, overrides=dict(overrides))
    if stage not in config.ray.stages:
        return None
    return StageJob(
        settings=config.ray,
        address=head_address(config),
        prefix=f"itpo-{config.experiment}-{iteration:04d}-{stage}-{config.digest[:8]}",
        entrypoint=shlex.join(_command(stage, config, config_path, overrides=overrides, iteration=iteration)),
        owner={
            "itpo.experiment": config.experiment,
            "itpo.config": config.digest,
            "itpo.lake": hashlib.sha256(lake_address(config).encode()).hexdigest()[:16],
        },
        env=variables(config.ray),
    )


def settings_of(config_path: str, overrides: Overrides) -> Ray:
    """The section on Ray, with the address that is really asked."""
    config = configuration.load(config_path, overrides=dict(overrides))
    return config.ray.model_copy(update={"address": head_address(config)})


def head_address(config: Config) -> str:
    """ITPO_RAY_ADDRESS when set, else the configured address."""
    return os.environ.get("ITPO_RAY_ADDRESS", config.ray.address)


def committed(
    stage: str, config_path: str, *, overrides: Overrides, iteration: int
) -> dict[str, Any] | None:  # Any: JSON values
    """The stage's commit as a stage reports it, None while there is none.

    Raises ConflictingCommit where it was made under another configuration.
    """
    context = Context(configuration.load(config_path, overrides=dict(overrides)), iteration)
    commit = context.find(KINDS[stage])
    if commit is None:
        return None
    sections = {name for name, value in dict(context.config).items() if isinstance(value, Section)}
    names = [name for name in commit.inputs if name in sections]
    wanted = {**commit.inputs, **context.config.section(*names), **_engine_of(commit, context.config)}
    commits.check_inputs(commit, parents=commit.parents, inputs=wanted)
    return {
        "stage": stage,
        "commit": commit.key.text,
        "digest": commit.digest,
        "resumed": True,
        "figures": {},
    }


def _engine_of(commit: Commit, config: Config) -> dict[str, str]:
    """What a commit was made under of [engine], of which a stage takes only what decides its rows."""
    if "engine" not in commit.inputs:
        return {}
    return engine_part(config.engine, frozenset(json.loads(commit.inputs["engine"])))


def keep_log(config_path: str, overrides: Overrides, *, name: str, text: str) -> None:
    """Keep a job's whole log in the lake, once; a job without a word is kept by its ending."""
    context = Context(configuration.load(config_path, overrides=dict(overrides)), 0)
    run_logs.keep(context.store, context.experiment, name=name, lines=text.splitlines())


def logs_kept(config_path: str, overrides: Overrides, *, prefix: str) -> list[str]:
    """Names of the kept logs that start so: jobs that ended, whatever the head remembers."""
    context = Context(configuration.load(config_path, overrides=dict(overrides)), 0)
    return run_logs.names(context.store, context.experiment, prefix=prefix)


def _command(
    stage: str, config: Config, config_path: str, *, overrides: Overrides, iteration: int
) -> list[str]:
    interpreter = config.ray.interpreter or sys.executable
    there = _on_cluster(Path(config_path), config.ray)
    settings = [f"{key}={json.dumps(value)}" for key, value in sorted(overrides.items())]
    return [
        interpreter, "-m", "tasks", stage.replace("_", "-"),
        "--config", str(there), "--iteration", str(iteration),
        *(part for setting in settings for part in ("--set", setting)),
    ]  # fmt: skip


def _on_cluster(path: Path, ray: Ray) -> Path:
    """A file of the checkout lies in the cluster's checkout; any other where it lies here."""
    here = path.absolute()
    root = repository_root()
    if ray.working_dir is None or not here.is_relative_to(root):
        return here
    return Path(ray.working_dir) / here.relative_to(root)


def variables(ray: Ray) -> dict[str, str]:
    """The surroundings of a process on the cluster: where the checkout is, and what is handed on.

    Threads are said, too: Ray gives a process as many as it has CPUs, and other threads are other bits.
    """
    given = {name: os.environ[name] for name in ray.env if name in os.environ}
    limits = {name: os.environ.get(name, value) for name, value in threads.DEFAULTS.items()}
    return {**limits, "PYTHONPATH": ray.working_dir or str(repository_root()), **given}
