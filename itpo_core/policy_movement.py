"""How far an improvement step went, on histories that the old policy visited: what a certificate needs.

Axes: H histories, M draws, N branches, L tokens of a branch.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from itpo_core.certificate import Movement
from itpo_core.identifiers import derive_seed
from itpo_core.optimisation import seeded
from itpo_core.packing import run_packed, token_divergences
from itpo_core.scored_branches import Problem, ScoredBranches, draw_and_score, speaking_rows
from itpo_core.single_turn_settings import SingleTurnSettings


@dataclass(frozen=True, slots=True)
class Taken:
    """The KL actually taken, per response of the new policy, and what Q promises for it.

    In `movement` the KL is that of whole responses, read off the exact divergence at each of their tokens:
    the mean of the sampled log-ratio with less noise, and never below 0. `kl_sampled` is that sampled mean
    itself, `kl_sampled_error` its standard error over histories. `q_gain_raw` is the promised gain on Q's
    raw scale, where `movement.q_gain_per_turn` is on that of success.
    """

    movement: Movement
    kl_sampled: float
    kl_sampled_error: float
    q_gain_raw: float
    unclosed_share: float
    histories: int


@torch.no_grad()
def movement(model: PreTrainedModel, problem: Problem, *, settings: SingleTurnSettings) -> Taken:
    """Draw turns from new and old policy at the same histories, with the same seeds, and compare.

    The histories are those of `conversations_per_pass` conversations. What a state moved by is a mean over
    `draws` responses, so that the largest of them exceeds the truth, as the largest of noisy figures does.
    """
    order = seeded(settings.seed, "movement")
    rows = speaking_rows(problem.conversations.turn_BT)
    chosen = rows[torch.randperm(len(rows), generator=order)[: settings.conversations_per_pass]]
    groups = chosen[problem.conversations.lengths_B[chosen].argsort(stable=True)].split(
        settings.conversations_per_step
    )
    root = derive_seed(settings.seed, "movement_draws")
    new = draw_and_score(model, problem, groups=groups, settings=settings, root=root)
    old = draw_and_score(problem.reference, problem, groups=groups, settings=settings, root=root)
    exact_H = _divergences(model, problem, new).mean(dim=1)
    ratios_NL = new.branches.logprobs_NL - new.reference_NL
    sampled_H = new.by_history(ratios_NL.sum(dim=1)).mean(dim=1)
    return Taken(
        Movement(
            kl_per_response=float(exact_H.mean()),
            kl_largest_state=float(exact_H.max()),
            q_gain_per_turn=_mean_value(new, problem) - _mean_value(old, problem),
        ),
        kl_sampled=float(sampled_H.mean()),
        kl_sampled_error=float(sampled_H.std(correction=0)) / len(sampled_H) ** 0.5,
        q_gain_raw=float(new.parts_EN.mean() - old.parts_EN.mean()),
        unclosed_share=float((~new.branches.is_closed_N).float().mean()),
        histories=new.histories,
    )


def _divergences(model: PreTrainedModel, problem: Problem, scored: ScoredBranches) -> Tensor:
    """KL of each response, token by token along what was said, [H, M]."""
    drawing = scored.drawing
    found_N = torch.zeros(len(scored.branches.row_N))
    for packed in scored.rows:
        passes = [
            run_packed(each, packed, suppressed_ids=drawing.suppressed_ids, temperature=drawing.temperature)
            for each in (model, problem.reference)
        ]
        found_N[packed.index_N] = token_divergences(*passes).sum(dim=1)
    return scored.by_history(found_N)


def _mean_value(scored: ScoredBranches, problem: Problem) -> float:
    return float(problem.values.of(scored.parts_EN, scored.branches).mean())
