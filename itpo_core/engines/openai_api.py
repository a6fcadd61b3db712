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
from itpo_core.engines.openai_wire import WIRES, Dialect
from itpo_core.engines.server_calls import Cost, ServerCalls
from itpo_core.engines.token_rows import Heard, TokenRows
from itpo_core.tokens import ChatFormat
from itpo_core.types import Failure, Message


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
        rows = TokenRows(
            openings,
            self._format,
            seeds=seeds,
            sampling=sampling,
            temperatures=temperatures,
            max_context_tokens=self._max_context_tokens,
            model=self._served.model,
        )
        explored = {each for row in temperatures or () for each in row}
        self._check_logprobs({sampling.temperature, *explored}, sampling.top_p)
        return OpenAiSession(self._calls, self._served, rows)

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
    _rows: TokenRows
    _flying: dict[int, Future[Heard | Failure]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Ask for every row's first turn."""
        for index in range(len(self._rows)):
            self._ask(index)

    def advance(self) -> list[SpokenTurn | BrokenTurn]:
        """See `Session.advance`."""
        wait(self._flying.values(), return_when=FIRST_COMPLETED)
        landed = [row for row, call in sorted(self._flying.items()) if call.done()]
        return [self._settled(row, self._flying.pop(row).result()) for row in landed]

    def append(self, row: int, messages: Sequence[Message]) -> bool:
        """See `Session.append`."""
        is_taken = self._rows.take(row, messages)
        if is_taken:
            self._ask(row)
        return is_taken

    def close(self, row: int) -> None:
        """See `Session.close`."""
        self._rows.close(row)
        call = self._flying.pop(row, None)
        if call is not None:
            call.cancel()

    def _ask(self, row: int) -> None:
        ask, wire = self._rows.ask(row), WIRES[self._served.dialect]
        self._flying[row] = self._calls.post(wire.path, wire.body(ask), read=lambda raw: wire.read(raw, ask))

    def _settled(self, row: int, heard: Heard | Failure) -> SpokenTurn | BrokenTurn:
        cost = self._calls.cost
        if isinstance(heard, Heard):
            cost.prompt_tokens += heard.prompt_tokens
            cost.response_tokens += heard.response_tokens
        turn = self._rows.settle(row, heard, needs_tokens=self._served.needs_tokens)
        cost.failures += isinstance(turn, BrokenTurn)
        return turn
