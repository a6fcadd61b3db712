"""The shards of collect on the machines of a Ray cluster: the only file of the rollouts that knows Ray.

A worker is an actor, as a Ray task that holds a GPU gets a fresh process each time and would load the weights
for every shard. Actors die with this process, their driver: none is left behind.
"""

import logging
import os
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tasks.attempts import Attempt, is_done
from tasks.cluster import variables
from tasks.config import Config, ConfigError
from tasks.config_ray import Rollouts
from tasks.context import Context
from tasks.plain_text import one_line
from tasks.shard_maker import ShardMaker
from tasks.shard_work import Cause, Driver, Ended, unfinished

LOOK_S = 1.0  # between looks at the deadlines while no worker answers
REACH_S = 10.0
Actor = Any  # Any: Ray's handle, whose methods are those of ShardMaker with `remote` behind them


def collect_shards(
    context: Context, rollouts: Rollouts, *, on_progress: Callable[[int, int], None]
) -> Mapping[str, int]:
    """Have all missing shards made by the cluster; what went wrong on the way, counted by cause.

    Raises ConfigError when no cluster can be reached, and ShardsUnfinished.
    """

    def is_there(shard: int) -> bool:
        return is_done(Attempt(context, "collect", shard))

    shards = context.config.collect.shards
    missing = unfinished(shards, is_there)
    if not missing:
        return {}
    with ray_workers(context.config, context.iteration, rollouts=rollouts, most=len(missing)) as workers:
        driver = Driver(workers, is_there, rollouts.tries, _say)
        _say(f"collect: {len(missing)} of {shards} shards to make")
        driver.finish(missing, on_left=lambda left: on_progress(shards - left, shards))
    return driver.figures()


@contextmanager
def ray_workers(
    config: Config, iteration: int, *, rollouts: Rollouts, most: int
) -> Generator["RayWorkers", None, None]:
    """Up to `most` workers on the cluster that this machine belongs to; all are gone at the end."""
    ray = _connected()
    actor = ray.remote(ShardMaker).options(**_options(config, rollouts))
    workers = RayWorkers(
        ray, rollouts, min(most, rollouts.workers or most), lambda: actor.remote(config, iteration)
    )
    try:
        yield workers
    finally:
        workers.close()
        ray.shutdown()


@dataclass(frozen=True, slots=True)
class _Call:
    """What an actor is doing: a shard until `until_s`, or starting (None)."""

    actor: Actor
    shard: int | None
    where: str
    until_s: float


