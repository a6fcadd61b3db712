"""One conversation at a time over a function that speaks, for engines that others own."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from itpo_core.engines.base import Sampling, SpokenTurn
from itpo_core.tokens import ChatFormat
from itpo_core.types import FinishReason, Message

# (everything so far, the most tokens to say, temperature) -> what was said
Speak = Callable[[Sequence[int], int, float], "Said"]


@dataclass(frozen=True, slots=True)
class Said:
    """Tokens as sampled, with their log-probabilities; cut when the end of turn is not among them."""

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class OneRowEngine:
    """Implements `Engine` for a single conversation; draws are the speaker's own, so seeds have no say."""

    speak: Speak
    chat_format: ChatFormat
    max_context_tokens: int

    def open(
        self,
        openings: Sequence[Sequence[Message]],
        *,
        seeds: Sequence[int],
        sampling: Sampling,
        temperatures: Sequence[Sequence[float]] | None = None,
    ) -> "OneRowSession":
        """See `Engine.open`. Raises ValueError for several conversations, and for one that does not fit."""
        if len(openings) != 1 or len(seeds) != 1:
            raise ValueError(f"{len(openings)} conversations: this engine holds one at a time")
        ids = self.chat_format.opening_ids(openings[0])
        if len(ids) + sampling.max_new_tokens > self.max_context_tokens:
            raise ValueError(
                f"the opening has {len(ids)} tokens: with {sampling.max_new_tokens} to say it does not fit"
                f" {self.max_context_tokens}; nothing is cut off silently"
            )
        explored = tuple(temperatures[0]) if temperatures else ()
        return OneRowSession(self, ids, sampling=sampling, explored=explored)


class OneRowSession:
    """Implements `Session` for row 0."""

    def __init__(
        self, engine: OneRowEngine, ids: list[int], *, sampling: Sampling, explored: tuple[float, ...]
    ) -> None:
        self._engine, self._ids, self._sampling, self._explored = engine, ids, sampling, explored
        self._heard, self._turn = 0, 0
        self._is_ready = True

    def advance(self) -> list[SpokenTurn]:
        """See `Session.advance`."""
        if not self._is_ready:
            return []
        said = self._engine.speak(self._ids, self._sampling.max_new_tokens, self._temperature())
        spoken = self._spoken(said)
        self._ids = [*self._ids, *said.ids]
        self._heard, self._is_ready = len(self._ids), False
        self._turn += 1
        return [spoken]

    def append(self, row: int, messages: Sequence[Message]) -> bool:
        """See `Session.append`. A turn that was cut is closed here, by a token that is not its own."""
        chat = self._engine.chat_format
        following = chat.continuation_ids(messages)
        if self._ids[-1] != chat.end_of_turn_id:
            following = [chat.end_of_turn_id, *following]
        whole = len(self._ids) + len(following) + self._sampling.max_new_tokens
        if whole > self._engine.max_context_tokens:
            return False
        self._ids, self._is_ready = [*self._ids, *following], True
        return True

    def close(self, row: int) -> None:
        """See `Session.close`."""
        self._is_ready = False

    def _temperature(self) -> float:
        is_explored = self._turn < len(self._explored)
        return self._explored[self._turn] if is_explored else self._sampling.temperature

    def _spoken(self, said: Said) -> SpokenTurn:
        chat = self._engine.chat_format
        if not said.ids or len(said.ids) != len(said.logprobs):
            raise ValueError(f"{len(said.ids)} tokens with {len(said.logprobs)} log-probabilities were said")
        is_whole = said.ids[-1] == chat.end_of_turn_id
        return SpokenTurn(
            row=0,
            text=chat.decode(said.ids),
            prompt_ids=tuple(self._ids[self._heard :]),
            response_ids=said.ids,
            logprobs=said.logprobs,
            finish=FinishReason.END_OF_TURN if is_whole else FinishReason.LENGTH,
        )
