"""What the scores of a reward model look like: by turn index, as shares, and beside another version's. Pure.

Axes: B conversations, K turns (right-padded), T tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from itpo_core.statistics import spearman
from itpo_core.turn_rewards import masked_softmax, turn_counts


@dataclass(frozen=True, slots=True)
class TurnMoments:
    """Mean and population standard deviation of the scores of one turn index, over who reached it."""

    turn_index: int
    conversations: int
    mean: float
    std: float


def moments_by_turn(scores_BK: Tensor, happened_BK: Tensor) -> tuple[TurnMoments, ...]:
    """One entry per turn index that happened somewhere."""
    scores_BK = scores_BK.double()
    return tuple(
        TurnMoments(
            turn_index=turn,
            conversations=int(reached_B.sum()),
            mean=float(scores_BK[reached_B, turn].mean()),
            std=float(scores_BK[reached_B, turn].std(correction=0)),
        )
        for turn, reached_B in enumerate(happened_BK.T)
        if bool(reached_B.any())
    )


def share_entropy(scores_BK: Tensor, happened_BK: Tensor, *, temperature: float) -> float | None:
    """Mean over conversations of the entropy of softmax(S / temperature), divided by log K.

    1: every turn shares alike; 0: one turn takes all. Conversations of a single turn have no share to give
    and are left out; None when there is no other. Raises ValueError for a temperature that is not above 0.
    """
    if not temperature > 0:
        raise ValueError(f"temperature {temperature}: shares are defined for temperatures above 0 only")
    several_B = turn_counts(happened_BK) > 1
    if not bool(several_B.any()):
        return None
    happened = happened_BK[several_B]
    shares = masked_softmax(scores_BK[several_B].double() / temperature, happened)
    entropies = torch.special.entr(shares).sum(dim=1) / turn_counts(happened).double().log()
    return float(entropies.mean())


def rank_stability(before: Tensor, after: Tensor, *, among: Tensor) -> float | None:
    """Spearman's correlation of two versions' scores of the same turns or tokens, where `among` is true.

    None when there are fewer than two, or when one version scores all of them alike. Source: ITPO
    (arXiv:2603.23550), which compares turn and token level by it.
    """
    return spearman(before[among].tolist(), after[among].tolist())


def token_lists(values_BT: Tensor, turn_BT: Tensor, *, turns_B: Sequence[int]) -> list[list[list[float]]]:
    """The values of every turn's own tokens, in their order, per conversation and turn."""
    return [
        _split(values_T[turn_T >= 0].tolist(), torch.bincount(turn_T[turn_T >= 0], minlength=turns).tolist())
        for values_T, turn_T, turns in zip(values_BT, turn_BT, turns_B, strict=True)
    ]


def _split(values: Sequence[float], counts: Sequence[int]) -> list[list[float]]:
    ends = list(accumulate(counts))
    return [list(values[end - count : end]) for count, end in zip(counts, ends, strict=True)]
