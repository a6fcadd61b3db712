"""Committed turns become padded tensors: one stream of tokens per conversation.

Axes: B conversations, K turns, T tokens (right-padded; lengths are kept, never inferred from ids).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

Row = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Streams:
    """Conversations as token streams, in the order of `conversation_ids`.

    tokens_BT int64; is_policy_BT bool (the policy's own tokens); turn_BT int64 (turn index on those tokens,
    -1 elsewhere); behaviour_logprobs_BT float32; lengths_B int64; turns_B int64.
    """

    conversation_ids: tuple[str, ...]
    tokens_BT: "Tensor"
    is_policy_BT: "Tensor"
    turn_BT: "Tensor"
    behaviour_logprobs_BT: "Tensor"
    lengths_B: "Tensor"
    turns_B: "Tensor"


@dataclass(frozen=True, slots=True)
class _Stream:
    tokens: list[int]
    turn: list[int]
    logprobs: list[float]


def streams(turn_rows: Iterable[Row]) -> Streams:
    """Concatenate each conversation's new prompt tokens and responses, in turn order.

    Rows come ordered by conversation and turn index. A conversation without token ids is refused: it must
    be encoded first.
    """
    import torch

    grouped = _grouped(turn_rows)
    flat = {conversation: _stream(rows) for conversation, rows in grouped.items()}
    lengths = [len(stream.tokens) for stream in flat.values()]
    width = max(lengths, default=0)
    turn_BT = _padded([stream.turn for stream in flat.values()], width, fill=-1)
    return Streams(
        conversation_ids=tuple(flat),
        tokens_BT=_padded([stream.tokens for stream in flat.values()], width, fill=0),
        is_policy_BT=turn_BT >= 0,
        turn_BT=turn_BT,
        behaviour_logprobs_BT=_padded([stream.logprobs for stream in flat.values()], width, fill=0.0),
        lengths_B=torch.tensor(lengths, dtype=torch.int64),
        turns_B=torch.tensor([len(rows) for rows in grouped.values()], dtype=torch.int64),
    )


def spread_over_tokens(values_by_turn: Mapping[tuple[str, int], float], of: Streams) -> "Tensor":
    """Give every policy token its turn's value; zero elsewhere. Float32 [B, T]."""
    import torch

    width = int(of.turns_B.max()) if len(of.conversation_ids) else 0
    values_BK = torch.zeros(len(of.conversation_ids), max(width, 1))
    for row, conversation in enumerate(of.conversation_ids):
        for turn in range(int(of.turns_B[row])):
            values_BK[row, turn] = values_by_turn[conversation, turn]
    return values_BK.gather(1, of.turn_BT.clamp(min=0)) * of.is_policy_BT


def _grouped(turn_rows: Iterable[Row]) -> dict[str, list[Row]]:
    grouped: dict[str, list[Row]] = {}
    for row in turn_rows:
        grouped.setdefault(str(row["conversation_id"]), []).append(row)
    return grouped


def _stream(rows: Sequence[Row]) -> _Stream:
    stream = _Stream([], [], [])
    for row in rows:
        prompt, response, logprobs = (_list(row[name]) for name in ("prompt_ids", "response_ids", "logprobs"))
        if not response:
            raise ValueError(
                f"conversation {row['conversation_id']}, turn {row['turn_index']}: no token ids to train on; "
                "logged conversations are encoded with the policy's tokenizer first"
            )
        index = int(str(row["turn_index"]))
        stream.tokens.extend([*map(int, prompt), *map(int, response)])
        stream.turn.extend([-1] * len(prompt) + [index] * len(response))
        stream.logprobs.extend([0.0] * len(prompt) + (logprobs or [0.0] * len(response)))
    return stream


def _list(value: object) -> list[float]:
    return list(value) if isinstance(value, list | tuple) else []


def _padded(rows: Sequence[Sequence[float]], width: int, *, fill: float) -> "Tensor":
    import torch

    kind = torch.int64 if isinstance(fill, int) else torch.float32
    padded = torch.full((len(rows), width), fill, dtype=kind)
    for row, values in enumerate(rows):
        padded[row, : len(values)] = torch.tensor(values, dtype=kind)
    return padded
