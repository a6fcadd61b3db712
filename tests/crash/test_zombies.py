"""A process that was stopped in the middle and wakes up after the decision: it loses, and says so."""

from functools import partial
from pathlib import Path

import pytest

from tests.crash.forks import Conductor
from tests.crash.grounds import MakeGround, local_ground
from tests.crash.matrix import Unbroken
from tests.crash.races import Runner, Scene, Woken, Zombie, wake_late
from tests.crash.steps import WITHOUT_Q, Step

pytestmark = pytest.mark.slow
SHORT = {"lake.lease_ttl_s": 0.5}
LIMIT_S = 250.0
# The step that is stopped, and the call before which it is: rows, the claim of a shard, a commit, an event.
FIRST = ("1-decide", "create tiny/registry/")
MORE_MOMENTS = [
    ("1-collect-0", "create tiny/rollouts/iteration=0001/shard-0000.json"),
    ("1-collect-0", "create tiny/rollouts/iteration=0001/shard=0000/turns-"),
    ("1-collect-1", "create tiny/rollouts/iteration=0001/shard-0001.json"),
    ("1-collect", "create tiny/rollouts/iteration=0001/commit.json"),
    ("1-curate", "create tiny/curated/iteration=0001/shard=0000/curated-"),
    ("1-fit_reward", "create tiny/reward/iteration=0001/shard-0000.json"),
    ("1-fit_q", "create tiny/q/iteration=0001/commit.json"),
    ("1-credit", "create tiny/credit/iteration=0001/shard-0000.json"),
    ("1-train_policy", "create tiny/policy/iteration=0001/artifacts/"),
    ("1-train_policy", "create tiny/policy/iteration=0001/commit.json"),
    ("1-train_policy", "create tiny/registry/"),
    ("1-evaluate", "create tiny/evaluation/iteration=0001/shard-0000.json"),
    ("1-decide", "get tiny/evaluation/"),
]
CLAIMS = ("commit.json", "/shard-", "/registry/")


def woken(
    scene_of: tuple[MakeGround, Path],
    unbroken: list[Unbroken],
    conductor: Conductor,
    *,
    step: str,
    before: str,
    healing: dict[str, object],
    dreaming: dict[str, object] | None = None,
) -> Woken:
    """The step's zombie, woken after another process went on from there to the decision; settings of both."""
    names = [each.step.name for each in unbroken]
    rest = unbroken[names.index(step) : names.index("1-decide") + 1]
    healer = Runner(
        "healer", tuple(each.step for each in rest if _is_run(each.step, healing)), SHORT | healing
    )
    sleeper = Runner("sleeper", (rest[0].step,), SHORT | (dreaming or {}))
    ground, folder = scene_of
    scene = Scene(ground, rest[0].start, folder)
    return conductor(wake_late, scene, Zombie(sleeper, healer, before=before), limit_s=LIMIT_S)


def _is_run(step: Step, healing: dict[str, object]) -> bool:
    return step.stage != "fit_q" or not healing


def check_harmless(woken: Woken) -> None:
    assert woken.healed.refusal is None
    assert woken.after == woken.before
    assert woken.after.problems == []
    assert woken.changed == []
    assert [key for key in woken.added if any(claim in key for claim in CLAIMS)] == []


@pytest.mark.parametrize(
    ("ground", "step", "before"),
    [
        ("local", *FIRST),
        pytest.param("moto", *FIRST, marks=pytest.mark.e2e),
        *(pytest.param("local", *moment, marks=pytest.mark.e2e) for moment in MORE_MOMENTS),
    ],
    indirect=["ground"],
)
def test_a_zombie_that_wakes_after_the_decision_changes_nothing_and_takes_over_the_result(
    ground: MakeGround,
    unbroken: list[Unbroken],
    conductor: Conductor,
    tmp_path: Path,
    step: str,
    before: str,
) -> None:
    late = woken((ground, tmp_path), unbroken, conductor, step=step, before=before, healing={})

    check_harmless(late)
    assert late.told.refusal is None
    truth = next(each for each in unbroken if each.step.name == step)
    assert late.told.answers[step]["made"] == truth.made
    assert next(iter(late.after.seen.values())) == next(
        each.seen for each in unbroken if each.step.name == "1-decide"
    )


@pytest.mark.parametrize(
    ("ground", "before"),
    [
        ("local", "create tiny/q/iteration=0001/shard-0000.json"),
        pytest.param("moto", "create tiny/q/iteration=0001/shard-0000.json", marks=pytest.mark.e2e),
        pytest.param("local", "create tiny/q/iteration=0001/artifacts/", marks=pytest.mark.e2e),
        pytest.param("local", "create tiny/q/iteration=0001/commit.json", marks=pytest.mark.e2e),
    ],
    indirect=["ground"],
)
def test_a_zombie_at_what_the_decided_iteration_does_not_hold_finds_it_closed(
    ground: MakeGround, unbroken: list[Unbroken], conductor: Conductor, tmp_path: Path, before: str
) -> None:
    late = woken((ground, tmp_path), unbroken, conductor, step="1-fit_q", before=before, healing=WITHOUT_Q)

    check_harmless(late)
    assert late.told.refusal is not None
    assert late.told.refusal.startswith("ClosedIteration: tiny/q/0001 was closed by the decision decide/0001")
    assert "tiny/q/0001" not in late.after.seen["tiny"].digests


@pytest.mark.e2e
def test_a_zombie_that_began_under_another_seed_is_told_the_difference(
    ground: MakeGround, unbroken: list[Unbroken], conductor: Conductor, tmp_path: Path
) -> None:
    late = woken(
        (ground, tmp_path),
        unbroken,
        conductor,
        step="1-evaluate",
        before="create tiny/evaluation/iteration=0001/shard-0000.json",
        healing={},
        dreaming={"seed": 5},
    )

    check_harmless(late)
    assert late.told.refusal is not None
    assert late.told.refusal.startswith(
        "ConflictingCommit: shard 0 of tiny/evaluation/0001 was committed from"
    )
    assert "seed: committed '0', now '5'" in late.told.refusal


@pytest.mark.e2e
def test_a_process_stopped_while_it_holds_a_lock_holds_nobody_up_for_ever(
    unbroken: list[Unbroken], conductor: Conductor, tmp_path: Path
) -> None:
    often = {"lake.lease_ttl_s": 0.2}
    start = next(each.start for each in unbroken if each.step.name == "1-evaluate")
    steps = tuple(each.step for each in unbroken if each.step.name in ("1-evaluate", "1-decide"))
    zombie = Zombie(
        Runner("sleeper", steps[:1], often),
        Runner("healer", steps, often),
        inside="replace tiny/_leases/evaluate-0001.json",
    )

    late = conductor(
        wake_late, Scene(partial(local_ground, tmp_path), start, tmp_path), zombie, limit_s=LIMIT_S
    )

    check_harmless(late)
    assert late.told.refusal is None
