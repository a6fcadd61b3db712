"""The workers of a cluster with a Ray of lists: who gets what, who is killed, and what is told."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from tasks.config import ConfigError, load
from tasks.config_ray import Rollouts
from tasks.ray_rollouts import RayWorkers, _options, ray_workers
from tasks.shard_work import Cause, Ended
from tests.builders import CONFIG_FILE


class RayError(Exception):
    """What the fake raises for a lost actor."""


@dataclass(frozen=True, slots=True)
class Exceptions:
    RayError: type[Exception] = RayError


@dataclass(frozen=True, slots=True)
class Remote:
    """A method of an actor: called, it gives a reference."""

    call: Callable[..., object]

    def remote(self, *given: object) -> object:
        return self.call(*given)


@dataclass(slots=True)
class FakeActor:
    """Answers `make` by what is listed, well where nothing is."""

    name: str
    answers: deque[object]
    ray: "FakeRay"
    at_start: object = None

    @property
    def where(self) -> Remote:
        return Remote(lambda: self.ray.promise(self.at_start or self.name))

    @property
    def make(self) -> Remote:
        return Remote(self._make)

    def _make(self, shard: int) -> object:
        self.ray.made.append((self.name, shard))
        answer = self.answers.popleft() if self.answers else None
        return self.ray.promise(
            Ended(shard, answer, "", self.name) if isinstance(answer, Cause | None) else answer
        )


@dataclass(slots=True)
class FakeRay:
    """References are answered in the order in which they were made; `never` is not answered."""

    promises: dict[int, object] = field(default_factory=dict)
    made: list[tuple[str, int]] = field(default_factory=list)
    killed: list[str] = field(default_factory=list)
    started: list[FakeActor] = field(default_factory=list)
    fates: dict[int, deque[object]] = field(default_factory=dict)
    exceptions: Exceptions = Exceptions()

    def promise(self, answer: object) -> int:
        self.promises[len(self.promises)] = answer
        return len(self.promises) - 1

    def wait(self, refs: list[int], timeout: float) -> tuple[list[int], list[int]]:
        ready = [ref for ref in sorted(refs) if self.promises[ref] != "never"][:1]
        return ready, [ref for ref in refs if ref not in ready]

    def get(self, ref: int) -> object:
        answer = self.promises[ref]
        if isinstance(answer, RayError):
            raise answer
        return answer

    def kill(self, actor: FakeActor) -> None:
        self.killed.append(actor.name)

    def available_resources(self) -> dict[str, float]:
        return {"CPU": 2.0, "memory": 9e9, "node:127.0.0.1": 1.0}

    def start(self) -> FakeActor:
        number = len(self.started)
        self.started.append(FakeActor(f"w{number}", self.fates.get(number, deque()), self))
        return self.started[-1]


def workers(ray: FakeRay, limit: int = 2, **settings: Any) -> RayWorkers:
    return RayWorkers(ray, Rollouts.model_validate(settings), limit, ray.start)


def answers(crew: RayWorkers, count: int) -> list[tuple[int | None, Cause | None]]:
    found: list[Ended] = []
    while len(found) < count:
        found += crew.wait()
    return [(ended.shard, ended.cause) for ended in found]


def test_a_worker_takes_one_shard_after_another_and_there_are_never_more_than_allowed() -> None:
    ray = FakeRay()
    crew = workers(ray, limit=2)

    for shard in range(5):
        crew.submit(shard)

    assert answers(crew, 5) == [(shard, None) for shard in range(5)]
    assert [actor.name for actor in ray.started] == ["w0", "w1"]
    assert ray.killed == []


def test_there_are_no_more_workers_than_shards() -> None:
    ray = FakeRay()

    workers(ray, limit=8).submit(0)

    assert len(ray.started) == 1


def test_a_lost_worker_is_replaced_and_its_shard_told() -> None:
    ray = FakeRay(fates={0: deque([RayError("node died")])})
    crew = workers(ray, limit=1)
    crew.submit(7)

    lost = answers(crew, 1)
    crew.submit(7)

    assert lost == [(7, Cause.LOST)]
    assert answers(crew, 1) == [(7, None)]
    assert ray.made == [("w0", 7), ("w1", 7)]
    assert ray.killed == ["w0"]


def test_a_worker_after_an_error_is_not_used_again() -> None:
    ray = FakeRay(fates={0: deque([Cause.FAILED])})
    crew = workers(ray, limit=1)
    crew.submit(0)
    crew.submit(1)

    assert answers(crew, 2) == [(0, Cause.FAILED), (1, None)]
    assert ray.made == [("w0", 0), ("w1", 1)]
    assert ray.killed == ["w0"]


def test_a_worker_that_dies_while_it_starts_costs_no_shard_a_try() -> None:
    ray = FakeRay()
    crew = workers(ray, limit=1)
    crew.start = lambda: FakeActor("w9", deque(), ray, at_start=RayError("gone"))
    crew.submit(0)
    crew.start = ray.start

    assert answers(crew, 2) == [(None, Cause.UNSTARTED), (0, None)]


def test_a_shard_that_takes_too_long_is_taken_away() -> None:
    ray = FakeRay(fates={0: deque(["never"])})
    crew = workers(ray, limit=1, shard_timeout_s=1e-9)
    crew.submit(0)

    assert answers(crew, 1) == [(0, Cause.OVERDUE)]
    assert ray.killed == ["w0"]


def test_a_cluster_without_room_is_told_with_what_it_lacks() -> None:
    ray = FakeRay()
    crew = workers(ray, num_gpus=1, start_deadline_s=1e-9)
    crew.start = lambda: FakeActor("w0", deque(), ray, at_start="never")
    crew.submit(0)

    (ended,) = crew.wait()

    assert ended == Ended(None, Cause.NO_ROOM, "a worker holds CPU 1, GPU 1; free are CPU 2")


def test_at_the_end_every_worker_is_killed() -> None:
    ray = FakeRay(fates={1: deque(["never"])})
    crew = workers(ray, limit=2)
    crew.submit(0)
    crew.submit(1)
    answers(crew, 1)

    crew.close()

    assert sorted(ray.killed) == ["w0", "w1"]


def test_a_worker_holds_what_is_configured_and_computes_with_as_many_threads_as_here(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    config = load(
        CONFIG_FILE, overrides={"ray.rollouts": {"num_cpus": 4, "num_gpus": 1, "resources": {"a": 1}}}
    )
    assert config.ray.rollouts is not None

    options = _options(config, config.ray.rollouts)

    assert (options["num_cpus"], options["num_gpus"], options["resources"]) == (4.0, 1.0, {"a": 1.0})
    assert options["max_restarts"] == 0
    assert options["runtime_env"]["env_vars"]["OMP_NUM_THREADS"] == "1"


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("127.0.0.1:1", "Connection refused"),
        ("http://127.0.0.1:8265", "not the host:port of a head"),
        ("ray://127.0.0.1:10001", "not the host:port of a head"),
    ],
)
def test_without_a_cluster_the_remedy_is_told_at_once(
    monkeypatch: pytest.MonkeyPatch, address: str, said: str
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    config = load(CONFIG_FILE, overrides={"ray.rollouts": {}})
    assert config.ray.rollouts is not None

    with (
        pytest.raises(ConfigError, match=rf"{said}.*name collect in ray\.stages"),
        ray_workers(config, 1, rollouts=config.ray.rollouts, most=1),
    ):
        pass


def test_where_shards_are_made_is_no_part_of_the_configurations_digest() -> None:
    there = load(CONFIG_FILE, overrides={"ray.rollouts": {"num_gpus": 1}, "ray.stages": ["collect"]})

    assert there.digest == load(CONFIG_FILE).digest
