"""The kill matrix: every step of the loop dies at every call of the store, is run again, and is compared.

Two deaths that leave the same bytes, in the lake and in the scratch folder, are one start for what follows:
each death is carried out, and of those with the same bytes one is run again (`every` runs all of them again).
"""

import os
import random
import shutil
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from storage.stores import open_store
from tests.crash.forks import ChildFailed, fork
from tests.crash.gates import KILLED, Gate, Point
from tests.crash.grounds import Ground, LocalGround, MakeGround, changed, copied_scratch, fingerprint
from tests.crash.steps import (
    Seen,
    Step,
    import_everything,
    look,
    loop_config,
    problems_of,
    run_step,
    steps_of,
    use_scratch,
)

MATRIX_LIMIT_S = 7200.0
PART_S = 100.0  # about how long one part of a step's points may take, so that workers end together


@dataclass(frozen=True, slots=True)
class Order:
    """Where to kill, with so many workers: at all points, or at one of so many steps drawn by the seed."""

    folder: Path
    make: MakeGround
    jobs: int
    seed: int = 0
    sample: int | None = None
    every: bool = False


@dataclass(frozen=True, slots=True)
class Unbroken:
    """A step that nobody disturbed: what it made, what a reader finds after it, where it began."""

    step: Step
    made: str
    seen: Seen
    start: Path
    points: list[Point]
    calls: list[str]
    seconds: float


@dataclass
class Tally:
    """What came of one step on one store."""

    calls: int = 0
    points: int = 0
    killed: int = 0
    states: int = 0
    seconds: float = 0.0
    failures: list[str] = field(default_factory=list)

    def add(self, other: "Tally") -> None:
        """Count in another part of the same step."""
        self.killed += other.killed
        self.states += other.states
        self.seconds += other.seconds
        self.failures += other.failures


@dataclass(frozen=True, slots=True)
class Unit:
    """Some points of one step, for one worker."""

    unbroken: Unbroken
    points: tuple[Point, ...]

    @property
    def cost_s(self) -> float:
        """About how long it takes."""
        return len(self.points) * (0.1 + self.unbroken.seconds)


def run_unbroken(folder: Path) -> list[Unbroken]:
    """The whole loop in a lake of its own, a process per step, with a copy of what lay there before each.

    To be called in a fresh process.
    """
    import_everything()
    lake, scratch = LocalGround(folder / "unbroken" / "lake"), folder / "unbroken" / "scratch"
    config, done = loop_config(lake.uri), list[Unbroken]()
    for step in (*steps_of(0, config), *steps_of(1, config)):
        start = folder / "starts" / step.name
        _keep_start(start, lake=lake.folder, scratch=scratch)
        done.append(_counted(step, lake, scratch=scratch, start=start))
    return done


def kill_matrix(order: Order, unbroken: Sequence[Unbroken]) -> dict[str, Tally]:
    """Kill, run again, compare; by step. To be called in a fresh process."""
    import_everything()
    chance = random.Random(order.seed)
    steps = unbroken if order.sample is None else chance.sample(list(unbroken), order.sample)
    counted = _on_this_store(order, steps, order.make(0))
    units = [
        Unit(each, tuple(each.points if order.sample is None else [chance.choice(each.points)]))
        for each in counted
    ]
    tallies = {each.step.name: Tally(len(each.calls), len(each.points)) for each in counted}
    shares = _shared_out([part for unit in units for part in _parts(unit)], order.jobs)
    workers = [
        fork(partial(_work, order, order.make(number), share, number=number), limit_s=MATRIX_LIMIT_S)
        for number, share in enumerate(shares)
    ]
    for worker in workers:
        for name, tally in worker.answer():
            tallies[name].add(tally)
    return tallies


def _work(order: Order, ground: Ground, units: Iterable[Unit], *, number: int) -> list[tuple[str, Tally]]:
    scratch = order.folder / f"scratch-{number}"
    done = []
    for unit in units:
        began = time.monotonic()
        tally = _kill_at_points(unit, ground, scratch=scratch, every=order.every)
        tally.seconds = round(time.monotonic() - began, 1)
        done.append((unit.unbroken.step.name, tally))
    return done


def _kill_at_points(unit: Unit, ground: Ground, *, scratch: Path, every: bool) -> Tally:
    tally, seen = Tally(), set[str]()
    _lay(ground, unit.unbroken.start, scratch)
    before = ground.state()
    for point in unit.points:
        what = f"{unit.unbroken.step.name} killed {point.moment} {unit.unbroken.calls[point.call]!r}"
        _lay(ground, unit.unbroken.start, scratch)
        survivor = _kill(unit.unbroken.step, ground, point, scratch=scratch)
        if survivor is not None:
            tally.failures.append(f"{what}: it did not die: {survivor}")
            continue
        tally.killed += 1
        left = fingerprint(ground, before=before, scratch=scratch)
        if left not in seen or every:
            seen.add(left)
            problems = _run_again(unit.unbroken, ground, scratch=scratch)
            problems += [f"{key} was changed" for key in changed(before, ground.state())]
            tally.failures += [f"{what}: {problem}" for problem in problems]
    tally.states = len(seen)
    return tally


