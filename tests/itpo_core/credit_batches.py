"""Batches of credited conversations for the tests: ragged, with empty turns, failures and every signal."""

from dataclasses import fields, replace
from operator import attrgetter

import torch
from torch import Tensor

from itpo_core.turn_batch import TurnBatch
from itpo_core.turn_rewards import happened

PER_ROW = ("group_B", "valid_B", "outcome_B", "reward_B", "advantage_B")
PER_TURN = (
    "happened_BK",
    "tokens_BK",
    "scores_BK",
    "draws_BK",
    "oracle_BK",
    "values_BK",
    "log_ratios_BK",
    "judge_BK",
    "oracle_star_BK",
)
PER_TOKEN = ("token_scores_BT", "turn_index_BT", "token_values_BT")


def random_batch(
    seed: int, *, rows: int = 12, turns: int = 4, groups: int = 3, failures: float = 0.15
) -> TurnBatch:
    """Ragged groups in any order, some failed rows, some empty turns; every optional tensor is there."""
    draw = torch.Generator().manual_seed(seed)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=draw, dtype=torch.float64)

    lengths_B = torch.randint(1, turns + 1, (rows,), generator=draw)
    tokens_BK = torch.randint(1, 6, (rows, turns), generator=draw)
    tokens_BK = torch.where(torch.arange(turns) < lengths_B[:, None], tokens_BK, 0)
    valid_B = uniform(rows) >= failures
    outcome_B = (uniform(rows) > 0.5).double()
    turn_index_BT = token_turns(tokens_BK)
    normal = torch.randn(5, rows, turns, generator=draw, dtype=torch.float64)
    return TurnBatch(
        group_B=torch.randint(0, groups, (rows,), generator=draw),
        valid_B=valid_B,
        outcome_B=outcome_B,
        reward_B=outcome_B - 0.002 * tokens_BK.sum(dim=1),
        advantage_B=torch.zeros(rows, dtype=torch.float64),
        happened_BK=happened(tokens_BK, valid_B),
        tokens_BK=tokens_BK,
        scores_BK=normal[0],
        draws_BK=-uniform(rows, turns).clamp(min=1e-12).log(),
        oracle_BK=normal[1],
        values_BK=uniform(rows, turns),
        log_ratios_BK=normal[2],
        judge_BK=uniform(rows, turns),
        oracle_star_BK=normal[3],
        token_scores_BT=torch.randn(turn_index_BT.shape, generator=draw, dtype=torch.float64),
        turn_index_BT=turn_index_BT,
        token_values_BT=uniform(*turn_index_BT.shape),
    )


def token_turns(tokens_BK: Tensor) -> Tensor:
    """Turn index of every token: one user token before each turn, padding at the end, [B, T]."""
    rows = [
        [index for turn, count in enumerate(row) for index in [-1, *[turn] * count]]
        for row in tokens_BK.tolist()
    ]
    width = max(len(row) for row in rows)
    return torch.tensor([row + [-1] * (width - len(row)) for row in rows])


def taken(turns: TurnBatch, rows: Tensor) -> TurnBatch:
    """The same batch with these rows in this order."""
    picked = {
        field.name: value[rows]
        for field in fields(turns)
        if (value := value_of(turns, field.name)) is not None
    }
    return replace(turns, **picked)


def padded(turns: TurnBatch, *, turns_more: int, tokens_more: int) -> TurnBatch:
    """The same batch with more padding, which holds what must never be read."""
    pad = torch.nn.functional.pad
    counts = {"happened_BK": False, "tokens_BK": 0}
    by_turn = {
        name: pad(value, (0, turns_more), value=counts.get(name, float("nan")))
        for name in PER_TURN
        if (value := value_of(turns, name)) is not None
    }
    by_token = {
        name: pad(value, (0, tokens_more), value=-1 if name == "turn_index_BT" else float("nan"))
        for name in PER_TOKEN
        if (value := value_of(turns, name)) is not None
    }
    return replace(turns, **by_turn, **by_token)


def value_of(turns: TurnBatch, name: str) -> Tensor | None:
    """A field of the batch by name."""
    return attrgetter(name)(turns)
