"""Iterative PPO in memory: a closed gate moves nothing, a step leaves the collecting policy alone."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from itpo_core.experiments.iterative import (
    IterativeOutcome,
    IterativeRecipe,
    Lines,
    as_rows,
    data_of,
    improved,
    iterate,
    run_iterative,
    speak,
)
from itpo_core.experiments.iterative_steps import figures
from itpo_core.experiments.recipes import Regime
from itpo_core.single_turn_settings import SingleTurnSettings
from tests.itpo_core.experiments.small_world import small_world
from tests.itpo_core.single_turn_cases import near, policy, problem

REGIME = Regime(scenarios=3, group_size=2, iterations=2)
RECIPE = IterativeRecipe(
    step=SingleTurnSettings(passes=1, conversations_per_pass=4, conversations_per_step=2, max_new_tokens=4),
    paired=4,
    ranked=2,
)


def test_the_published_recipe_is_the_default() -> None:
    step = IterativeRecipe().step

    assert (step.passes, step.conversations_per_pass, step.draws) == (4, 256, 4)
    assert (step.clip_low, step.clip_high, step.kl_weight, step.kl_growth) == (0.5, 0.5, 0.6, 1.25)
    assert (step.learning_rate, step.learning_rate_decay, step.abort_divergence) == (7e-4, 0.75, 0.3)


def test_whole_scenarios_are_held_out_of_q() -> None:
    of = small_world()
    spoken = speak(of, of.clone, regime=REGIME, iteration=0)

    data = data_of([spoken, spoken], policy=of.clone, of=of, recipe=RECIPE)

    held_out = {
        cluster for cluster, out in zip(data.clusters_B, data.held_out_B.tolist(), strict=True) if out
    }
    learnt = {
        cluster for cluster, out in zip(data.clusters_B, data.held_out_B.tolist(), strict=True) if not out
    }
    assert len(held_out) == 2  # one of three scenarios, in either collection
    assert not held_out & learnt
    assert data.newest_B.tolist() == [False] * 6 + [True] * 6


@pytest.mark.slow
def test_a_closed_gate_moves_nothing_and_collects_more() -> None:
    of = small_world()
    lines = Lines(of.clone, of.clone)

    first, second = iterate(of, lines, kind="dueling_logratio", regime=REGIME, recipe=RECIPE)

    assert lines.raw is of.clone
    assert lines.promoted is of.clone
    assert first.ranking is not None
    assert second.ranking is None
    row = figures(second)
    assert (row["gate_open"], row["steps"], row["iteration"]) == (0, 0, 1)
    assert "verdict" not in row


def test_a_step_leaves_the_collecting_policy_alone() -> None:
    reference = policy()
    kept = [each.clone() for each in reference.parameters()]
    settings = replace(RECIPE.step, max_new_tokens=6)

    candidate, found = improved(problem(reference, near(reference)), settings=settings)

    assert all(torch.equal(a, b) for a, b in zip(reference.parameters(), kept, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(candidate.parameters(), kept, strict=True))
    assert len(found.steps) == 2


def test_only_the_last_row_has_the_final_figures() -> None:
    outcome = IterativeOutcome(({"iteration": 0}, {"iteration": 1}), 0.7, 0.6)

    assert as_rows(outcome) == [
        {"iteration": 0},
        {"iteration": 1, "final_success": 0.7, "final_promoted_success": 0.6},
    ]


def test_an_unknown_kind_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'value' is not compared here"):
        run_iterative(kind="value", seed=0, regime=REGIME, cache=tmp_path)

    assert not list(tmp_path.iterdir())
