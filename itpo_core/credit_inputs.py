"""What may enter credit: a batch that does not fit is refused, a conversation that does not is left out.

Axes: B conversations, K turns, T tokens (both right-padded). A conversation that is left out becomes invalid
before anything is computed, so that it never changes another one's advantage; each has one cause, the first
that applies in the order of `CAUSES`, and every cause is counted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from math import isfinite, nan
from operator import attrgetter

import torch
from torch import Tensor

from itpo_core.turn_batch import TurnBatch

# A log-probability of a certain token may lie this far above 0 by rounding.
LOGPROB_TOLERANCE = 1e-4
CAUSES = (
    "outcome_not_finite",
    "outcome_out_of_range",
    "reward_not_finite",
    "score_not_finite",
    "no_policy_token",
    "logprob_not_finite",
    "logprob_positive",
)


@dataclass(frozen=True, slots=True)
class Checked:
    """The batch without what cannot be trusted, and how many conversations were left out by cause."""

    turns: TurnBatch
    left_out: Mapping[str, int]


def checked_turns(
    turns: TurnBatch, *, logprobs_BT: Tensor | None = None, lowest: float = 0.0, highest: float = 1.0
) -> Checked:
    """Leave out conversations by the causes of the module; `logprobs_BT` are those of the policy's tokens.

    Raises ValueError for tensors whose shapes do not fit together and for log-probabilities of another length
    than the tokens.
    """
    refuse_shapes(turns)
    faults = _row_faults(turns, lowest=lowest, highest=highest)
    if logprobs_BT is not None:
        faults |= _logprob_faults(turns, logprobs_BT)
    counts: dict[str, int] = {}
    valid_B = turns.valid_B
    for cause in CAUSES:
        hit_B = valid_B & faults.get(cause, torch.zeros_like(valid_B))
        counts[cause] = int(hit_B.sum())
        valid_B = valid_B & ~hit_B
    kept = replace(turns, valid_B=valid_B, happened_BK=turns.happened_BK & valid_B[:, None])
    return Checked(kept, {cause: count for cause, count in counts.items() if count})


def refuse_shapes(turns: TurnBatch) -> None:
    """Raise ValueError naming the first tensor whose shape is not that of the others of its axes."""
    rows, width = tuple(turns.tokens_BK.shape)
    tokens = None if turns.turn_index_BT is None else int(turns.turn_index_BT.shape[1])
    for field in fields(turns):
        value = attrgetter(field.name)(turns)
        if value is None:
            continue
        expected = {"B": (rows,), "BK": (rows, width), "BT": (rows, tokens)}[field.name.rsplit("_", 1)[1]]
        if tuple(value.shape) != expected:
            raise ValueError(
                f"{field.name} has shape {tuple(value.shape)}, tokens_BK and turn_index_BT ask for"
                f" {expected}: pass one row a conversation, padded to the same turns and tokens"
            )


def outcomes_of(values: Sequence[object]) -> Tensor:
    """Outcomes as float64 [B]; None (nobody scored it) becomes NaN and is left out by `checked_turns`.

    Raises ValueError naming the row for a text, a truth value or anything else that is not a number.
    """
    numbers = []
    for row, value in enumerate(values):
        if value is None:
            numbers.append(nan)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            numbers.append(float(value))
        else:
            raise ValueError(
                f"row {row}: outcome {value!r} is no number; write a fraction of success between 0 and 1,"
                " or nothing where nobody scored the conversation"
            )
    return torch.tensor(numbers, dtype=torch.float64)


def logprob_fault(logprobs: Sequence[float], *, tokens: int) -> str | None:
    """Why the log-probabilities of one turn cannot be used, None when they can."""
    if len(logprobs) != tokens:
        return f"{len(logprobs)} log-probabilities for {tokens} tokens"
    for place, value in enumerate(logprobs):
        if not isfinite(value):
            return f"log-probability {value} of token {place} is not finite"
        if value > LOGPROB_TOLERANCE:
            return f"log-probability {value} of token {place} is positive"
    return None


def _row_faults(turns: TurnBatch, *, lowest: float, highest: float) -> dict[str, Tensor]:
    broken_BK = ~turns.scores_BK.isfinite() & turns.happened_BK
    return {
        "outcome_not_finite": ~turns.outcome_B.isfinite(),
        "outcome_out_of_range": (turns.outcome_B < lowest) | (turns.outcome_B > highest),
        "reward_not_finite": ~turns.reward_B.isfinite(),
        "score_not_finite": broken_BK.any(dim=1),
        "no_policy_token": ~(turns.tokens_BK > 0).any(dim=1),
    }


def _logprob_faults(turns: TurnBatch, logprobs_BT: Tensor) -> dict[str, Tensor]:
    if turns.turn_index_BT is None or logprobs_BT.shape != turns.turn_index_BT.shape:
        wanted = None if turns.turn_index_BT is None else tuple(turns.turn_index_BT.shape)
        raise ValueError(
            f"log-probabilities of shape {tuple(logprobs_BT.shape)} for tokens of shape {wanted}: pass one"
            " for every token of turn_index_BT"
        )
    spoken_BT = turns.turn_index_BT >= 0
    return {
        "logprob_not_finite": (spoken_BT & ~logprobs_BT.isfinite()).any(dim=1),
        "logprob_positive": (spoken_BT & (logprobs_BT > LOGPROB_TOLERANCE)).any(dim=1),
    }
