"""An engine behind any OpenAI-compatible server, vLLM's among them.

Rows that wait for a user cost nothing; each row that is ready is one call on its way. What a server does
wrong becomes a broken turn of that row alone. A turn has its ids and log-probabilities where the server
gives them and they continue the row's stream exactly; else it is text, to be heard, not to be trained on.
"""

from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from typing import Literal

from itpo_core.engines.base import BrokenTurn, Sampling, SpokenTurn
from itpo_core.engines.openai_wire import WIRES, Ask, Dialect, Heard
from itpo_core.engines.server_calls import Cost, ServerCalls
from itpo_core.identifiers import derive_seed
from itpo_core.tokens import ChatFormat
from itpo_core.types import Failure, FailureKind, FinishReason, Message, Role

# Rounding may lift a certain token's log-probability a little above 0.
LARGEST_LOGPROB = 1e-4
LEAST_LOGPROB = -1e4


@dataclass(frozen=True, slots=True)
class Served:
    """What is asked of the server: which model, in which dialect.

    `logprobs`: "processed" when the server says those of the distribution that it drew from (vLLM with
    `--logprobs-mode processed_logprobs`), "raw" when those of the bare model, which are the same at
    temperature 1 and top_p 1 without suppressed tokens. `needs_tokens`: a turn without ids is a broken one.
    """

    model: str
    dialect: Dialect = "tokens"
    logprobs: Literal["raw", "processed"] = "raw"
    needs_tokens: bool = True


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


class OpenAiEngine:
    """Opens sessions on a server that is there already; `chat_format` is that of the served policy."""

    def __init__(
        self, calls: ServerCalls, served: Served, *, chat_format: ChatFormat, max_context_tokens: int
    ) -> None:
        self._calls = calls
        self._served = served
        self._format = chat_format
        self._max_context_tokens = max_context_tokens

    @property
    def cost(self) -> Cost:
        """What all sessions have spent so far."""
        return self._calls.cost

    def open(
        self,
        openings: Sequence[Sequence[Message]],
        *,
        seeds: Sequence[int],
        sampling: Sampling,
        temperatures: Sequence[Sequence[float]] | None = None,
    ) -> "OpenAiSession":
        """See `Engine.open`. Raises ValueError for an opening without room for a turn, and where the served
        log-probabilities could not be those of the sampling distribution."""
        if len(openings) != len(seeds):
            raise ValueError(f"{len(openings)} openings but {len(seeds)} seeds: give one seed per opening")
        by_row = temperatures or [()] * len(openings)
        self._check_logprobs(
            {sampling.temperature, *(each for row in by_row for each in row)}, sampling.top_p
        )
        rows = [
            _Row(list(opening), self._format.opening_ids(opening), seed, own)
            for opening, seed, own in zip(openings, seeds, by_row, strict=True)
        ]
        for index, row in enumerate(rows):
            self._check_room(index, len(row.stream_ids), sampling.max_new_tokens)
        return OpenAiSession(
            self._calls,
            self._served,
            chat_format=self._format,
            rows=rows,
            sampling=sampling,
            max_context_tokens=self._max_context_tokens,
        )

    def _check_room(self, row: int, length: int, max_new_tokens: int) -> None:
        if length + max_new_tokens > self._max_context_tokens:
            raise ValueError(
                f"opening {row} has {length} tokens: with a turn of {max_new_tokens} it exceeds the "
                f"context of {self._max_context_tokens}; raise max_context_tokens or shorten the opening"
            )

    def _check_logprobs(self, temperatures: set[float], top_p: float) -> None:
        is_bare = temperatures <= {1.0} and top_p == 1.0 and not self._format.suppressed_ids
        if self._served.needs_tokens and self._served.logprobs == "raw" and not is_bare:
            raise ValueError(
                f"raw log-probabilities at temperatures {sorted(temperatures)}, top_p {top_p} and "
                f"{len(self._format.suppressed_ids)} suppressed tokens are not those of the sampling: "
                'serve with --logprobs-mode processed_logprobs and set engine.logprobs to "processed"'
            )