@dataclass(slots=True)
class RayWorkers:
    """Actors with a queue of shards. One that failed or was lost is not used again, but replaced."""

    ray: Any  # Any: the module
    rollouts: Rollouts
    limit: int
    start: Callable[[], Actor]
    _waiting: deque[int] = field(default_factory=deque)
    _idle: list[tuple[Actor, str]] = field(default_factory=list)
    _calls: dict[Any, _Call] = field(default_factory=dict)  # Any: Ray's reference to an answer
    _alone_since_s: float = field(default_factory=time.monotonic)

    def submit(self, shard: int) -> None:
        """Queue it, with a worker more where that is allowed."""
        self._waiting.append(shard)
        self._hand_out()

    def wait(self) -> list[Ended]:
        """Answers, losses and deadlines, as soon as there are any."""
        while True:
            ready, _ = self.ray.wait(list(self._calls), timeout=LOOK_S)
            ended = [found for ref in ready if (found := self._answer(ref)) is not None]
            ended += self._overdue() + self._without_room()
            self._hand_out()
            if ended:
                return ended

    def close(self) -> None:
        """Kill every worker."""
        for actor in [call.actor for call in self._calls.values()] + [actor for actor, _ in self._idle]:
            self.ray.kill(actor)

    def _hand_out(self) -> None:
        while self._waiting and self._idle:
            actor, where = self._idle.pop()
            shard = self._waiting.popleft()
            until_s = time.monotonic() + self.rollouts.shard_timeout_s
            self._calls[actor.make.remote(shard)] = _Call(actor, shard, where, until_s)
        starting = sum(call.shard is None for call in self._calls.values())
        room = self.limit - len(self._calls) - len(self._idle)
        for _ in range(min(room, len(self._waiting) - starting)):
            actor = self.start()
            self._calls[actor.where.remote()] = _Call(actor, None, "", float("inf"))

    def _answer(self, ref: Any) -> Ended | None:  # Any: as in _calls
        call = self._calls.pop(ref)
        try:
            said = self.ray.get(ref)
        except self.ray.exceptions.RayError as lost:
            self.ray.kill(call.actor)  # it may live where only the way to it is lost
            cause = Cause.UNSTARTED if call.shard is None else Cause.LOST
            return Ended(call.shard, cause, one_line(str(lost))[:400], call.where)
        self._alone_since_s = time.monotonic()
        if call.shard is None:
            _say(f"collect: a worker is ready ({said})")
            self._idle.append((call.actor, said))
            return None
        if said.cause is Cause.FAILED:
            self.ray.kill(call.actor)  # a GPU after an error is not trusted
        else:
            self._idle.append((call.actor, call.where))
        return said

    def _overdue(self) -> list[Ended]:
        now_s = time.monotonic()
        late = {ref: call for ref, call in self._calls.items() if call.until_s < now_s}
        for ref, call in late.items():
            self.ray.kill(call.actor)
            del self._calls[ref]
        limit = f"ray.rollouts.shard_timeout_s is {self.rollouts.shard_timeout_s:g}"
        return [Ended(call.shard, Cause.OVERDUE, limit, call.where) for call in late.values()]

    def _without_room(self) -> list[Ended]:
        now_s = time.monotonic()
        if self._idle or any(call.shard is not None for call in self._calls.values()):
            self._alone_since_s = now_s
        if now_s - self._alone_since_s < self.rollouts.start_deadline_s:
            return []
        self._alone_since_s = now_s
        wanted = f"a worker holds {_held(self.rollouts)}"
        free = self.ray.available_resources()
        return [Ended(None, Cause.NO_ROOM, f"{wanted}; free are {_counts(free)}")]


def _connected() -> Any:  # Any: the module
    """Ray, as part of the cluster that this machine belongs to, or that RAY_ADDRESS names."""
    remedy = (
        "name collect in ray.stages, which makes it a job there; or set RAY_ADDRESS; or leave out "
        "[ray.rollouts], which makes the shards here"
    )
    try:
        _reach(os.environ.get("RAY_ADDRESS") or "auto")
        import ray

        ray.init(address="auto", log_to_driver=True, logging_level=logging.WARNING, include_dashboard=False)
    except ModuleNotFoundError:
        raise ConfigError(
            f"ray.rollouts: Ray is not installed here: install the extra gpu; or {remedy}"
        ) from None
    except (OSError, RuntimeError, ValueError) as problem:
        said = one_line(str(problem))[:300]
        raise ConfigError(
            f"ray.rollouts: no Ray cluster can be joined from here ({said}): {remedy}"
        ) from None
    return ray


def _reach(address: str) -> None:
    """Raise OSError or ValueError where nobody listens, which Ray itself would find out after minutes."""
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    if "/" in address or not port.isdigit():
        raise ValueError(f"RAY_ADDRESS {address!r} is not the host:port of a head")
    with socket.create_connection((host, int(port)), timeout=REACH_S):
        return


def _options(config: Config, rollouts: Rollouts) -> dict[str, Any]:  # Any: what Ray takes
    """How an actor is placed, and its surroundings; a lost one is ours to replace."""
    return {
        "num_cpus": rollouts.num_cpus,
        "num_gpus": rollouts.num_gpus,
        "resources": dict(rollouts.resources),
        "max_restarts": 0,
        "max_task_retries": 0,
        "scheduling_strategy": "SPREAD",
        "runtime_env": {"env_vars": variables(config.ray)},
    }


def _held(rollouts: Rollouts) -> str:
    wanted = {"CPU": rollouts.num_cpus, "GPU": rollouts.num_gpus, **rollouts.resources}
    return _counts({name: share for name, share in wanted.items() if share > 0})


def _counts(resources: Mapping[str, float]) -> str:
    """Resources as people count them: neither bytes nor the names of machines."""
    shown = {
        name: share for name, share in sorted(resources.items()) if "memory" not in name and ":" not in name
    }
    return ", ".join(f"{name} {share:g}" for name, share in shown.items()) or "none"


def _say(line: str) -> None:
    """Into the job's log at once."""
    print(line, file=sys.stderr, flush=True)
