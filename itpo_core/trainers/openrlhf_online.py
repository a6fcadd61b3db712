"""Credit of conversations that were held inside OpenRLHF: the same function as for committed ones. Pure.

Axes: B conversations, K turns (right-padded), A places that predict a token (place a predicts token a + 1).
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Self

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from itpo_core.credit import CreditMethod, credit
from itpo_core.normalisation import RunningScale
from itpo_core.trainers.openrlhf_broken import broken_cause
from itpo_core.trainers.openrlhf_credit import turn_rewards
from itpo_core.turn_batch import BatchScalars, TurnBatch
from itpo_core.turn_rewards import happened


@dataclass(frozen=True, slots=True)
class HeldTurns:
    """What is known of a held conversation: outcome, and of each turn its score, its tokens, where it ends.

    `ends` are one past a turn's last token in the conversation's stream.
    """

    outcome: float
    scores: tuple[float, ...]
    tokens: tuple[int, ...]
    ends: tuple[int, ...]


def held_turns(label: str) -> HeldTurns | None:
    """What an agent's label says of its conversation; None for one that broke. Raises ValueError else."""
    if broken_cause(label) is not None:
        return None
    found = turn_rewards(label)
    return HeldTurns(found.outcome, found.values, found.tokens, found.ends)


@dataclass(frozen=True, slots=True)
class OnlineCredit:
    """How turns are credited: the method, what a token costs, samples of each prompt."""

    method: CreditMethod
    token_cost: float
    samples: int

    def text(self) -> str:
        """For a variable of the environment."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def read(cls, text: str) -> Self:
        """What `text` wrote."""
        found = json.loads(text)
        method = found.pop("method")
        scalars, running = method.pop("scalars"), method.pop("running")
        return cls(
            CreditMethod(
                **method,
                scalars=None if scalars is None else BatchScalars(**scalars),
                running=None if running is None else RunningScale(**running),
            ),
            **found,
        )


def advantages(held: Sequence[HeldTurns | None], own: OnlineCredit, *, prompt_B: Tensor) -> Tensor:
    """The advantage of every turn, [B, K]; 0 where there is no turn and where the conversation broke (None).

    `prompt_B` says which rows answer the same prompt. A broken one is in no mean and compared with nothing.
    Raises as `itpo_core.credit.credit` does.
    """
    whole = [HeldTurns(0.0, (), (), ()) if one is None else one for one in held]
    tokens_BK = _padded([one.tokens for one in whole])
    valid_B = torch.tensor([one is not None for one in held])
    happened_BK = happened(tokens_BK, valid_B)
    outcome_B = torch.tensor([one.outcome for one in whole], dtype=torch.float64)
    turns = TurnBatch(
        group_B=prompt_B,
        valid_B=valid_B,
        outcome_B=outcome_B,
        reward_B=outcome_B - own.token_cost * tokens_BK.sum(dim=1),
        advantage_B=torch.zeros_like(outcome_B),
        happened_BK=happened_BK,
        tokens_BK=tokens_BK,
        scores_BK=_padded([one.scores for one in whole]).double(),
        draws_BK=torch.ones_like(tokens_BK, dtype=torch.float64),
        oracle_BK=torch.zeros_like(tokens_BK, dtype=torch.float64),
    )
    return torch.where(happened_BK, credit(turns, own.method).advantages_BK, 0.0)


def on_places(held: HeldTurns | None, advantages_K: Tensor, *, places: int) -> Tensor:
    """Each turn's advantage on all the places that predict its tokens, [A]; 0 elsewhere.

    Raises ValueError for a turn that ends outside of what was kept.
    """
    laid_A = torch.zeros(places, dtype=torch.float32)
    if held is None:
        return laid_A
    for end, tokens, advantage in zip(held.ends, held.tokens, advantages_K.tolist(), strict=False):
        if end - 1 > places:
            raise ValueError(
                f"a turn ends at {end}, outside of {places + 1} tokens: the conversation was cut"
            )
        laid_A[end - tokens - 1 : end - 1] = advantage
    return laid_A


def _padded(rows: Sequence[Sequence[float]]) -> Tensor:
    columns = [torch.tensor(row if row else (0,)) for row in rows]
    return pad_sequence(columns, batch_first=True)
