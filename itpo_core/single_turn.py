"""The improvement half of Iterative PPO, in memory: single-turn steps on fresh turns, scored by Q.

Each pass takes some conversations, draws M turns from the present policy at every history in them, scores
them with Q, and makes one epoch of steps over packed rows. Nothing here touches a disk or an environment.

Axes: B conversations, N branches of one step, L tokens of a branch. Source: Iterative PPO
(arXiv:2511.21638), algorithm 1; every number of a step is told by `SingleTurnSettings`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor
from torch.optim import Optimizer
from transformers import PreTrainedModel

from itpo_core.identifiers import derive_seed
from itpo_core.logprobs import length_buckets
from itpo_core.optimisation import adamw, seeded
from itpo_core.policy_movement import Taken, movement
from itpo_core.scored_branches import (
    Problem,
    advantages_of,
    draw_and_score,
    speaking_rows,
)
from itpo_core.single_turn_settings import Abort, AbortReason, SingleTurnSettings
from itpo_core.single_turn_step import PassMaterial, Step, take_step

BETAS = (0.9, 0.99)

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Improvement:
    """What an improvement step did: named figures per optimiser step, and how far the policy went.

    A step's `epoch` is its pass; `reward_mean`, `reward_std` and `unclosed_share` are its pass's. `abort` is
    None when all passes were made; else the policy is the one from before the pass that was given up, whose
    steps are recorded all the same.
    """

    steps: tuple[Step, ...]
    abort: Abort | None
    taken: Taken


def improve(
    model: PreTrainedModel,
    problem: Problem,
    *,
    settings: SingleTurnSettings,
    on_step: Progress = lambda done, total: None,
) -> Improvement:
    """Improve `model`, which starts as a copy of `problem.reference`, in place.

    One thread and equal arguments give equal weights. Raises ValueError for conversations without a turn and
    for values that are not finite, TrainingDivergedError for a loss that is no number.
    """
    optimiser = new_optimiser(model, settings)
    steps, abort = run_passes(model, optimiser, problem=problem, settings=settings, on_step=on_step)
    return Improvement(tuple(steps), abort, movement(model, problem, settings=settings))


def new_optimiser(model: PreTrainedModel, settings: SingleTurnSettings) -> Optimizer:
    """Fresh in every iteration, at the iteration's rate."""
    return adamw(model.parameters(), settings.learning_rate_now, betas=BETAS)


def run_passes(
    model: PreTrainedModel,
    optimiser: Optimizer,
    *,
    problem: Problem,
    settings: SingleTurnSettings,
    on_step: Progress = lambda done, total: None,
    done: int = 0,
    steps: Sequence[Step] = (),
    on_pass: Callable[[int, Sequence[Step]], None] = lambda done, steps: None,
) -> tuple[list[Step], Abort | None]:
    """The passes from `done` on, after the steps made so far; `on_pass` is told the state after each.

    On an abort the model has the weights from before the pass that was given up.
    """
    found = list(steps)
    for index in range(done, settings.passes):
        kept = [parameter.detach().clone() for parameter in model.parameters()]
        material = draw_pass(model, problem, settings=settings, index=index)
        abort = _run_pass(
            model, optimiser, material=material, settings=settings, index=index, steps=found, on_step=on_step
        )
        if abort is not None:
            _put_back(model, kept)
            return found, abort
        on_pass(index + 1, found)
    return found, None


def draw_pass(
    model: PreTrainedModel, problem: Problem, *, settings: SingleTurnSettings, index: int
) -> PassMaterial:
    """What pass `index` learns from; a function of the weights, the settings' seed and the index alone."""
    order = seeded(settings.seed, "single_turn_order", index)
    speaking = speaking_rows(problem.conversations.turn_BT)
    chosen = speaking[torch.randperm(len(speaking), generator=order)[: settings.conversations_per_pass]]
    lengths = problem.conversations.lengths_B[chosen]
    buckets = length_buckets(lengths, settings.conversations_per_step, generator=order)
    parts = [chosen[bucket].split(settings.micro_batch or len(bucket)) for bucket in buckets]
    scored = draw_and_score(
        model,
        problem,
        groups=[group for groups in parts for group in groups],
        settings=settings,
        root=derive_seed(settings.seed, "single_turn_draws", index),
        with_logged=settings.doubly_robust,
    )
    rows = iter(scored.rows)
    steps = tuple(tuple(islice(rows, len(groups))) for groups in parts)
    return PassMaterial(scored, advantages_of(scored, problem, settings=settings), steps)


def divergence_abort(steps: Sequence[Step], settings: SingleTurnSettings) -> Abort | None:
    """An abort when the mean divergence of the last window of steps passes the limit.

    Never before the window is full; it may reach back into earlier passes.
    """
    window = steps[-settings.abort_window :]
    divergence = sum(step["kl"] for step in window) / len(window)
    if len(window) < settings.abort_window or divergence <= settings.abort_divergence:
        return None
    return Abort(AbortReason.DIVERGENCE, int(steps[-1]["epoch"]), divergence, limit=settings.abort_divergence)


def _run_pass(
    model: PreTrainedModel,
    optimiser: Optimizer,
    *,
    material: PassMaterial,
    settings: SingleTurnSettings,
    index: int,
    steps: list[Step],
    on_step: Progress,
) -> Abort | None:
    """One step per packed batch, each recorded in `steps`."""
    of_pass = {
        "epoch": index,
        "reward_mean": material.advantages.reward_mean,
        "reward_std": material.advantages.reward_std,
        "unclosed_share": material.advantages.unclosed_share,
        "kl_weight": settings.kl_weight_now,
    }
    count = len(material.steps)
    for number, rows in enumerate(material.steps, start=1):
        facts = take_step(model, optimiser, rows=rows, material=material, settings=settings)
        steps.append({**of_pass, **facts})
        on_step(index * count + number, settings.passes * count)
        abort = divergence_abort(steps, settings)
        if abort is not None:
            return abort
    return None


@torch.no_grad()
def _put_back(model: PreTrainedModel, weights: Sequence[Tensor]) -> None:
    for parameter, kept in zip(model.parameters(), weights, strict=True):
        parameter.copy_(kept)
