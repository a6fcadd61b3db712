"""Which run comes next, read from a real registry."""

from pathlib import Path
from typing import Any

from dags.launch import LaunchUpcoming, launcher, run_after
from storage import registry
from storage.registry import PolicyVersion
from storage.stores import open_store


def params(config: Path, *, iterations: int) -> dict[str, Any]:
    return {
        "config": str(config),
        "experiment": "tiny",
        "algorithm": None,
        "advantage": None,
        "iterations": iterations,
        "conversations": None,
        "seed": None,
        "require_approval": False,
    }


def promote(lake: Path, iteration: int) -> None:
    """Register and promote the version of an iteration."""
    store, name = open_store(str(lake)), registry.version_name("tiny", iteration)
    registry.register_candidate(
        store,
        PolicyVersion(
            name, "tiny", iteration, parent=None, commit_digest="0" * 64, commit_key=f"tiny/{iteration}"
        ),
    )
    registry.record_decision(
        store,
        "tiny",
        event_id=f"decide/{iteration:04d}",
        action="promote",
        version=name,
        reason="test",
        evidence={},
    )


def test_the_next_run_has_a_fixed_id_and_one_less_in_its_budget(tiny_config: Path) -> None:
    promote(tiny_config.parent / "lake", 0)

    following = run_after(0, params(tiny_config, iterations=3))

    assert following == ("tiny-0001", params(tiny_config, iterations=2))


def test_nothing_follows_when_the_budget_is_spent(tiny_config: Path) -> None:
    promote(tiny_config.parent / "lake", 0)

    assert run_after(0, params(tiny_config, iterations=1)) is None


def test_nothing_follows_without_a_policy_to_go_on_from(tiny_config: Path) -> None:
    assert run_after(0, params(tiny_config, iterations=3)) is None


def test_the_clock_starts_the_first_undecided_iteration_with_its_own_params(tiny_config: Path) -> None:
    clock = launcher(LaunchUpcoming, task_id="start")
    first = clock.choose(params(tiny_config, iterations=1))
    promote(tiny_config.parent / "lake", 0)

    assert first == ("tiny-0000", params(tiny_config, iterations=1))
    assert clock.choose(params(tiny_config, iterations=1)) == ("tiny-0001", params(tiny_config, iterations=1))


def test_a_run_id_that_exists_is_skipped_and_never_dated() -> None:
    clock = launcher(LaunchUpcoming, task_id="start")

    assert clock.skip_when_already_exists is True
    assert clock.logical_date is None
    assert clock.trigger_dag_id == "itpo_iteration"
