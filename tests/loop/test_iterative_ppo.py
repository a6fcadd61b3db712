"""Iterative PPO end to end on 64 conversations: real steps and kills, a useless Q, a step given up.

Every test goes on from one offline iteration. On so little data no Q is better than the base rate, so that
steps are taken with the gate ignored, except where the gate is what is tested.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from storage import registry
from storage.listing import list_commits
from storage.registry import Decision
from storage.stores import open_store
from tasks import pipeline
from tasks.context import Context
from tests.loop.tiny import tiny_config, tiny_options

SETTINGS: dict[str, Any] = {  # Any: JSON values by key
    "credit__algorithm": "iterative_ppo",
    "collect__conversations": 64,
    "q__min_heldout_conversations": 4,
    "improve__gate": "ignored",
    "improve__passes": 2,
    "improve__conversations_per_pass": 32,
    "improve__conversations_per_step": 8,
}
# Rates at which nothing is learnt: a Q that says the same of every turn, planted through the front door.
USELESS = {"q__learning_rate": 1e-12, "q__head_learning_rate": 1e-12, "improve__gate": "required"}
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Any:  # Any: a generator of paths
    """Scratch files and report copies of these loops stay out of the checkout."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ITPO_WORK", str(tmp_path_factory.mktemp("work")))
        patch.setenv("ITPO_REPORTS", str(tmp_path_factory.mktemp("reports")))
        yield


@pytest.fixture(scope="module")
def start(folders: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake with the offline iteration alone."""
    lake = tmp_path_factory.mktemp("start") / "lake"
    run_iterations(lake, range(1))
    return lake


@pytest.fixture(scope="module")
def whole(start: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two online iterations after it."""
    lake = copied(start, tmp_path_factory.mktemp("whole"))
    run_iterations(lake, range(1, 3))
    return lake


def copied(lake: Path, folder: Path) -> Path:
    """A lake of one's own that begins the same."""
    shutil.copytree(lake, folder / "lake")
    return folder / "lake"


def context_of(lake: Path, iteration: int, **changes: Any) -> Context:  # Any: JSON values
    return Context(tiny_config(lake, **{**SETTINGS, **changes}), iteration)


def run_iterations(lake: Path, iterations: range, **changes: Any) -> None:  # Any: JSON values
    """Every stage of these iterations, in process."""
    for iteration in iterations:
        context = context_of(lake, iteration, **changes)
        for stage in pipeline.stages_of(iteration, context.config):
            pipeline.run_named(context, stage)


def digests(lake: Path) -> dict[str, str]:
    """Data digest of every commit by its name."""
    return {commit.key.text: commit.digest for commit in list_commits(open_store(str(lake)), "tiny")}


def decision_of(context: Context) -> Decision:
    """The iteration's event."""
    wanted = f"decide/{context.iteration:04d}"
    events = registry.events(context.store, context.experiment)
    return next(event for event in events if event.event_id == wanted)


def weights_of(context: Context, iteration: int) -> dict[str, str]:
    """Hash of every file of a version."""
    return {name: entry.sha256 for name, entry in context.read("policy", iteration).artifacts.items()}


def command_of(lake: Path, *, iterations: int) -> list[str]:
    """The same loop on the command line."""
    dotted = {key.replace("__", "."): value for key, value in SETTINGS.items()}
    settings = [part for key, value in dotted.items() for part in ("--set", f"{key}={value}")]
    run = [sys.executable, "-m", "tasks", "run", "--iterations", str(iterations)]
    return [*run, *tiny_options(lake), *settings]


def test_every_online_iteration_fits_a_q_takes_a_step_and_certifies_it(whole: Path) -> None:
    contexts = [context_of(whole, iteration) for iteration in (1, 2)]

    evidence = [decision_of(context).evidence for context in contexts]

    assert all(context.find("q") is not None for context in contexts)
    assert all(weights_of(context, context.iteration) != weights_of(context, 0) for context in contexts)
    assert float(str(evidence[0]["certificate_kl_per_response"])) > 0
    assert evidence[0]["certificate_agreement"] in ("agree", "disagree", "undecided")
    assert evidence[0]["certificate_vacuous"] is True
    assert "q_gate_ignored" in evidence[0]


def test_the_q_that_moved_the_policy_is_among_its_parents(whole: Path) -> None:
    context = context_of(whole, 2)

    policy = context.read("policy")

    assert policy.parents["q"] == context.read("q").digest
    assert context.read("q").digest != context.read("q", 1).digest


def test_a_killed_run_finishes_with_the_same_digests(start: Path, whole: Path, tmp_path: Path) -> None:
    seed = int(os.environ.get("ITPO_KILL_SEED", time.time_ns() % 1_000_000))
    moments = random.Random(seed)
    print(f"kill seed {seed} (repeat with ITPO_KILL_SEED={seed})")
    broken = copied(start, tmp_path)
    environment = {**os.environ, "ITPO_WORK": str(tmp_path / "work")}
    command = command_of(broken, iterations=2)

    for _ in range(3):
        process = subprocess.Popen(
            command, env=environment, start_new_session=True, stdout=subprocess.DEVNULL
        )
        try:
            process.wait(timeout=moments.uniform(8, 25))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)

    assert digests(broken) == digests(whole)


def test_a_useless_q_moves_nothing_and_the_next_iteration_has_more_to_learn_from(
    start: Path, tmp_path: Path
) -> None:
    lake = copied(start, tmp_path)

    run_iterations(lake, range(1, 3), **USELESS, q__replay_iterations=1)

    context = context_of(lake, 2, **USELESS)
    assert weights_of(context, 1) == weights_of(context, 2) == weights_of(context, 0)
    for iteration in (1, 2):
        decision = decision_of(context_of(lake, iteration))
        assert (decision.action, decision.version) == ("hold", "tiny/v0000")
        assert decision.reason.startswith("q gate closed: ")
        assert "no step was taken" in str(decision.evidence["certificate_verdict"])
    assert {"curated/0001", "curated/0002"} <= set(context.read("q").parents)
    assert context.read("rollouts", 2).inputs["policy_version"] == "tiny/v0000"


def test_a_step_that_goes_too_far_is_given_up_on_record_and_leaves_the_parent(
    start: Path, tmp_path: Path
) -> None:
    lake = copied(start, tmp_path)

    run_iterations(lake, range(1, 2), improve__abort_divergence=1e-9, improve__abort_window=2)

    context = context_of(lake, 1)
    decision = decision_of(context)
    assert decision.evidence["aborted"] == 1.0
    assert float(str(decision.evidence["abort_divergence"])) > 1e-9
    assert weights_of(context, 1)["model.safetensors"] == weights_of(context, 0)["model.safetensors"]
    assert (decision.action, decision.evidence["gain"]) == ("hold", 0.0)
