"""Many writers at once, some of whom die: each publishes every shard in its own order, then all seal."""

import importlib
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from storage import commits, registry
from storage.commits import CommitKey
from storage.manifests import commit_object
from storage.stores import open_store
from tests.crash.forks import Child, fork
from tests.crash.gates import KILLED, Gate, Moment, Point, gated
from tests.storage.lake_rows import conversations, turns

Write = Callable[[str, "Race", int, Gate], Any]  # Any: what one writer returns
ROLLOUTS = CommitKey("sales", "rollouts", 1)
SHARDS = 6
COMMON_EVENT = "sales/v9999"  # which every writer registers
START_IN_S = 1.0  # when the last writer has been forked


@dataclass(frozen=True, slots=True)
class Race:
    """How many writers, which of them die (of a hundred), and the seed of every choice."""

    writers: int = 24
    killed_percent: int = 20
    seed: int = 0

    @property
    def dead(self) -> int:
        """How many die."""
        return round(self.writers * self.killed_percent / 100)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the survivors saw, how many died, and who won each shard."""

    seen: list[Any]  # Any: whatever one writer returns
    killed: int
    winners: list[str]


def race_for_shards(uri: str, race: Race) -> Outcome:
    """Writers that publish, seal and read; to be called in a fresh process."""
    seen, killed = _run(
        uri, race, _publish_and_seal, doomed(race, calls=2 * SHARDS, last=f"create {commit_object(ROLLOUTS)}")
    )
    store = open_store(uri)
    manifests = commits.all_shards(store, ROLLOUTS, shards=SHARDS)
    return Outcome(seen, killed, [manifest.attempt for manifest in manifests])


def race_for_events(uri: str, race: Race) -> Outcome:
    """Writers that append an event of their own, and one that all append; to be called in a fresh process."""
    seen, killed = _run(uri, race, _append, doomed(race, calls=4, last="create sales/registry/"))
    return Outcome(seen, killed, [])


def own_event(number: int) -> str:
    """The version that only this writer registers."""
    return f"sales/v{number:04d}"


def doomed(race: Race, *, calls: int, last: str) -> dict[int, Gate]:
    """Who dies, and where: some writers, each at a call that all of them make, or just before the last step.

    How many calls a writer makes depends on who was first, so that only the first `calls` are sure to come.
    """
    chance = random.Random(race.seed)
    numbers = chance.sample(range(race.writers), race.dead)
    moments: tuple[Moment, ...] = ("before", "after")
    gates = [
        Gate(Point(chance.randrange(calls), chance.choice(moments)))
        if chance.random() < 0.75
        else Gate(before=last)
        for _ in numbers
    ]
    return dict(zip(numbers, gates, strict=True))


def _run(uri: str, race: Race, write: Write, deaths: dict[int, Gate]) -> tuple[list[Any], int]:
    importlib.import_module("storage.s3")  # before the children are forked: it takes long
    start_s = time.time() + START_IN_S
    children: dict[int, Child] = {}
    for number in range(race.writers):

        def life(number: int = number) -> Any:  # Any: what the writer returns
            time.sleep(max(0.0, start_s - time.time()))
            return write(uri, race, number, deaths.get(number, Gate()))

        children[number] = fork(life, limit_s=120)
    dead = [number for number in deaths if children[number].wait() == KILLED]
    seen = [child.answer() for number, child in children.items() if number not in dead]
    return seen, len(dead)


def _publish_and_seal(uri: str, race: Race, number: int, gate: Gate) -> tuple[str, list[str]]:
    store, chance = gated(open_store(uri), gate), random.Random(f"{race.seed}/{number}")
    for shard in chance.sample(range(SHARDS), SHARDS):
        # Of every second shard each writer has rows of its own; of the others all have the same.
        told = f"{number}" if shard % 2 else "all"
        tables = {
            "conversations": conversations(f"c{shard}", latent_json=told),
            "turns": turns({f"c{shard}": 2}, assistant_text=told * 50),
        }
        commits.publish_shard(
            store, ROLLOUTS, shard=shard, tables=tables, inputs={"seed": "1"}, attempt=f"writer-{number}"
        )
    sealed = commits.seal(store, ROLLOUTS, shards=SHARDS, parents={}, inputs={"seed": "1"})
    told = commits.read_table(store, sealed, table="conversations")["latent_json"].to_pylist()
    return sealed.digest, told


def _append(uri: str, race: Race, number: int, gate: Gate) -> tuple[str, list[tuple[str, str]]]:
    store = gated(open_store(uri), gate)
    for version in (own_event(number), COMMON_EVENT):
        iteration = int(version[-4:])
        policy = registry.PolicyVersion(version, "sales", iteration, None, f"digest of {version}", "key")
        registry.register_candidate(store, policy)
    return own_event(number), [(event.version, event.digest) for event in registry.events(store, "sales")]
