"""A cluster that lives for one run: made before the stages that may need it, removed after them.

ITPO_RAY_HOOKS in Airflow's environment picks how, when the DAG is read: `none` adds no task at all,
`commands` runs what `[ray] up` and `down` of the run's configuration say.
"""

import logging
import os
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from airflow.sdk import BaseOperator, XComArg, get_current_context, setup, teardown
from airflow.sdk.definitions.mappedoperator import MappedOperator

from dags import ray_jobs
from dags.params import config_path, overrides
from dags.ray_jobs import RayHead, RayTrouble

if TYPE_CHECKING:  # the settings come from tasks.cluster, which is too heavy for a DAG file
    from tasks.config_ray import Ray

LOG = logging.getLogger(__name__)
Commands = Sequence[Sequence[str]]
POLL_S = 2.0


class ClusterFailed(RuntimeError):
    """The cluster could not be made or removed; the message ends with what the command said."""


class ClusterHooks(Protocol):
    """What makes and removes a cluster. Both may be called again after they succeeded."""

    def up(self) -> None:
        """Return once the cluster takes jobs."""
        ...

    def down(self) -> None:
        """Return once nothing of it costs anything."""
        ...


class Standing:
    """The cluster stands by itself: nothing is done."""

    def up(self) -> None:
        """Nothing."""

    def down(self) -> None:
        """Nothing."""


@dataclass(frozen=True, slots=True)
class ByCommands:
    """Runs command lines, then waits for the head to answer."""

    head: RayHead
    up_commands: Commands
    down_commands: Commands
    timeout_s: float

    def up(self) -> None:
        """Each command in order, then the head."""
        deadline = time.monotonic() + self.timeout_s
        for command in self.up_commands:
            _run(command, timeout_s=deadline - time.monotonic())
        _wait_for(self.head, deadline=deadline)

    def down(self) -> None:
        """Each command, the later ones also when an earlier one failed."""
        failures = []
        for command in self.down_commands:
            try:
                _run(command, timeout_s=self.timeout_s)
            except ClusterFailed as failure:
                failures.append(str(failure))
        if failures:
            raise ClusterFailed("; ".join(failures))


def _standing(settings: "Ray") -> ClusterHooks:
    return Standing()


def _by_commands(settings: "Ray") -> ClusterHooks:
    return ByCommands(RayHead(settings.address), settings.up, settings.down, settings.up_timeout_s)


HOOKS: dict[str, Callable[["Ray"], ClusterHooks]] = {"none": _standing, "commands": _by_commands}


def around(first: XComArg, last: Sequence[BaseOperator | MappedOperator]) -> None:
    """Make the cluster before the first task and remove it behind the last ones, unless it stands."""
    name = os.environ.get("ITPO_RAY_HOOKS", "none")
    if name not in HOOKS:
        raise ValueError(f"ITPO_RAY_HOOKS {name!r}: use one of {', '.join(HOOKS)}")
    if name == "none":
        return
    made = setup(cluster_up)(name)
    made >> first  # not before the stages themselves: behind a set-up Airflow takes no other trigger rule
    last >> teardown(cluster_down)(name).as_teardown(setups=made)


def cluster_up(name: str) -> None:
    """Make the cluster, where the run's configuration has a stage on one."""
    settings = _settings()
    if settings.stages:
        HOOKS[name](settings).up()


def cluster_down(name: str) -> None:
    """Remove it, whatever became of the stages."""
    settings = _settings()
    if settings.stages:
        HOOKS[name](settings).down()


def _settings() -> "Ray":
    from tasks import cluster

    params = get_current_context()["params"]
    return cluster.settings_of(config_path(params), overrides(params))


def _run(command: Sequence[str], *, timeout_s: float) -> None:
    LOG.info("running %s", " ".join(command))
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=max(timeout_s, 0.1)
        )
    except (OSError, subprocess.TimeoutExpired) as problem:
        raise ClusterFailed(f"{command[0]}: {problem}") from problem
    if done.returncode != 0:
        raise ClusterFailed(f"{' '.join(command)} ended with {done.returncode}: {done.stderr.strip()[-500:]}")


def _wait_for(head: RayHead, *, deadline: float) -> None:
    while True:
        try:
            LOG.info("the head answers: Ray %s", head.ask(ray_jobs.version()))
            return
        except RayTrouble as trouble:
            if time.monotonic() + POLL_S > deadline:
                raise ClusterFailed(f"the commands were run, but {trouble}") from trouble
        time.sleep(POLL_S)
