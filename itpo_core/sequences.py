"""What a sequence is when a loss speaks of sequences: a whole conversation, or each turn of it.

Axes: B conversations, T tokens (right-padded), N policy tokens of a minibatch row by row, S its sequences.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Sequences:
    """index_N int64: the sequence of every policy token, 0 to S - 1; tokens_S int64: its length, never 0."""

    index_N: Tensor
    tokens_S: Tensor


def conversations(wanted_BT: Tensor, turn_BT: Tensor | None) -> Sequences:
    """Every conversation with a policy token is one sequence, whatever turns it has."""
    return _numbered(wanted_BT.nonzero()[:, 0])


def turns(wanted_BT: Tensor, turn_BT: Tensor | None) -> Sequences:
    """Every turn with a policy token is a sequence of its own. Raises ValueError when no turn is known."""
    if turn_BT is None:
        raise ValueError("sequence 'turn' needs turn_BT in the batch: pass it, or name 'conversation'")
    row_N = wanted_BT.nonzero()[:, 0]
    return _numbered(row_N * (turn_BT.max() + 1) + turn_BT[wanted_BT])


SEQUENCES: Mapping[str, Callable[[Tensor, Tensor | None], Sequences]] = MappingProxyType(
    {"conversation": conversations, "turn": turns}
)


def sequence_sums(values_N: Tensor, of: Sequences) -> Tensor:
    """Sum over the tokens of every sequence, [S]."""
    return values_N.new_zeros(len(of.tokens_S)).index_add(0, of.index_N, values_N)


def sequence_means(values_N: Tensor, of: Sequences) -> Tensor:
    """Mean over the tokens of every sequence, [S]."""
    return sequence_sums(values_N, of) / of.tokens_S


def largest_of(values_N: Tensor, of: Sequences) -> Tensor:
    """The largest value among the tokens of every sequence, [S]."""
    lowest_S = values_N.new_full((len(of.tokens_S),), -torch.inf)
    return lowest_S.scatter_reduce(0, of.index_N, values_N, reduce="amax")


def _numbered(names_N: Tensor) -> Sequences:
    _, index_N, tokens_S = names_N.unique(return_inverse=True, return_counts=True)
    return Sequences(index_N, tokens_S)
