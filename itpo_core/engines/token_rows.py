"""Conversations as streams of tokens, for engines whose turns are asked for one by one.

Nothing that was sampled is tokenised again, and what an engine answers is believed only where it continues a
row's stream exactly.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from itpo_core.engines.base import BrokenTurn, Sampling, SpokenTurn
from itpo_core.identifiers import derive_seed
from itpo_core.tokens import ChatFormat
from itpo_core.types import Failure, FailureKind, FinishReason, Message, Role

# Rounding may lift a certain token's log-probability a little above 0.
LARGEST_LOGPROB = 1e-4
LEAST_LOGPROB = -1e4


@dataclass(frozen=True, slots=True)
class Ask:
    """One turn to ask for. `stream_ids` are all ids of the row so far, and `messages` the same as said."""

    model: str
    messages: tuple[Message, ...]
    stream_ids: tuple[int, ...]
    seed: int
    temperature: float
    top_p: float
    max_new_tokens: int
    end_of_turn_id: int
    suppressed_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Heard:
    """What a server answered. The ids and log-probabilities are None where it gave none.

    `prompt_ids` is the whole prompt as the server read it. The counts are what it bills, 0 when it is silent.
    """

    text: str
    stopped: bool
    prompt_ids: tuple[int, ...] | None
    response_ids: tuple[int, ...] | None
    logprobs: tuple[float, ...] | None
    prompt_tokens: int
    response_tokens: int


@dataclass(slots=True)
class _Row:
    """One conversation, as messages and as ids, new from `heard` on. Exact until a turn had no ids."""

    messages: list[Message]
    stream_ids: list[int]
    seed: int
    temperatures: Sequence[float]
    heard: int = 0
    turns: int = 0
    is_exact: bool = True
    is_waiting: bool = False
    is_closed: bool = False


class TokenRows:
    """The rows of one session: what each asks for next, and what its answers make of it."""

    def __init__(
        self,
        openings: Sequence[Sequence[Message]],
        chat_format: ChatFormat,
        *,
        seeds: Sequence[int],
        sampling: Sampling,
        temperatures: Sequence[Sequence[float]] | None,
        max_context_tokens: int,
        model: str = "",
    ) -> None:
        """Raises ValueError for an opening without room for a turn, and for another number of seeds."""
        if len(openings) != len(seeds):
            raise ValueError(f"{len(openings)} openings but {len(seeds)} seeds: give one seed per opening")
        self._format = chat_format
        self._sampling = sampling
        self._max_context_tokens = max_context_tokens
        self._model = model
        by_row = temperatures or [()] * len(openings)
        self._rows = [
            _Row(list(opening), chat_format.opening_ids(opening), seed, own)
            for opening, seed, own in zip(openings, seeds, by_row, strict=True)
        ]
        for index, row in enumerate(self._rows):
            self._check_room(index, len(row.stream_ids))

    def __len__(self) -> int:
        """How many rows there are."""
        return len(self._rows)

    def ask(self, index: int) -> Ask:
        """The turn that this row is ready for."""
        row = self._rows[index]
        return Ask(
            model=self._model,
            messages=tuple(row.messages),
            stream_ids=tuple(row.stream_ids),
            seed=derive_seed(row.seed, "turn", row.turns),
            temperature=next(iter(row.temperatures[row.turns :]), self._sampling.temperature),
            top_p=self._sampling.top_p,
            max_new_tokens=self._sampling.max_new_tokens,
            end_of_turn_id=self._format.end_of_turn_id,
            suppressed_ids=self._format.suppressed_ids,
        )

    def take(self, index: int, messages: Sequence[Message]) -> bool:
        """See `Session.append`. A turn that was cut is closed here, by a token that is not its own."""
        row = self._rows[index]
        if not row.is_waiting or row.is_closed:
            raise ValueError(f"row {index} does not wait for text: append once after each turn, before close")
        ids = self._format.continuation_ids(messages)
        if row.stream_ids[-1] != self._format.end_of_turn_id:
            ids = [self._format.end_of_turn_id, *ids]
        if len(row.stream_ids) + len(ids) + self._sampling.max_new_tokens > self._max_context_tokens:
            return False
        row.heard = len(row.stream_ids)
        row.stream_ids += ids
        row.messages += messages
        row.is_waiting = False
        return True

    def close(self, index: int) -> None:
        """The row is over."""
        self._rows[index].is_closed = True

    def settle(
        self, index: int, heard: Heard | Failure, *, needs_tokens: bool = True
    ) -> SpokenTurn | BrokenTurn:
        """The row's turn. Without `needs_tokens` one whose ids cannot be believed is taken as text."""
        row = self._rows[index]
        if isinstance(heard, Failure):
            return BrokenTurn(index, heard)
        fault = self._fault(row, heard)
        row.is_exact = row.is_exact and fault is None
        if fault is not None and (needs_tokens or not heard.text.strip()):
            return BrokenTurn(index, Failure(FailureKind.ENGINE_ERROR, fault))
        return self._spoken(index, heard)

    def _check_room(self, index: int, length: int) -> None:
        limit = self._max_context_tokens
        if length + self._sampling.max_new_tokens > limit:
            raise ValueError(
                f"opening {index} has {length} tokens: with a turn of {self._sampling.max_new_tokens} it "
                f"exceeds the context of {limit}; raise max_context_tokens or shorten the opening"
            )

    def _fault(self, row: _Row, heard: Heard) -> str | None:
        if heard.prompt_ids is None or heard.response_ids is None or heard.logprobs is None:
            return "no token ids or log-probabilities came back: serve with vLLM, or use it to evaluate only"
        return fault_of_prompt(heard.prompt_ids, row.stream_ids) or fault_of_response(
            heard,
            end_of_turn_id=self._format.end_of_turn_id,
            max_new_tokens=self._sampling.max_new_tokens,
        )

    def _spoken(self, index: int, heard: Heard) -> SpokenTurn:
        row = self._rows[index]
        ids = (heard.response_ids or ()) if row.is_exact else ()
        text = self._format.decode(ids) if row.is_exact else heard.text
        spoken = SpokenTurn(
            row=index,
            text=text,
            prompt_ids=tuple(row.stream_ids[row.heard :]) if row.is_exact else (),
            response_ids=ids,
            logprobs=(heard.logprobs or ()) if row.is_exact else (),
            finish=FinishReason.END_OF_TURN if heard.stopped else FinishReason.LENGTH,
        )
        # Without ids of its own a turn still takes room in the context: about as much as ours would.
        row.stream_ids += ids or self._format.response_ids(text)
        row.messages.append(Message(Role.ASSISTANT, text))
        row.turns += 1
        row.is_waiting = True
        return spoken


