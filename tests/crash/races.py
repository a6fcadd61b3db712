"""Several processes at one lake at once, stopped ones that wake up late, and what each of them saw."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from storage.errors import StorageError
from storage.stores import open_store
from tasks.config import Config
from tests.crash.forks import Child, fork
from tests.crash.gates import Gate, stop
from tests.crash.grounds import Ground, MakeGround, changed, copied_scratch
from tests.crash.steps import (
    EXPERIMENT,
    Seen,
    Step,
    import_everything,
    look,
    loop_config,
    problems_of,
    run_step,
    use_scratch,
)

RUN_LIMIT_S = 200.0
TRIES = 40


@dataclass(frozen=True, slots=True)
class Scene:
    """Where it happens, from which start, and where the runners keep their scratch files."""

    make: MakeGround
    start: Path
    folder: Path


@dataclass(frozen=True, slots=True)
class Runner:
    """A process that runs steps in this order, under settings of its own."""

    name: str
    steps: tuple[Step, ...]
    settings: dict[str, Any] = field(default_factory=dict)  # Any: JSON values

    def config(self, lake: str) -> Config:
        """The loop's configuration as this runner has it."""
        return loop_config(lake, self.settings)


@dataclass(frozen=True, slots=True)
class Told:
    """What a runner said: the answer to each step, and the refusal that ended it, if one did."""

    answers: dict[str, dict[str, Any]]  # Any: as of `run_step`
    refusal: str | None


@dataclass(frozen=True, slots=True)
class Ended:
    """What all runners said, what a reader finds afterwards by experiment, and every problem of it."""

    told: dict[str, Told]
    seen: dict[str, Seen]
    problems: list[str]


@dataclass(frozen=True, slots=True)
class Zombie:
    """A runner that is stopped before a call or inside one, and another that finishes meanwhile."""

    sleeper: Runner
    healer: Runner
    before: str | None = None
    inside: str | None = None


@dataclass(frozen=True, slots=True)
class Woken:
    """A zombie's last words, and how the lake was before it woke and after it ended."""

    told: Told
    healed: Told
    before: Ended
    after: Ended
    changed: list[str]
    added: list[str]


Live = Callable[[Runner, Config], Told]


def race(scene: Scene, runners: list[Runner]) -> Ended:
    """All runners at once, from one start; to be called in a fresh process."""
    return _all_at_once(scene, runners, _in_order)


def shuffled(scene: Scene, runners: list[Runner]) -> Ended:
    """As `race`, but each runner is given its steps twice, in an order drawn by its name.

    A step that is refused, as its turn has not come, is tried again later.
    """
    return _all_at_once(scene, runners, _in_disorder)


def wake_late(scene: Scene, zombie: Zombie) -> Woken:
    """Stop one runner, let the other finish, wake the first up; to be called in a fresh process."""
    ground, runners = _laid(scene), [zombie.sleeper, zombie.healer]
    gate = Gate(before=zombie.before, inside=zombie.inside, action=stop)
    life = _begin(scene, ground, zombie.sleeper, partial(_in_order, gate=gate))
    try:
        life.wait_until_stopped()
        healed = _begin(scene, ground, zombie.healer, _in_order).answer()
        before, state = _ended(ground, {}, runners), ground.state()
        life.go_on()
        told = life.answer()
    finally:
        life.kill()
    after, now = _ended(ground, {}, runners), ground.state()
    return Woken(told, healed, before, after, changed(state, now), sorted(set(now) - set(state)))


def _all_at_once(scene: Scene, runners: list[Runner], live: Live) -> Ended:
    ground = _laid(scene)
    lives = {runner.name: _begin(scene, ground, runner, live) for runner in runners}
    return _ended(ground, {name: life.answer() for name, life in lives.items()}, runners)


def _laid(scene: Scene) -> Ground:
    import_everything()
    ground = scene.make(0)
    ground.lay(scene.start / "lake")
    return ground


def _begin(scene: Scene, ground: Ground, runner: Runner, live: Live) -> Child:
    scratch = scene.folder / f"scratch-{runner.name}"
    copied_scratch(scene.start / "scratch", scratch)

    def life() -> Told:
        use_scratch(scratch)
        return live(runner, runner.config(ground.uri))

    return fork(life, limit_s=RUN_LIMIT_S)


def _in_order(runner: Runner, config: Config, gate: Gate | None = None) -> Told:
    answers: dict[str, dict[str, Any]] = {}  # Any: as of `run_step`
    for step in runner.steps:
        try:
            answers[step.name] = run_step(step, config, gate=gate or Gate(), attempt=runner.name)
        except StorageError as refusal:
            return Told(answers, f"{type(refusal).__name__}: {refusal}")
    return Told(answers, None)


def _in_disorder(runner: Runner, config: Config) -> Told:
    chance, answers, refusal = random.Random(runner.name), dict[str, dict[str, Any]](), None
    waiting = [*runner.steps, *runner.steps]
    for _ in range(TRIES):
        later: list[Step] = []
        for step in chance.sample(waiting, len(waiting)):
            try:
                answers[step.name] = run_step(step, config, gate=Gate(), attempt=runner.name)
            except StorageError as problem:
                refusal = f"{type(problem).__name__}: {problem}"
                later.append(step)
        if not later:
            return Told(answers, None)
        waiting = later
    return Told(answers, refusal)


def _ended(ground: Ground, told: dict[str, Told], runners: list[Runner]) -> Ended:
    names = sorted({runner.settings.get("experiment", EXPERIMENT) for runner in runners})

    def life() -> Ended:
        store = open_store(ground.uri)
        seen = {name: look(store, name) for name in names}
        problems = [found for name in names for found in problems_of(store, list(seen[name].digests), name)]
        return Ended(told, seen, problems)

    return fork(life).answer()
