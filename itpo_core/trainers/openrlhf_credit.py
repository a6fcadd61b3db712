"""Credit on its way into OpenRLHF: what a prompt's label says, and rewards by turn laid on tokens.

Axes: B conversations, K turns, T tokens, A = T - 1 places that predict a token (OpenRLHF's action axis: place
a predicts token a + 1). OpenRLHF carries one number per conversation; a label is a text that it carries along
untouched, so what belongs to turns travels there.
"""

import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from itpo_core.trainers.base import TrainingBatch
from itpo_core.trainers.openrlhf_broken import broken_cause

BATCH_FILE = "batch.safetensors"
PROMPTS_FILE = "prompts.jsonl"


@dataclass(frozen=True, slots=True)
class CommittedRow:
    """The label of a conversation that was held before: which row of which staged batch."""

    batch: str
    row: int

    def label(self) -> str:
        """As a prompt's label."""
        return json.dumps(asdict(self), sort_keys=True)


@dataclass(frozen=True, slots=True)
class TurnRewards:
    """What an agent hands on about its conversation: rewards_K, and one past each turn's last token.

    The rest is for credit over a whole round: tokens_K, values_K as the service gave them, the outcome.
    """

    rewards: tuple[float, ...]
    ends: tuple[int, ...]
    tokens: tuple[int, ...] = ()
    values: tuple[float, ...] = ()
    outcome: float = math.nan

    def label(self) -> str:
        """As a sample's label."""
        return json.dumps(asdict(self), sort_keys=True)


@dataclass(frozen=True, slots=True)
class CreditedRow:
    """One committed conversation as OpenRLHF wants it; `is_policy_A` to `advantages_A` are by place."""

    tokens_T: Tensor
    is_policy_A: Tensor
    behaviour_logprobs_A: Tensor
    advantages_A: Tensor
    reward: float