def fault_of_prompt(prompt_ids: Sequence[int], stream_ids: Sequence[int]) -> str | None:
    """Why the server did not read the row's stream as it is, with the remedy; None when it did."""
    if tuple(prompt_ids) == tuple(stream_ids):
        return None
    pairs = enumerate(zip(prompt_ids, stream_ids, strict=False))
    parting = next((place for place, (read, ours) in pairs if read != ours), None)
    where = min(len(prompt_ids), len(stream_ids)) if parting is None else parting
    return (
        f"the server read a prompt of {len(prompt_ids)} tokens, the row has {len(stream_ids)}; they part at "
        f'token {where}: it tokenises otherwise; set engine.dialect to "tokens"'
    )


def fault_of_response(heard: Heard, *, end_of_turn_id: int, max_new_tokens: int) -> str | None:
    """Why ids and log-probabilities cannot be believed, with the remedy; None when they can."""
    ids, logprobs = heard.response_ids or (), heard.logprobs or ()
    is_closed = end_of_turn_id in ids[-1:]
    faults = {
        f"{len(ids)} token ids but {len(logprobs)} log-probabilities": len(ids) != len(logprobs),
        "a turn without a token": not ids,
        f"{len(ids)} tokens, where sampling.max_new_tokens is {max_new_tokens}": len(ids) > max_new_tokens,
        "tokens after the end of turn": end_of_turn_id in ids[:-1],
        f"the turn ended, but not with token {end_of_turn_id}: another tokenizer or template": (
            heard.stopped and not is_closed
        ),
        f"cut after {len(ids)} of {max_new_tokens} tokens: the server's context is shorter than ours": (
            not heard.stopped and len(ids) < max_new_tokens
        ),
        "a log-probability that is none": not all(LEAST_LOGPROB < x <= LARGEST_LOGPROB for x in logprobs),
    }
    return next((text for text, is_wrong in faults.items() if is_wrong), None)
