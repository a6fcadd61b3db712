"""Whole runs at once, experiments side by side, other settings, retries in any order: one result."""

from pathlib import Path

import pytest

from tests.crash.forks import Conductor
from tests.crash.grounds import MakeGround
from tests.crash.matrix import Unbroken
from tests.crash.races import Ended, Runner, Scene, race, shuffled
from tests.crash.steps import EXPERIMENT, Step

pytestmark = pytest.mark.slow
# A lease of so many seconds falls at once: both do the work, and only what can be created once decides.
IMPATIENT = {"lake.lease_ttl_s": 0.001}
LIMIT_S = 250.0


def at(unbroken: list[Unbroken], name: str) -> Unbroken:
    return next(each for each in unbroken if each.step.name == name)


def steps_between(unbroken: list[Unbroken], first: str, last: str) -> tuple[Step, ...]:
    names = [each.step.name for each in unbroken]
    return tuple(each.step for each in unbroken[names.index(first) : names.index(last) + 1])


def resumed(ended: Ended, step: Step) -> list[bool]:
    return sorted(told.answers[step.name]["resumed"] for told in ended.told.values())


def refusals(ended: Ended) -> list[str]:
    return [told.refusal for told in ended.told.values() if told.refusal is not None]


def test_of_two_runs_of_an_iteration_at_once_one_does_each_step_and_the_other_takes_it_over(
    ground: MakeGround, unbroken: list[Unbroken], conductor: Conductor, tmp_path: Path
) -> None:
    scene = Scene(ground, at(unbroken, "1-collect-0").start, tmp_path)
    steps = steps_between(unbroken, "1-collect-0", "1-decide")

    ended = conductor(race, scene, [Runner("first", steps), Runner("second", steps)], limit_s=LIMIT_S)

    assert refusals(ended) == []
    assert [resumed(ended, step) for step in steps] == [[False, True]] * len(steps)
    assert ended.seen[EXPERIMENT] == at(unbroken, "1-decide").seen
    assert ended.problems == []


@pytest.mark.e2e
def test_without_leases_both_do_the_work_and_there_is_still_one_result(
    ground: MakeGround, unbroken: list[Unbroken], conductor: Conductor, tmp_path: Path
) -> None:
    scene = Scene(ground, at(unbroken, "1-collect-0").start, tmp_path)
    steps = steps_between(unbroken, "1-collect-0", "1-decide")
    runners = [Runner("first", steps, IMPATIENT), Runner("second", steps, IMPATIENT)]

    ended = conductor(race, scene, runners, limit_s=LIMIT_S)

    assert refusals(ended) == []
    assert ended.seen[EXPERIMENT] == at(unbroken, "1-decide").seen
    assert ended.problems == []


def test_two_experiments_at_once_on_one_lake_do_not_see_each_other(
    ground: MakeGround, unbroken: list[Unbroken], conductor: Conductor, tmp_path: Path
) -> None:
    scene = Scene(ground, at(unbroken, "0-plan").start, tmp_path)
    steps = steps_between(unbroken, "0-plan", "0-decide")
    runners = [Runner("first", steps), Runner("second", steps, {"experiment": "other"})]

    ended = conductor(race, scene, runners, limit_s=LIMIT_S)

    assert refusals(ended) == []
    mine, theirs = ended.seen[EXPERIMENT], ended.seen["other"]
    assert mine == at(unbroken, "0-decide").seen
    assert len(theirs.digests) == len(mine.digests)
    assert not set(theirs.digests.values()) & set(mine.digests.values())
    assert ended.problems == []


def test_of_two_runs_with_different_seeds_one_is_told_the_difference_and_nothing_is_lost(
    ground: MakeGround, unbroken: list[Unbroken], conductor: Conductor, tmp_path: Path
) -> None:
    scene = Scene(ground, at(unbroken, "1-collect-0").start, tmp_path)
    steps = steps_between(unbroken, "1-collect-0", "1-decide")

    ended = conductor(
        race, scene, [Runner("first", steps), Runner("second", steps, {"seed": 5})], limit_s=LIMIT_S
    )

    (refusal,) = refusals(ended)
    assert refusal.startswith(
        "ConflictingCommit: shard 0 of tiny/rollouts/0001 was committed from other inputs"
    )
    assert "seed: committed '5', now '0'" in refusal or "seed: committed '0', now '5'" in refusal
    assert sorted(ended.seen[EXPERIMENT].digests) == sorted(at(unbroken, "1-decide").seen.digests)
    assert ended.problems == []


def test_another_seed_after_the_iteration_is_decided_is_refused_and_changes_nothing(
    ground: MakeGround, unbroken: list[Unbroken], conductor: Conductor, tmp_path: Path
) -> None:
    scene = Scene(ground, at(unbroken, "1-report").start, tmp_path)
    stages = ("1-collect-0", "1-collect", "1-fit_reward", "1-train_policy", "1-evaluate")
    runners = [Runner(name, (at(unbroken, name).step,), {"seed": 5}) for name in stages]

    ended = conductor(race, scene, runners, limit_s=LIMIT_S)

    assert len(refusals(ended)) == len(stages)
    assert all("seed: committed '0', now '5'" in refusal for refusal in refusals(ended))
    assert ended.seen[EXPERIMENT] == at(unbroken, "1-decide").seen


def test_a_seal_before_its_turn_names_the_missing_shard_and_shows_nothing(
    ground: MakeGround, unbroken: list[Unbroken], conductor: Conductor, tmp_path: Path
) -> None:
    scene = Scene(ground, at(unbroken, "1-collect-0").start, tmp_path)
    early = (at(unbroken, "1-collect-1").step, at(unbroken, "1-collect").step)

    ended = conductor(race, scene, [Runner("early", early)], limit_s=LIMIT_S)

    (refusal,) = refusals(ended)
    assert refusal.startswith("MissingShard: tiny/rollouts/0001 cannot be sealed: shards [0] of 2")
    assert ended.seen[EXPERIMENT].digests == at(unbroken, "1-plan").seen.digests


@pytest.mark.e2e
def test_retries_that_come_twice_and_in_any_order_end_in_the_same_data(
    ground: MakeGround, unbroken: list[Unbroken], conductor: Conductor, tmp_path: Path
) -> None:
    scene = Scene(ground, at(unbroken, "1-collect-0").start, tmp_path)
    steps = steps_between(unbroken, "1-collect-0", "1-decide")

    ended = conductor(shuffled, scene, [Runner("first", steps), Runner("second", steps)], limit_s=LIMIT_S)

    assert refusals(ended) == []
    assert all(set(told.answers) == {step.name for step in steps} for told in ended.told.values())
    assert ended.seen[EXPERIMENT] == at(unbroken, "1-decide").seen
    assert ended.problems == []
