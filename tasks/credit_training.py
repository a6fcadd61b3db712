"""The turn rewards and advantages that will train: committed turns through `itpo_core.credit`."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from storage.rows import Table, of_columns
from tasks.config import Algorithm, ConfigError
from tasks.config_credit import NEEDS_LOG_RATIOS, NEEDS_SCORES, STREAMS
from tasks.credit_lab_data import LabBatch

if TYPE_CHECKING:
    from torch import Tensor

    from itpo_core.credit import Credited, CreditFacts, CreditMethod
    from itpo_core.turn_batch import TurnBatch


@dataclass(frozen=True, slots=True)
class Trained:
    """One row per kept turn, the facts of the batch, and how many conversations gave none, by cause."""

    table: Table
    facts: "CreditFacts"
    left_out: Mapping[str, int]

    @property
    def figures(self) -> dict[str, float]:
        """All that a replay of the batch needs, and what the batch taught."""
        facts = self.facts
        optional = {"share_entropy": facts.share_entropy, "explained_variance": facts.explained_variance}
        return {
            "turns": float(self.table.num_rows),
            "mean_turn_tokens": facts.scalars.mean_turn_tokens,
            "largest_return": facts.scalars.largest_return,
            "running_mean_square": facts.running.mean_square,
            "running_batches": float(facts.running.batches),
            "groups": float(facts.groups.groups),
            "groups_too_few_valid": float(facts.groups.too_few_valid),
            "groups_zero_variance": float(facts.groups.zero_variance),
            "unjudged": float(facts.unjudged),
            **{f"left_out_{cause}": float(count) for cause, count in self.left_out.items()},
            **{name: value for name, value in optional.items() if value is not None},
        }


def trained(batch: LabBatch, method: "CreditMethod") -> Trained:
    """Give credit to every turn of the batch; conversations that cannot get any have 0 and are counted.

    Raises ConfigError for an algorithm that needs what this iteration does not have, with the remedy.
    """
    from itpo_core.credit import credit

    turns, left_out = usable_turns(batch, Algorithm(method.algorithm), has_critic=method.advantage == "ppo")
    if method.algorithm == Algorithm.ORACLE_PI and not batch.has_oracle:
        raise ConfigError("credit.algorithm oracle_pi: this environment does not know what turns are worth")
    try:
        given = credit(turns, method)
    except ValueError as reason:
        raise ConfigError(f"credit.algorithm {method.algorithm}: {reason}") from reason
    return Trained(table_of(batch, given), given.facts, left_out)


def usable_turns(
    batch: LabBatch, algorithm: Algorithm, *, has_critic: bool
) -> "tuple[TurnBatch, Mapping[str, int]]":
    """The batch without conversations that lack what the algorithm reads of every turn."""
    import torch

    from itpo_core.credit_inputs import checked_turns
    from itpo_core.turn_rewards import happened

    turns = batch.turns
    everyone_B = torch.ones_like(turns.valid_B)
    scores_BK = turns.scores_BK if algorithm in NEEDS_SCORES else turns.scores_BK.nan_to_num()
    values_BK = batch.return_values_BK if has_critic and algorithm in STREAMS else turns.values_BK
    turns = replace(
        turns,
        valid_B=everyone_B,
        happened_BK=happened(turns.tokens_BK, everyone_B),
        scores_BK=scores_BK,
        values_BK=values_BK,
    )
    reads = {
        "no_value": values_BK if has_critic or algorithm is Algorithm.PREFIX_VALUE else None,
        "no_log_ratio": turns.log_ratios_BK if algorithm in NEEDS_LOG_RATIOS else None,
    }
    counts: dict[str, int] = {}
    for cause, signal_BK in reads.items():
        if signal_BK is not None:
            turns, counts[cause] = _without_gaps(turns, signal_BK)
    checked = checked_turns(turns)
    return checked.turns, {**{cause: count for cause, count in counts.items() if count}, **checked.left_out}


def table_of(batch: LabBatch, given: "Credited") -> Table:
    """The rows of the `trained` relation, in the order of the batch's rows."""
    return of_columns(
        "trained",
        {
            "conversation_id": batch.ids_of_turns(),
            "turn_index": batch.turn_N.tolist(),
            "credit": given.rewards_BK[batch.row_N, batch.turn_N].tolist(),
            "advantage": given.advantages_BK[batch.row_N, batch.turn_N].tolist(),
            "token_advantages": _token_lists(batch, given),
        },
    )


def _without_gaps(turns: "TurnBatch", signal_BK: "Tensor") -> "tuple[TurnBatch, int]":
    gap_B = turns.valid_B & (turns.happened_BK & signal_BK.isnan()).any(dim=1)
    valid_B = turns.valid_B & ~gap_B
    kept = replace(turns, valid_B=valid_B, happened_BK=turns.happened_BK & valid_B[:, None])
    return kept, int(gap_B.sum())


def _token_lists(batch: LabBatch, given: "Credited") -> list[list[float] | None]:
    turn_BT = batch.turns.turn_index_BT
    if given.token_advantages_BT is None or turn_BT is None:
        return [None] * len(batch.turn_N)
    lists: list[list[float] | None] = []
    for row, turn in zip(batch.row_N.tolist(), batch.turn_N.tolist(), strict=True):
        lists.append(given.token_advantages_BT[row][turn_BT[row] == turn].tolist())
    return lists
