"""From a value per token to the loss of a minibatch. Pure: tensors in, tensors out.

Every aggregation is a weighted sum whose denominators are counted over the whole minibatch. So the parts of a
minibatch may pass the model one by one, and their losses (and gradients) add up to those of the whole.
Axes: N policy tokens of a part, S its sequences; a sequence never lies in two parts.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

from torch import Tensor

from itpo_core.sequences import Sequences


@dataclass(frozen=True, slots=True)
class Whole:
    """Counts over the whole minibatch; `norm_tokens` is the constant length of the norms (None: not set)."""

    tokens: int
    sequences: int
    norm_tokens: int | None = None


class Aggregation(Protocol):
    """One number from the values of a part's tokens."""

    def __call__(self, values_N: Tensor, of: Sequences, *, whole: Whole) -> Tensor:
        """What the part adds to the loss of the minibatch."""
        ...


def token_mean(values_N: Tensor, of: Sequences, *, whole: Whole) -> Tensor:
    """Every token weighs the same, so long sequences weigh more. Source: DAPO (arXiv:2503.14476), eq. 12."""
    return values_N.sum() / whole.tokens


def sequence_mean_token_mean(values_N: Tensor, of: Sequences, *, whole: Whole) -> Tensor:
    """Mean over sequences of their mean over tokens. Source: GRPO (arXiv:2402.03300), eq. 3."""
    return (values_N / of.tokens_S[of.index_N]).sum() / whole.sequences


def sequence_mean_token_sum(values_N: Tensor, of: Sequences, *, whole: Whole) -> Tensor:
    """Mean over sequences of their sum over tokens: the plain policy gradient of whole sequences."""
    return values_N.sum() / whole.sequences


def sequence_mean_token_sum_norm(values_N: Tensor, of: Sequences, *, whole: Whole) -> Tensor:
    """The same, over a constant length: no length is favoured. Source: Dr. GRPO (arXiv:2503.20783)."""
    return values_N.sum() / (whole.sequences * checked_norm(whole.norm_tokens))


def token_sum_norm(values_N: Tensor, of: Sequences, *, whole: Whole) -> Tensor:
    """Sum over all tokens over a constant, the count of sequences left out: verl's reading of Dr. GRPO."""
    return values_N.sum() / checked_norm(whole.norm_tokens)


AGGREGATIONS: Mapping[str, Aggregation] = MappingProxyType(
    {
        "token_mean": token_mean,
        "sequence_mean_token_mean": sequence_mean_token_mean,
        "sequence_mean_token_sum": sequence_mean_token_sum,
        "sequence_mean_token_sum_norm": sequence_mean_token_sum_norm,
        "token_sum_norm": token_sum_norm,
    }
)


def checked_norm(norm_tokens: int | None) -> int:
    """The constant itself. Raises ValueError when it is not set or below 1."""
    if norm_tokens is None or norm_tokens < 1:
        raise ValueError(
            f"norm_tokens {norm_tokens}: an aggregation over a constant length needs it at 1 or above;"
            " set it to the longest sequence that the sampler allows, in tokens"
        )
    return norm_tokens
