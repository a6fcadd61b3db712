"""Killed at any call of the store and run again, every stage ends in the data of an unbroken run."""

import json
import os
import random
from pathlib import Path

import pytest

from storage.paths import repository_root
from tests.crash.forks import Conductor
from tests.crash.grounds import MakeGround
from tests.crash.matrix import Order, Tally, Unbroken, kill_matrix, summary, totals

SEED = int(os.environ.get("ITPO_KILL_SEED", random.SystemRandom().randrange(1_000_000)))
EVERY = os.environ.get("ITPO_KILL_EVERY") == "true"  # run again from every point, not from every state
FULL_LIMIT_S = 7200  # a quarter of an hour on two cores that have nothing else to do
SAMPLE = {"local": 6, "moto": 2}


def store_of(request: pytest.FixtureRequest) -> str:
    return request.node.callspec.params["ground"]


def failures_of(tallies: dict[str, Tally]) -> list[str]:
    return [failure for tally in tallies.values() for failure in tally.failures]


def keep(store: str, tallies: dict[str, Tally]) -> None:
    """The numbers as a file, for whoever writes them down."""
    folder = Path(os.environ.get("ITPO_REPORTS", repository_root() / "reports"))
    folder.mkdir(exist_ok=True)
    steps = {
        name: {"calls": each.calls, "points": each.points, "killed": each.killed, "states": each.states}
        for name, each in tallies.items()
    }
    body = {"store": store, "totals": totals(tallies), "steps": steps}
    (folder / f"kill-matrix-{store}.json").write_text(json.dumps(body, indent=1) + "\n", encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("ground", list(SAMPLE), indirect=True)
def test_killed_at_points_drawn_by_chance_the_loop_ends_as_unbroken(
    ground: MakeGround,
    unbroken: list[Unbroken],
    conductor: Conductor,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    store = store_of(request)
    sample = SAMPLE[store]
    order = Order(tmp_path, ground, jobs=1, seed=SEED, sample=sample)

    tallies = conductor(kill_matrix, order, unbroken, limit_s=250)

    print(f"kill seed {SEED} (repeat with ITPO_KILL_SEED={SEED})")
    print(summary(store, tallies))
    assert failures_of(tallies) == []
    assert totals(tallies)["killed"] == sample


@pytest.mark.e2e
@pytest.mark.timeout(FULL_LIMIT_S)
@pytest.mark.parametrize("ground", ["local", "ministack"], indirect=True)
def test_killed_at_every_point_every_stage_ends_as_unbroken(
    ground: MakeGround,
    unbroken: list[Unbroken],
    conductor: Conductor,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
) -> None:
    store = store_of(request)
    order = Order(tmp_path, ground, jobs=os.cpu_count() or 1, every=EVERY)

    tallies = conductor(kill_matrix, order, unbroken, limit_s=FULL_LIMIT_S)

    with capsys.disabled():
        print(f"\n{summary(store, tallies)}")
    keep(store, tallies)
    assert failures_of(tallies) == []
    assert list(tallies) == [each.step.name for each in unbroken]
    assert totals(tallies)["killed"] == totals(tallies)["points"] > 1000
