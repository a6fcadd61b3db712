"""An engine without a model, for tests and trials: a function speaks, and words stand for tokens."""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from itpo_core.engines.base import Sampling, SpokenTurn
from itpo_core.types import FinishReason, Message, Role

END_OF_TURN_ID = 2
# What a fake token costs: one nat, so that sums can be checked by counting.
LOGPROB = -1.0
_FIRST_WORD_ID = 10


def word_ids(text: str) -> list[int]:
    """One stable fake id per blank-separated word."""
    return [_FIRST_WORD_ID + zlib.crc32(word.encode()) % 10_000 for word in text.split()]


class ScriptedEngine:
    """`reply` hears all messages of a row and says the next assistant text; seeds play no part."""

    def __init__(
        self, reply: Callable[[Sequence[Message]], str], *, max_context_tokens: int = 1_000_000
    ) -> None:
        self._reply = reply
        self._max_context_tokens = max_context_tokens

    def open(
        self,
        openings: Sequence[Sequence[Message]],
        *,
        seeds: Sequence[int],
        sampling: Sampling,
        temperatures: Sequence[Sequence[float]] | None = None,
    ) -> "ScriptedSession":
        """See `Engine.open`. Temperatures play no part."""
        if len(openings) != len(seeds):
            raise ValueError(f"{len(openings)} openings but {len(seeds)} seeds: give one seed per opening")
        rows = [_Row(list(opening), _given_ids(opening)) for opening in openings]
        return ScriptedSession(
            self._reply,
            rows,
            max_new_tokens=sampling.max_new_tokens,
            max_context_tokens=self._max_context_tokens,
        )


@dataclass(slots=True)
class _Row:
    """One conversation: what was said, the ids given since the last turn, and whether it may speak."""

    messages: list[Message]
    prompt_ids: list[int]
    length: int = 0
    is_ready: bool = True
    was_cut: bool = False
    is_closed: bool = False


class ScriptedSession:
    """Every ready row speaks at each call (see `Session`)."""

    def __init__(
        self,
        reply: Callable[[Sequence[Message]], str],
        rows: list[_Row],
        *,
        max_new_tokens: int,
        max_context_tokens: int,
    ) -> None:
        self._reply = reply
        self._rows = rows
        self._max_new_tokens = max_new_tokens
        self._max_context_tokens = max_context_tokens

    def advance(self) -> list[SpokenTurn]:
        """See `Session.advance`."""
        ready = [index for index, row in enumerate(self._rows) if row.is_ready and not row.is_closed]
        return [self._speak(index) for index in ready]

    def append(self, row: int, messages: Sequence[Message]) -> bool:
        """See `Session.append`."""
        state = self._rows[row]
        if state.is_ready or state.is_closed:
            raise ValueError(f"row {row} does not wait for text: append once after each turn, before close")
        ids = [END_OF_TURN_ID] * state.was_cut + _given_ids(messages)
        if state.length + len(ids) + self._max_new_tokens > self._max_context_tokens:
            return False
        state.messages += messages
        state.prompt_ids = ids
        state.is_ready = True
        return True

    def close(self, row: int) -> None:
        """See `Session.close`."""
        self._rows[row].is_closed = True

    def _speak(self, index: int) -> SpokenTurn:
        row = self._rows[index]
        words = self._reply(row.messages).split()
        row.was_cut = len(words) >= self._max_new_tokens
        text = " ".join(words[: self._max_new_tokens])
        ids = [*word_ids(text), *([] if row.was_cut else [END_OF_TURN_ID])]
        prompt_ids = row.prompt_ids
        row.messages.append(Message(Role.ASSISTANT, text))
        row.length += len(prompt_ids) + len(ids)
        row.is_ready = False
        return SpokenTurn(
            row=index,
            text=text,
            prompt_ids=tuple(prompt_ids),
            response_ids=tuple(ids),
            logprobs=(LOGPROB,) * len(ids),
            finish=FinishReason.LENGTH if row.was_cut else FinishReason.END_OF_TURN,
        )


def _given_ids(messages: Sequence[Message]) -> list[int]:
    return [index for message in messages for index in [*word_ids(message.content), END_OF_TURN_ID]]
