"""Twenty-four writers race, one in five is killed: each shard has one winner, and all survivors agree."""

import os
from pathlib import Path

import pytest

from storage import commits, registry
from storage.stores import open_store
from storage.verification import verify
from tests.crash.forks import Conductor
from tests.crash.writers import COMMON_EVENT, ROLLOUTS, SHARDS, Race, race_for_events, race_for_shards

pytestmark = pytest.mark.slow
SEED = int(os.environ.get("ITPO_KILL_SEED", "20"))
SERVERS = ("moto", "ministack")
RACE = Race(seed=SEED)


@pytest.fixture(params=["local", *(pytest.param(f"{name}_lake", marks=pytest.mark.e2e) for name in SERVERS)])
def lake(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "lake") if request.param == "local" else request.getfixturevalue(request.param)


def test_of_racing_writers_one_wins_each_shard_and_all_survivors_see_one_digest(
    lake: str, conductor: Conductor
) -> None:
    outcome = conductor(race_for_shards, lake, RACE, limit_s=200)

    print(f"{lake}: {outcome.killed} of {RACE.writers} writers killed (seed {SEED}), won: {outcome.winners}")
    store, told = open_store(lake), outcome.seen[0][1]
    sealed = commits.read(store, ROLLOUTS)
    assert (outcome.killed, len(outcome.seen)) == (RACE.dead, RACE.writers - RACE.dead)
    assert all(seen == outcome.seen[0] for seen in outcome.seen)
    assert outcome.seen[0][0] == sealed.digest
    assert verify(store, sealed) == []
    assert told[0::2] == ["all"] * (SHARDS // 2)
    assert [f"writer-{number}" for number in told[1::2]] == outcome.winners[1::2]


def test_racing_events_form_one_chain_that_holds_each_once(lake: str, conductor: Conductor) -> None:
    outcome = conductor(race_for_events, lake, RACE, limit_s=200)

    chain = [(event.version, event.digest) for event in registry.events(open_store(lake), "sales")]
    names = [version for version, _ in chain]
    print(f"{lake}: {outcome.killed} of {RACE.writers} killed, {len(chain)} events in one chain")
    assert (outcome.killed, len(outcome.seen)) == (RACE.dead, RACE.writers - RACE.dead)
    assert len(names) == len(set(names))
    assert set(names) >= {own for own, _ in outcome.seen} | {COMMON_EVENT}
    assert all(seen == chain[: len(seen)] for _, seen in outcome.seen)
