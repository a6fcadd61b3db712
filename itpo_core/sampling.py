"""From logits to drawn tokens. Pure. B rows, V vocabulary.

The recorded log-probability of a token is that of the distribution it was drawn from: after suppression,
temperature and top-p.
"""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# logits_BV, uniforms_B -> drawn ids_B int64, their logprobs_B float32
Sampler = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def tempered(logits_BV: Tensor, temperature: float) -> Tensor:
    """Probabilities of softmax(logits / temperature); temperature is above 0."""
    return torch.softmax(logits_BV if temperature == 1 else logits_BV / temperature, dim=-1)


def nucleus(probabilities_BV: Tensor, top_p: float) -> Tensor:
    """The likeliest tokens whose mass first reaches `top_p`, renormalised; 0 for the others.

    The likeliest token always stays. Source: Holtzman et al., "The Curious Case of Neural Text Degeneration",
    section 3.1.
    """
    sorted_BV, order_BV = probabilities_BV.sort(dim=-1, descending=True, stable=True)
    is_kept_sorted_BV = sorted_BV.cumsum(dim=-1) - sorted_BV < top_p
    is_kept_BV = torch.zeros_like(is_kept_sorted_BV).scatter(-1, order_BV, is_kept_sorted_BV)
    kept_BV = probabilities_BV * is_kept_BV
    return kept_BV / kept_BV.sum(dim=-1, keepdim=True)


def draw(probabilities_BV: Tensor, uniforms_B: Tensor) -> Tensor:
    """One token per row by inverting its cumulative distribution at a number of `row_uniforms`.

    A token of probability 0 is never drawn. What a row draws depends on its own numbers alone.
    """
    cumulative_BV = probabilities_BV.cumsum(dim=-1)
    targets_B1 = uniforms_B[:, None] * cumulative_BV[:, -1:]
    return torch.searchsorted(cumulative_BV, targets_B1, right=True)[:, 0]


def sampler(temperature: float, top_p: float) -> Sampler:
    """The way to draw for these settings; temperature 0 takes the likeliest token, with log-probability 0."""
    if temperature < 0:
        raise ValueError(f"temperature {temperature}: use 0 for greedy or a positive number")
    if not 0 < top_p <= 1:
        raise ValueError(f"top_p {top_p}: use a number above 0 and at most 1")
    if temperature == 0:
        return _greedy
    if top_p == 1:
        return partial(_from_all, temperature=temperature)
    return partial(_from_nucleus, temperature=temperature, top_p=top_p)


def _greedy(logits_BV: Tensor, uniforms_B: Tensor) -> tuple[Tensor, Tensor]:
    # All mass is on the one token that greedy decoding can choose.
    return logits_BV.argmax(dim=-1), torch.zeros(len(uniforms_B), device=logits_BV.device)


def _from_all(logits_BV: Tensor, uniforms_B: Tensor, *, temperature: float) -> tuple[Tensor, Tensor]:
    return _drawn(tempered(logits_BV, temperature), uniforms_B)


def _from_nucleus(
    logits_BV: Tensor, uniforms_B: Tensor, *, temperature: float, top_p: float
) -> tuple[Tensor, Tensor]:
    return _drawn(nucleus(tempered(logits_BV, temperature), top_p), uniforms_B)


def _drawn(probabilities_BV: Tensor, uniforms_B: Tensor) -> tuple[Tensor, Tensor]:
    ids_B = draw(probabilities_BV, uniforms_B)
    return ids_B, probabilities_BV.gather(-1, ids_B[:, None])[:, 0].log()


def draw_rows(
    logits_BV: Tensor, uniforms_B: Tensor, *, temperatures_B: Tensor, top_p: float
) -> tuple[Tensor, Tensor]:
    """The same with a temperature above 0 for every row: ids_B and logprobs_B of what each was drawn from."""
    probabilities_BV = torch.softmax(logits_BV / temperatures_B[:, None], dim=-1)
    return _drawn(probabilities_BV if top_p == 1 else nucleus(probabilities_BV, top_p), uniforms_B)


def turn_temperatures(by_row: Sequence[Sequence[float]], common: float) -> NDArray[np.float32]:
    """Temperatures by row and turn, (rows, turns + 1); after a row's own have run out it is the common one.

    Raises ValueError for one that is not above 0: greedy rows have no place beside sampled ones.
    """
    turns = max((len(row) for row in by_row), default=0)
    table_BK = np.full((len(by_row), turns + 1), common, dtype=np.float32)
    for index, row in enumerate(by_row):
        table_BK[index, : len(row)] = row
    if not (table_BK > 0).all() or not np.isfinite(table_BK).all():
        wrong = table_BK[~((table_BK > 0) & np.isfinite(table_BK))][0]
        raise ValueError(
            f"temperature {wrong} of a turn: explore at a positive one, from a policy that samples"
        )
    return table_BK


def row_uniforms(seeds: Sequence[int], count: int) -> NDArray[np.float32]:
    """Uniform numbers in [0, 1), (seeds, count): number t of a row is a hash of its seed and of t alone.

    They are multiples of 2**-23, so that a float32 product with a sum of probabilities never rounds up to it.
    Source: the SplitMix64 generator, Steele, Lea and Flood, "Fast splittable pseudorandom number
    generators" (OOPSLA 2014), section 5, read at counter t.
    """
    roots_B1 = np.array([seed % 2**64 for seed in seeds], dtype=np.uint64)[:, None]
    mixed_BT = roots_B1 + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    mixed_BT = (mixed_BT ^ (mixed_BT >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed_BT = (mixed_BT ^ (mixed_BT >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed_BT ^= mixed_BT >> np.uint64(31)
    return (mixed_BT >> np.uint64(41)).astype(np.float32) * np.float32(2**-23)
