"""What credit needs to know of a turn and SQL cannot compute: placebo draws and the environment's truth."""

from collections.abc import Sequence
from typing import TypedDict

from itpo_core.envs.base import TurnOracle
from itpo_core.identifiers import derive_seed
from storage import commits
from storage.commits import Commit
from storage.rows import Table, to_table
from storage.warehouse import run_sql
from tasks import build
from tasks.context import Context
from tasks.records import truths_of


class TurnInput(TypedDict):
    """What SQL cannot compute: a placebo draw, and the oracle's advantage where there is an oracle."""

    conversation_id: str
    turn_index: int
    dirichlet_draw: float
    oracle_advantage: float | None


def turn_inputs(context: Context, rollouts: Commit) -> Table:
    """The placebo draws and the oracle's advantages, one row per turn of the iteration."""
    rows = run_sql(
        "turn_truths.sql",
        relations={
            name: commits.table_paths(context.store, rollouts, table=name)
            for name in ("turns", "conversations")
        },
        parameters={},
        settings=context.duck,
    ).to_pylist()
    advantages = oracle_advantages(build.domain(context.config).oracle, rows)
    draws = exponential_draws(
        len(rows), seed=derive_seed(context.config.seed, "dirichlet", context.iteration)
    )
    return to_table(
        "turn_inputs",
        [
            TurnInput(
                conversation_id=row["conversation_id"],
                turn_index=row["turn_index"],
                dirichlet_draw=draw,
                oracle_advantage=advantage,
            )
            for row, draw, advantage in zip(rows, draws, advantages, strict=True)
        ],
    )


def oracle_advantages(oracle: TurnOracle | None, rows: Sequence[dict[str, object]]) -> list[float | None]:
    """Advantage of every turn under the policy that spoke, in row order; None where nobody knows it."""
    if oracle is None or any(row["turn_kind"] is None for row in rows):
        return [None] * len(rows)
    conversations: dict[object, list[dict[str, object]]] = {}
    for row in rows:
        conversations.setdefault(row["conversation_id"], []).append(row)
    nested = oracle.policy_advantages(
        [truths_of(turns) for turns in conversations.values()],
        personas=[str(turns[0]["persona_id"]) for turns in conversations.values()],
    )
    return [value for turns in nested for value in turns]


def exponential_draws(count: int, *, seed: int) -> list[float]:
    """Unit exponential draws, one per turn: their shares are uniform on the simplex."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    return (-torch.rand(count, generator=generator, dtype=torch.float64).clamp(min=1e-12).log()).tolist()
