"""An opening that leaves no turn room costs its own conversation, not those beside it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from itpo_core.engines.base import BrokenTurn, Engine, Sampling, Session, SpokenTurn
from itpo_core.types import Failure, FailureKind, Message


class WithinContext:
    """Opens sessions without the rows that have no room, which are broken turns at once (see `Engine`).

    `opening_ids` says what an opening is in tokens. Openings come from users' files: one pasted letter among
    thousands of chats would end all of them.
    """

    def __init__(
        self,
        engine: Engine,
        opening_ids: Callable[[Sequence[Message]], Sequence[int]],
        *,
        max_context_tokens: int,
    ) -> None:
        self._engine = engine
        self._opening_ids = opening_ids
        self._max_context_tokens = max_context_tokens

    def open(
        self,
        openings: Sequence[Sequence[Message]],
        *,
        seeds: Sequence[int],
        sampling: Sampling,
        temperatures: Sequence[Sequence[float]] | None = None,
    ) -> Session:
        """See `Engine.open`."""
        lengths = [len(self._opening_ids(opening)) for opening in openings]
        most = self._max_context_tokens - sampling.max_new_tokens
        rows = [row for row, length in enumerate(lengths) if length <= most]
        if len(rows) == len(openings):
            return self._engine.open(openings, seeds=seeds, sampling=sampling, temperatures=temperatures)
        causes = {
            row: self._cause(length, sampling.max_new_tokens)
            for row, length in enumerate(lengths)
            if length > most
        }
        if not rows:
            return _SomeRows(None, rows, causes)
        session = self._engine.open(
            [openings[row] for row in rows],
            seeds=[seeds[row] for row in rows],
            sampling=sampling,
            temperatures=None if temperatures is None else [temperatures[row] for row in rows],
        )
        return _SomeRows(session, rows, causes)

    def _cause(self, length: int, max_new_tokens: int) -> str:
        return (
            f"the opening has {length} tokens: with a turn of {max_new_tokens} it exceeds the context of "
            f"{self._max_context_tokens}; raise model.max_context_tokens or shorten the opening"
        )


class _SomeRows:
    """A session on some rows of a batch, or on none; the others break first (see `Session`)."""

    def __init__(self, session: Session | None, rows: Sequence[int], causes: Mapping[int, str]) -> None:
        self._session = session
        self._rows = rows
        self._place = {row: place for place, row in enumerate(rows)}
        self._causes = dict(causes)  # of the rows that are still to break

    def advance(self) -> Sequence[SpokenTurn | BrokenTurn]:
        """See `Session.advance`."""
        if self._causes or self._session is None:
            causes, self._causes = self._causes, {}
            return [
                BrokenTurn(row, Failure(FailureKind.ENGINE_ERROR, cause)) for row, cause in causes.items()
            ]
        return [replace(turn, row=self._rows[turn.row]) for turn in self._session.advance()]

    def append(self, row: int, messages: Sequence[Message]) -> bool:
        """See `Session.append`. A row without room takes nothing more."""
        place = self._place.get(row)
        return self._session is not None and place is not None and self._session.append(place, messages)

    def close(self, row: int) -> None:
        """See `Session.close`. What is over before it began does not break any more."""
        self._causes.pop(row, None)
        if self._session is not None and row in self._place:
            self._session.close(self._place[row])
