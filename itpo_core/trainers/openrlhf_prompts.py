"""Visited histories as prompts of OpenRLHF: one reply each, with Q as its reward.

OpenRLHF takes texts and makes tokens of them itself. A history goes over only where its text gives its tokens
back exactly: words that a user typed like a special token would become one. Axes: B conversations, T tokens.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from itpo_core.branches import visited_histories
from itpo_core.reward_model import ConversationTokens

TOO_LONG, NOT_ITS_TEXT = "history too long for a whole reply", "text that is read as other tokens"


@dataclass(frozen=True, slots=True)
class Prompts:
    """Rows with the columns `input` and `label`, and how many histories were left out, by cause."""

    rows: tuple[Mapping[str, str], ...]
    left_out: Mapping[str, int]


def history_prompts(
    conversations: ConversationTokens,
    tokenizer: PreTrainedTokenizerBase,
    *,
    names_B: Sequence[str],
    max_tokens: int,
    max_new_tokens: int,
) -> Prompts:
    """One prompt per turn that the policy spoke; nothing is ever cut, what does not fit is left out.

    A label names conversation and turn. Raises ValueError when no history is left.
    """
    histories = visited_histories(conversations.turn_BT)
    rows, left_out = [], Counter[str]()
    for row, turn, start in zip(*(column.tolist() for column in (
        histories.row_H, histories.turn_H, histories.start_H)), strict=True):  # fmt: skip
        ids = conversations.tokens_BT[row, :start].tolist()
        text = str(tokenizer.decode(ids))
        cause = _why_not(ids, text, tokenizer, room=max_tokens - max_new_tokens)
        if cause is not None:
            left_out[cause] += 1
            continue
        label = {"conversation": names_B[row], "turn": turn}
        rows.append({"input": text, "label": json.dumps(label, sort_keys=True)})
    if not rows:
        raise ValueError(f"no history can be asked about: {dict(left_out)}; raise the context, or ask less")
    return Prompts(tuple(rows), dict(left_out))


def _why_not(ids: Sequence[int], text: str, tokenizer: PreTrainedTokenizerBase, *, room: int) -> str | None:
    if len(ids) > room:
        return TOO_LONG
    return None if tokenizer(text, add_special_tokens=False)["input_ids"] == list(ids) else NOT_ITS_TEXT
