"""Visited histories as prompts of OpenRLHF: one reply each, with Q as its reward.

`token_prompts` are for our agent file, which takes a history's ids from the label. `history_prompts` are for
OpenRLHF's own sampler, which makes tokens of texts itself: there a history goes over only where its text
gives its tokens back exactly, for words that a user typed like a special token would become one.
Axes: B conversations, T tokens.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Self

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
    room = max_tokens - max_new_tokens

    def _row_of(name: str, turn: int, ids: list[int]) -> Mapping[str, str] | str:
        text = str(tokenizer.decode(ids))
        cause = _why_not(ids, text, tokenizer, room=room)
        label = {"conversation": name, "turn": turn}
        return cause or {"input": text, "label": json.dumps(label, sort_keys=True)}

    return _prompts(_visited(conversations, names_B), _row_of)


@dataclass(frozen=True, slots=True)
class HistoryLabel:
    """The label of a prompt that our agent answers: which history, its ids, what the policy never speaks."""

    conversation: str
    turn: int
    history: tuple[int, ...]
    suppressed_ids: tuple[int, ...] = ()

    def label(self) -> str:
        """As a prompt's label."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def read(cls, label: str) -> Self:
        """What `label` wrote. Raises ValueError for another text."""
        try:
            found = json.loads(label)
            history, never = tuple(found.pop("history")), tuple(found.pop("suppressed_ids"))
            return cls(history=history, suppressed_ids=never, **found)
        except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
            raise ValueError(f"label {label[:80]!r} holds no history to answer: {error!r}") from None


def token_prompts(
    conversations: ConversationTokens,
    *,
    names_B: Sequence[str],
    max_tokens: int,
    max_new_tokens: int,
    suppressed_ids: Sequence[int] = (),
) -> Prompts:
    """`history_prompts` for our agent file: ids travel in the label, and the input only names the prompt."""
    room, never = max_tokens - max_new_tokens, tuple(suppressed_ids)

    def _row_of(name: str, turn: int, ids: list[int]) -> Mapping[str, str] | str:
        label = HistoryLabel(name, turn, tuple(ids), never).label()
        return TOO_LONG if len(ids) > room else {"input": f"{name} turn {turn}", "label": label}

    return _prompts(_visited(conversations, names_B), _row_of)


def _visited(
    conversations: ConversationTokens, names_B: Sequence[str]
) -> Iterator[tuple[str, int, list[int]]]:
    found = visited_histories(conversations.turn_BT)
    columns = (column.tolist() for column in (found.row_H, found.turn_H, found.start_H))
    for row, turn, start in zip(*columns, strict=True):
        yield names_B[row], turn, conversations.tokens_BT[row, :start].tolist()


def _prompts(
    visited: Iterator[tuple[str, int, list[int]]],
    row_of: Callable[[str, int, list[int]], Mapping[str, str] | str],
) -> Prompts:
    """The rows, and how many have none, by what is said in their place."""
    made = [row_of(name, turn, ids) for name, turn, ids in visited]
    left_out = dict(Counter(one for one in made if isinstance(one, str)))
    rows = tuple(one for one in made if not isinstance(one, str))
    if not rows:
        raise ValueError(f"no history can be asked about: {left_out}; raise the context, or ask less")
    return Prompts(rows, left_out)


def _why_not(ids: Sequence[int], text: str, tokenizer: PreTrainedTokenizerBase, *, room: int) -> str | None:
    if len(ids) > room:
        return TOO_LONG
    return None if tokenizer(text, add_special_tokens=False)["input_ids"] == list(ids) else NOT_ITS_TEXT