def stage_batch(batch: TrainingBatch, folder: Path, *, multiple_of: int = 1) -> Path:
    """Write the batch and its prompts file for OpenRLHF; returns the prompts file.

    Rows that say nothing fill the last minibatch: what OpenRLHF leaves over would go into the next step. They
    have no token of the policy, so no part in a loss or in what it is divided by. A reward that is not known
    is NaN: OpenRLHF reports its mean and does nothing else with it. Raises ValueError for advantages that are
    not numbers.
    """
    broken = (~batch.advantages_BT.isfinite()).any(dim=1).nonzero()[:, 0].tolist()
    if broken:
        raise ValueError(f"conversations {broken[:5]} have advantages that are not numbers: credit them anew")
    folder.mkdir(parents=True, exist_ok=True)
    rows = -(-len(batch.lengths_B) // multiple_of) * multiple_of
    held = {
        "tokens": batch.tokens_BT,
        "is_policy": batch.is_policy_BT,
        # What is said of others' tokens is nobody's business there.
        "behaviour_logprobs": torch.where(batch.is_policy_BT, batch.behaviour_logprobs_BT.float(), 0.0),
        "advantages": torch.where(batch.is_policy_BT, batch.advantages_BT.float(), 0.0),
        "lengths": batch.lengths_B,
        "reward": _rewards(batch),
    }
    path = folder / BATCH_FILE
    save_file({name: _filled(tensor, rows) for name, tensor in held.items()}, path)
    labels = [CommittedRow(str(path), row).label() for row in range(rows)]
    prompts = folder / PROMPTS_FILE
    lines = [json.dumps({"input": f"row {row}", "label": label}) for row, label in enumerate(labels)]
    prompts.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return prompts


def committed_row(label: str) -> CreditedRow:
    """The conversation that a prompt's label names."""
    named = CommittedRow(**json.loads(label))
    held = load_file(named.batch)
    # A row that fills up has no length; a forward wants two tokens.
    row, length = named.row, max(int(held["lengths"][named.row]), 2)
    return CreditedRow(
        tokens_T=held["tokens"][row, :length],
        is_policy_A=held["is_policy"][row, 1:length],
        behaviour_logprobs_A=held["behaviour_logprobs"][row, 1:length],
        advantages_A=held["advantages"][row, 1:length],
        reward=float(held["reward"][row]),
    )


def turn_rewards(label: str) -> TurnRewards:
    """What `TurnRewards.label` wrote; nothing for a conversation that broke. Raises ValueError otherwise."""
    if broken_cause(label) is not None:
        return TurnRewards((), ())
    found = json.loads(label)
    if not isinstance(found, dict) or set(found) != {one.name for one in fields(TurnRewards)}:
        raise ValueError(f"label {label[:80]!r} holds no rewards by turn: train with our agent file")
    rows = {name: tuple(value) for name, value in found.items() if name != "outcome"}
    return TurnRewards(**rows, outcome=found["outcome"])


def shaped_rewards(values_K: Sequence[float], outcome: float) -> tuple[float, ...]:
    """Rewards by turn that sum to the outcome: each turn what it changed of Q, the last what then came true.

    Shaping by a potential, which changes no policy's rank (Ng, Harada and Russell 1999). Raises ValueError
    for a conversation without a turn.
    """
    if not values_K:
        raise ValueError("a conversation without a turn has nothing to reward")
    known = [0.0, *values_K[:-1], outcome]
    return tuple(after - before for before, after in itertools.pairwise(known))


def implicit_rewards(scores_K: Sequence[float], outcome: float) -> tuple[float, ...]:
    """ITPO's turn rewards: each turn's own score, whatever then came true.

    Raises ValueError for a conversation without a turn.
    """
    if not scores_K:
        raise ValueError(
            f"a conversation without a turn has nothing to reward, though it ended with {outcome}"
        )
    return tuple(scores_K)


def stacked(rows: Sequence[Tensor], width: int) -> Tensor:
    """Rows of places as one tensor [B, A], zeros after each row's end."""
    return torch.stack([torch.nn.functional.pad(row, (0, width - len(row))) for row in rows])


def rewards_on_places(given: Sequence[TurnRewards], is_action_BA: Tensor) -> Tensor:
    """Each turn's reward at the place that predicts the turn's last token, [B, A]; 0 elsewhere.

    Raises ValueError when a place lies outside the conversation or is not the policy's.
    """
    rewards_BA = torch.zeros(is_action_BA.shape)
    for row, one in enumerate(given):
        places_K = torch.tensor(one.ends, dtype=torch.int64) - 2
        if len(places_K) and (int(places_K.min()) < 0 or int(places_K.max()) >= is_action_BA.shape[1]):
            raise ValueError(f"conversation {row}: its turns end at {one.ends}, outside of what was kept")
        if not bool(is_action_BA[row, places_K].bool().all()):
            raise ValueError(
                f"conversation {row}: its turns end at {one.ends}, not all on the policy's tokens"
            )
        rewards_BA[row, places_K] = torch.tensor(one.rewards)
    return rewards_BA


def whitened(advantages_BA: Tensor, is_action_BA: Tensor) -> Tensor:
    """Mean 0 and population variance 1 over the policy's places, as OpenRLHF whitens a whole batch."""
    count = is_action_BA.sum()
    mean = (advantages_BA * is_action_BA).sum() / count
    variance = ((advantages_BA - mean).square() * is_action_BA).sum() / count
    return (advantages_BA - mean) * variance.clamp(min=1e-8).rsqrt()


def _rewards(batch: TrainingBatch) -> Tensor:
    unknown_B = torch.full(batch.lengths_B.shape, torch.nan)
    return unknown_B if batch.reward_B is None else batch.reward_B.float()


def _filled(tensor: Tensor, rows: int) -> Tensor:
    return torch.cat([tensor, tensor.new_zeros(rows - len(tensor), *tensor.shape[1:])]).contiguous()
