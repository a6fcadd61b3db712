"""Committed rollouts as the batch that credit is computed from, in its stage and in the lab.

Axes: B conversations, K turns, T policy tokens (all right-padded).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from storage.duck import DEFAULTS, DuckSettings
from storage.rows import Table
from storage.warehouse import Relation, run_sql
from tasks.config import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

    from itpo_core.turn_batch import TurnBatch

QUERY = "lab/turns.sql"
Columns = Mapping[str, Any]  # Any: a NumPy array per column
TokenScores: TypeAlias = "tuple[Tensor, Tensor] | tuple[None, None]"


@dataclass(frozen=True, slots=True)
class LabBatch:
    """The batch, whether its environment knows Q^pi - V^pi, and how many conversations lack a turn's score.

    Those take part in no comparison (`valid_B` is false), unless nobody has a score: then the methods that
    need one are refused and the others compared. `return_values_BK` are of the critic of a stream of turn
    rewards, None without one. `ids` name the rows of the batch; `row_N` and `turn_N` say where in it each row
    of the query lies.
    """

    turns: "TurnBatch"
    has_oracle: bool
    unscored: int
    return_values_BK: "Tensor | None"
    ids: tuple[str, ...]
    row_N: "Tensor"
    turn_N: "Tensor"

    def ids_of_turns(self) -> list[str]:
        """The conversation of every row of the query."""
        return [self.ids[row] for row in self.row_N.tolist()]


def lab_batch(relations: Mapping[str, Relation], *, settings: DuckSettings = DEFAULTS) -> LabBatch:
    """Read the rows once, in SQL, and lay them out. Raises ConfigError when no conversation was kept."""
    table = run_sql(QUERY, relations=relations, parameters={}, settings=settings)
    if table.num_rows == 0:
        raise ConfigError(
            "no turn of a kept conversation: nothing can get credit; `itpo sql` on curated says why"
        )
    # Copies: the columns as they come share memory that nobody may write to.
    columns = {
        name: table.column(name).to_numpy().copy()
        for name in table.column_names
        if name not in ("token_scores", "conversation_id")
    }
    # The rows come in the order of the numbers, and so do the names.
    ids = dict.fromkeys(table.column("conversation_id").to_pylist())
    return _batch(columns, tuple(ids), token_scores=_token_scores(table, columns))


def _batch(columns: Columns, ids: tuple[str, ...], *, token_scores: "TokenScores") -> LabBatch:
    import torch

    from itpo_core.turn_batch import TurnBatch
    from itpo_core.turn_rewards import happened

    tokens_BK = _laid_out(columns, "tokens", fill=0).long()
    scores_BK = _laid_out(columns, "score", fill=torch.nan)
    oracle_BK = _laid_out(columns, "oracle", fill=torch.nan)
    spoken_BK = tokens_BK > 0
    scored_B = ~(spoken_BK & scores_BK.isnan()).any(dim=1)
    valid_B = scored_B if bool(scored_B.any()) else torch.ones_like(scored_B)
    has_oracle = not bool((spoken_BK & oracle_BK.isnan()).any())
    reward_B = _per_conversation(columns, "reward")
    return LabBatch(
        turns=TurnBatch(
            group_B=_per_conversation(columns, "group_number").long(),
            valid_B=valid_B,
            outcome_B=_per_conversation(columns, "outcome"),
            reward_B=reward_B,
            advantage_B=torch.zeros_like(reward_B),
            happened_BK=happened(tokens_BK, valid_B),
            tokens_BK=tokens_BK,
            scores_BK=scores_BK,
            draws_BK=_laid_out(columns, "draw", fill=1.0),
            oracle_BK=oracle_BK if has_oracle else torch.zeros_like(oracle_BK),
            values_BK=_where_known(columns, "value"),
            log_ratios_BK=_where_known(columns, "log_ratio"),
            judge_BK=_where_known(columns, "judge"),
            oracle_star_BK=_where_known(columns, "oracle_star"),
            token_scores_BT=token_scores[0],
            turn_index_BT=token_scores[1],
        ),
        has_oracle=has_oracle,
        unscored=int((~scored_B).sum()),
        return_values_BK=_where_known(columns, "return_value"),
        ids=ids,
        row_N=torch.from_numpy(columns["conversation_number"]),
        turn_N=torch.from_numpy(columns["turn_index"]),
    )


def _laid_out(columns: Columns, name: str, *, fill: float) -> "Tensor":
    """One value per turn as [B, K] in float64; `fill` where there is no turn. A null stays NaN."""
    import torch

    row_N, turn_N = torch.from_numpy(columns["conversation_number"]), torch.from_numpy(columns["turn_index"])
    shape = (int(row_N.max()) + 1, int(turn_N.max()) + 1)
    laid_BK = torch.full(shape, fill, dtype=torch.float64)
    laid_BK[row_N, turn_N] = torch.from_numpy(columns[name].astype("float64"))
    return laid_BK


def _where_known(columns: Columns, name: str) -> "Tensor | None":
    """The same, 0 where there is no turn; None where not a single turn has a value."""
    values = columns[name].astype("float64")
    is_known = bool((values == values).any())  # NaN, which a null became, equals nothing
    return _laid_out(columns, name, fill=0.0) if is_known else None


def _per_conversation(columns: Columns, name: str) -> "Tensor":
    return _laid_out(columns, name, fill=0.0)[:, 0]


def _token_scores(table: Table, columns: Columns) -> "TokenScores":
    """The terms of the scores, conversation by conversation, and the turn of each; None without any."""
    import torch

    lists = table.column("token_scores").combine_chunks()
    if lists.null_count == len(lists):
        return None, None
    counts_N = torch.tensor(lists.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)).long()
    values = torch.tensor(lists.flatten().to_numpy(zero_copy_only=False), dtype=torch.float64)
    row_N = torch.from_numpy(columns["conversation_number"])
    of_token = torch.repeat_interleave(row_N, counts_N)
    total_B = torch.zeros(int(row_N.max()) + 1, dtype=torch.int64).scatter_add(0, row_N, counts_N)
    place = torch.arange(len(values)) - (total_B.cumsum(0) - total_B)[of_token]
    shape = (len(total_B), max(int(total_B.max()), 1))
    scores_BT, turn_BT = torch.zeros(shape, dtype=torch.float64), torch.full(shape, -1)
    scores_BT[of_token, place] = values
    turn_BT[of_token, place] = torch.repeat_interleave(torch.from_numpy(columns["turn_index"]), counts_N)
    return scores_BT, turn_BT