@dataclass(slots=True)
class OpenAiSession:
    """A batch of conversations, each ready one a call on its way (see `Session`)."""

    _calls: ServerCalls
    _served: Served
    chat_format: ChatFormat
    rows: list[_Row]
    sampling: Sampling
    max_context_tokens: int
    _flying: dict[int, Future[Heard | Failure]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Ask for every row's first turn."""
        for index in range(len(self.rows)):
            self._ask(index)

    def advance(self) -> list[SpokenTurn | BrokenTurn]:
        """See `Session.advance`."""
        wait(self._flying.values(), return_when=FIRST_COMPLETED)
        landed = [row for row, call in sorted(self._flying.items()) if call.done()]
        return [self._settled(row, self._flying.pop(row).result()) for row in landed]

    def append(self, row: int, messages: Sequence[Message]) -> bool:
        """See `Session.append`. A turn that was cut is closed here, by a token that is not its own."""
        state = self.rows[row]
        if not state.is_waiting or state.is_closed:
            raise ValueError(f"row {row} does not wait for text: append once after each turn, before close")
        ids = self.chat_format.continuation_ids(messages)
        if state.stream_ids[-1] != self.chat_format.end_of_turn_id:
            ids = [self.chat_format.end_of_turn_id, *ids]
        if len(state.stream_ids) + len(ids) + self.sampling.max_new_tokens > self.max_context_tokens:
            return False
        state.heard = len(state.stream_ids)
        state.stream_ids += ids
        state.messages += messages
        state.is_waiting = False
        self._ask(row)
        return True

    def close(self, row: int) -> None:
        """See `Session.close`."""
        self.rows[row].is_closed = True
        call = self._flying.pop(row, None)
        if call is not None:
            call.cancel()

    def _ask(self, index: int) -> None:
        row, wire = self.rows[index], WIRES[self._served.dialect]
        ask = Ask(
            model=self._served.model,
            messages=tuple(row.messages),
            stream_ids=tuple(row.stream_ids),
            seed=derive_seed(row.seed, "turn", row.turns),
            temperature=next(iter(row.temperatures[row.turns :]), self.sampling.temperature),
            top_p=self.sampling.top_p,
            max_new_tokens=self.sampling.max_new_tokens,
            end_of_turn_id=self.chat_format.end_of_turn_id,
            suppressed_ids=self.chat_format.suppressed_ids,
        )
        self._flying[index] = self._calls.post(
            wire.path, wire.body(ask), read=lambda raw: wire.read(raw, ask)
        )

    def _settled(self, index: int, heard: Heard | Failure) -> SpokenTurn | BrokenTurn:
        cost, row = self._calls.cost, self.rows[index]
        if isinstance(heard, Failure):
            cost.failures += 1
            return BrokenTurn(index, heard)
        cost.prompt_tokens += heard.prompt_tokens
        cost.response_tokens += heard.response_tokens
        fault = self._fault(row, heard)
        row.is_exact = row.is_exact and fault is None
        if fault is not None and (self._served.needs_tokens or not heard.text.strip()):
            cost.failures += 1
            return BrokenTurn(index, Failure(FailureKind.ENGINE_ERROR, fault))
        return self._spoken(index, heard)

    def _fault(self, row: _Row, heard: Heard) -> str | None:
        if heard.prompt_ids is None or heard.response_ids is None or heard.logprobs is None:
            return (
                "no token ids or no log-probabilities came back: serve with vLLM, or use it to evaluate only"
            )
        return fault_of_prompt(heard.prompt_ids, row.stream_ids) or fault_of_response(
            heard,
            end_of_turn_id=self.chat_format.end_of_turn_id,
            max_new_tokens=self.sampling.max_new_tokens,
        )

    def _spoken(self, index: int, heard: Heard) -> SpokenTurn:
        row = self.rows[index]
        ids = (heard.response_ids or ()) if row.is_exact else ()
        text = self.chat_format.decode(ids) if row.is_exact else heard.text
        spoken = SpokenTurn(
            row=index,
            text=text,
            prompt_ids=tuple(row.stream_ids[row.heard :]) if row.is_exact else (),
            response_ids=ids,
            logprobs=(heard.logprobs or ()) if row.is_exact else (),
            finish=FinishReason.END_OF_TURN if heard.stopped else FinishReason.LENGTH,
        )
        # Without ids of its own a turn still takes room in the context: about as much as ours would.
        row.stream_ids += ids or self.chat_format.response_ids(text)
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
