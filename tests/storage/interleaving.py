"""Two writers at one lake whose calls come in a stated order: each goes on only when it is its turn."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from tests.storage.memory_store import MemoryStore

TURN_S = 20.0
Answer = TypeVar("Answer")


@dataclass
class Turns:
    """Whose turn it is: `order` names a writer for each call; when it is used up everybody may go on."""

    order: Sequence[int]
    passed: int = 0
    ended: set[int] = field(default_factory=set)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def take(self, writer: int, call: Callable[[], object]) -> object:
        """Wait for the writer's turn, and make the call in it; turns of writers that ended are skipped."""
        with self.changed:
            if not self.changed.wait_for(lambda: self._next() in (writer, None), timeout=TURN_S):
                raise TimeoutError(f"writer {writer} never had its turn in {self.order}")
            answer = call()
            self.passed += 1
            self.changed.notify_all()
            return answer

    def end(self, writer: int) -> None:
        """Nobody waits for this one any more."""
        with self.changed:
            self.ended.add(writer)
            self.changed.notify_all()

    def _next(self) -> int | None:
        while self.passed < len(self.order) and self.order[self.passed] in self.ended:
            self.passed += 1
        return self.order[self.passed] if self.passed < len(self.order) else None


@dataclass
class TakingTurns:
    """The store as one writer has it."""

    inner: MemoryStore
    turns: Turns
    writer: int
    calls: int = 0

    def get(self, key: str) -> bytes:
        """In its turn."""
        return self._call(lambda: self.inner.get(key))

    def create(self, key: str, data: bytes) -> bool:
        """In its turn."""
        return self._call(lambda: self.inner.create(key, data))

    def list(self, prefix: str) -> list[str]:
        """In its turn."""
        return self._call(lambda: self.inner.list(prefix))

    def _call(self, call: Callable[[], Answer]) -> Answer:
        self.calls += 1
        answers: list[Answer | Exception] = []

        def noted() -> None:
            try:
                answers.append(call())
            except Exception as problem:  # handed on, below
                answers.append(problem)

        self.turns.take(self.writer, noted)
        [answer] = answers
        if isinstance(answer, Exception):
            raise answer
        return answer


def interleaved(
    store: MemoryStore, write: Callable[[TakingTurns, int], Answer], *, order: Sequence[int]
) -> list[Answer | Exception]:
    """What writers 0 and 1 returned or raised, their calls having come in this order."""
    turns, answers = Turns(order), dict[int, Answer | Exception]()

    def life(writer: int) -> None:
        try:
            answers[writer] = write(TakingTurns(store, turns, writer), writer)
        except Exception as problem:  # a value of the test
            answers[writer] = problem
        finally:
            turns.end(writer)

    threads = [threading.Thread(target=life, args=(writer,)) for writer in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [answers[writer] for writer in (0, 1)]