def _kill(step: Step, ground: Ground, point: Point, *, scratch: Path) -> str | None:
    """None when the process died at the point; what else came of it otherwise."""

    def life() -> str:
        use_scratch(scratch)
        return str(run_step(step, loop_config(ground.uri), gate=Gate(point), attempt="killed"))

    child = fork(life)
    if child.wait() == KILLED:
        return None
    try:
        return child.answer()
    except ChildFailed as failed:
        return str(failed)


def _run_again(unbroken: Unbroken, ground: Ground, *, scratch: Path) -> list[str]:
    at_start = look(open_store(str(unbroken.start / "lake"))).digests

    def life() -> list[str]:
        use_scratch(scratch)
        store = open_store(ground.uri)
        early = look(store)
        again = run_step(unbroken.step, loop_config(ground.uri), gate=Gate(), attempt="again")
        # Nothing but this step's own outputs can be damaged: the bytes of all others are compared.
        own = [name for name in unbroken.seen.digests if name not in at_start]
        return [
            *differences("what was visible", early, unbroken.seen, whole=False),
            *differences("after the re-run", look(store), unbroken.seen, whole=True),
            *([] if again["made"] == unbroken.made else [f"made {again['made']}, not {unbroken.made}"]),
            *problems_of(store, own),
        ]

    try:
        return fork(life).answer()
    except ChildFailed as failed:
        return [f"the re-run failed: {failed}"]


def differences(when: str, found: Seen, wanted: Seen, *, whole: bool) -> list[str]:
    """How what a reader found differs from the unbroken run; before the re-run, things may be missing."""
    if whole and found != wanted:
        return [f"{when}: found {found}, unbroken {wanted}"]
    strange = {name: value for name, value in _values(found).items() if _values(wanted).get(name) != value}
    events_fit = found.events == wanted.events[: len(found.events)]
    return ([f"{when}: {strange}"] if strange else []) + ([] if events_fit else [f"{when}: {found.events}"])


def _values(seen: Seen) -> dict[str, str]:
    return seen.digests | seen.shards


def _on_this_store(order: Order, steps: Sequence[Unbroken], ground: Ground) -> list[Unbroken]:
    """The steps with the calls that they make of this store; another one must end in the same data."""
    if isinstance(ground, LocalGround):
        return list(steps)
    scratch, counted = order.folder / "scratch-0", list[Unbroken]()
    for each in steps:
        _lay(ground, each.start, scratch)
        here = _counted(each.step, ground, scratch=scratch, start=each.start)
        if (here.made, here.seen) != (each.made, each.seen):
            raise ChildFailed(
                f"{each.step.name} gave {here.made} {here.seen} here, not {each.made} {each.seen}"
            )
        counted.append(here)
    return counted


def _counted(step: Step, ground: Ground, *, scratch: Path, start: Path) -> Unbroken:
    def life() -> Unbroken:
        use_scratch(scratch)
        gate, began = Gate(), time.monotonic()
        made = run_step(step, loop_config(ground.uri), gate=gate, attempt="unbroken")["made"]
        seconds, seen = time.monotonic() - began, look(open_store(ground.uri))
        return Unbroken(step, made, seen, start, gate.points(), gate.calls, seconds)

    return fork(life).answer()


def _keep_start(start: Path, *, lake: Path, scratch: Path) -> None:
    start.mkdir(parents=True)
    lake.mkdir(parents=True, exist_ok=True)
    shutil.copytree(lake, start / "lake", copy_function=os.link)
    copied_scratch(scratch, start / "scratch")


def _lay(ground: Ground, start: Path, scratch: Path) -> None:
    ground.lay(start / "lake")
    copied_scratch(start / "scratch", scratch)


def _parts(unit: Unit) -> list[Unit]:
    """Neighbouring points stay together, as most of them leave the same bytes."""
    size = max(1, int(PART_S / (0.1 + unit.unbroken.seconds)))
    return [
        Unit(unit.unbroken, unit.points[first : first + size]) for first in range(0, len(unit.points), size)
    ]


def _shared_out(units: list[Unit], jobs: int) -> list[list[Unit]]:
    """Shares of about the same cost; a worker's in the order of the steps, as little then has to be laid."""
    shares: list[list[Unit]] = [[] for _ in range(jobs)]
    for unit in sorted(units, key=lambda unit: -unit.cost_s):
        min(shares, key=lambda share: sum(each.cost_s for each in share)).append(unit)
    places = {id(unit): place for place, unit in enumerate(units)}
    return [sorted(share, key=lambda unit: places[id(unit)]) for share in shares]


def summary(store: str, tallies: dict[str, Tally]) -> str:
    """A line per step and one for all: how many points there are, were killed at, and were run again from."""
    lines = [
        f"  {name:16} {each.calls:4} calls {each.points:4} kill points, killed at {each.killed:4}, "
        f"{each.states:3} states run again, {each.seconds:6.1f} s"
        for name, each in tallies.items()
    ]
    sums = totals(tallies)
    last = (
        f"{store}: {sums['points']} kill points at {sums['calls']} calls of {len(tallies)} steps; killed at "
        f"{sums['killed']}, {sums['states']} different states run again, {sums['failures']} failures"
    )
    return "\n".join([*lines, last])


def totals(tallies: dict[str, Tally]) -> dict[str, int]:
    """The sums over all steps."""
    found = tallies.values()
    return {
        "calls": sum(each.calls for each in found),
        "points": sum(each.points for each in found),
        "killed": sum(each.killed for each in found),
        "states": sum(each.states for each in found),
        "failures": sum(len(each.failures) for each in found),
    }
