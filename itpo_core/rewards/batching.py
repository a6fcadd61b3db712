"""Questions of many callers answered together: a model costs little more for thirty replies than for one."""

import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from itpo_core.rewards.answers import Asked, RewardRefusedError, checked

Score = Callable[[Sequence[Asked]], Sequence[float]]


@dataclass(frozen=True, slots=True)
class _Waiting:
    question: Asked
    answered: "Future[float]"


class Batcher:
    """One thread that scores what has gathered; a question that cannot be scored fails alone.

    `most` questions share a pass; the first of them waits `patience_s` for others.
    """

    def __init__(self, score: Score, *, most: int, patience_s: float) -> None:
        self._score, self._most, self._patience_s = score, most, patience_s
        self._waiting: queue.Queue[_Waiting | None] = queue.Queue()
        self._thread = threading.Thread(target=self._run, name="reward-batches", daemon=True)
        self._thread.start()
        self.batches = 0

    def ask(self, question: Asked) -> "Future[float]":
        """Put a question; its future holds the reward, or what went wrong with it."""
        waiting = _Waiting(question, Future())
        self._waiting.put(waiting)
        return waiting.answered

    def close(self) -> None:
        """Answer what is waiting, then stop."""
        self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (first := self._waiting.get()) is not None:
            batch = [first]
            is_over = self._gather(batch)
            # Whose caller has given up is not worth a pass.
            self._answer([one for one in batch if one.answered.set_running_or_notify_cancel()])
            if is_over:
                return

    def _gather(self, batch: list[_Waiting]) -> bool:
        """Fill the batch; whether the end was found among what waits."""
        until = time.monotonic() + self._patience_s
        while len(batch) < self._most:
            try:
                one = self._waiting.get(timeout=max(until - time.monotonic(), 0))
            except queue.Empty:
                return False
            if one is None:
                return True
            batch.append(one)
        return False

    def _answer(self, batch: Sequence[_Waiting]) -> None:
        if not batch:
            return
        self.batches += 1
        try:
            rewards = checked(self._score([one.question for one in batch]), count=len(batch))
        except (ValueError, ArithmeticError, RuntimeError, LookupError) as error:
            self._answer_alone(batch, error)
            return
        for one, reward in zip(batch, rewards, strict=True):
            one.answered.set_result(reward)

    def _answer_alone(self, batch: Sequence[_Waiting], error: Exception) -> None:
        if len(batch) == 1:
            batch[0].answered.set_exception(RewardRefusedError(str(error)))
            return
        for one in batch:
            self._answer([one])
