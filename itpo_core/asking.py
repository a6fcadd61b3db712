"""Asking simulated users for their replies: at once, or on threads while other conversations go on."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import takewhile
from queue import Empty, SimpleQueue
from typing import Protocol, TypeVar

from itpo_core.envs.base import Reply, Sent
from itpo_core.types import Failure, FailureKind, Message, Outcome

Value = TypeVar("Value")


class Asked(Protocol):
    """Whoever a conversation waits for: a user who replies, a business person who sends, a judge."""

    def reply(self, messages: Sequence[Message]) -> Reply | Sent | Outcome | Failure:
        """Answer what was said."""
        ...


@dataclass(frozen=True, slots=True)
class Answer:
    """What the one asked for a row said, or how it broke."""

    row: int
    reply: Reply | Sent | Outcome | Failure


class Users(Protocol):
    """How users are asked."""

    def ask(self, row: int, user: Asked, *, messages: Sequence[Message]) -> None:
        """Ask the user of a row for its reply to these messages."""
        ...

    def answers(self, *, wait: bool) -> list[Answer]:
        """What came in since the last call; with `wait` at least one answer, unless nobody was asked."""
        ...


class DirectUsers:
    """Users that answer at once, in the order in which they are asked."""

    def __init__(self) -> None:
        self._answers: list[Answer] = []

    def ask(self, row: int, user: Asked, *, messages: Sequence[Message]) -> None:
        """See `Users.ask`."""
        self._answers.append(Answer(row, _reply(user, messages)))

    def answers(self, *, wait: bool) -> list[Answer]:
        """See `Users.answers`."""
        answers, self._answers = self._answers, []
        return answers


@dataclass(frozen=True, slots=True)
class _Question:
    """A question on its way; its deadline is on the monotonic clock."""

    row: int
    future: Future[Reply | Sent | Outcome | Failure]
    deadline_s: float


class ThreadedUsers:
    """Users that answer on the threads of a pool; one that takes over `timeout_s` is a counted failure.

    The time runs from the question, waiting for a free thread included.
    """

    def __init__(self, pool: ThreadPoolExecutor, *, timeout_s: float = 120.0) -> None:
        self._pool = pool
        self._timeout_s = timeout_s
        # Of the open questions, in the order in which they were asked and so of their deadlines.
        self._questions: dict[int, _Question] = {}
        self._asked = 0
        self._came: SimpleQueue[int] = SimpleQueue()

    def ask(self, row: int, user: Asked, *, messages: Sequence[Message]) -> None:
        """See `Users.ask`."""
        future = self._pool.submit(_reply, user, messages)
        place, self._asked = self._asked, self._asked + 1
        self._questions[place] = _Question(row, future, time.monotonic() + self._timeout_s)
        # To wait for all of the open ones by turns would cost each answer as much as there are of them.
        future.add_done_callback(lambda _: self._came.put(place))

    def answers(self, *, wait: bool) -> list[Answer]:
        """See `Users.answers`."""
        settled = self._settled()
        while wait and self._questions and not settled:
            self._wait()
            settled = self._settled()
        return [self._answer(self._questions.pop(place)) for place in sorted(settled)]

    def _wait(self) -> None:
        """Until something comes in or the first deadline is over."""
        first = next(iter(self._questions.values()))
        with suppress(Empty):
            self._came.put(self._came.get(timeout=max(0.0, first.deadline_s - time.monotonic())))

    def _settled(self) -> set[int]:
        """The open questions that are answered or out of time."""
        now_s = time.monotonic()
        overdue = takewhile(lambda each: each[1].deadline_s <= now_s, self._questions.items())
        came = {self._came.get() for _ in range(self._came.qsize())}
        return {place for place, _ in overdue} | (came & self._questions.keys())

    def _answer(self, question: _Question) -> Answer:
        if question.future.done():
            return Answer(question.row, question.future.result())
        question.future.cancel()
        cause = f"no answer within {self._timeout_s:g} s"
        return Answer(question.row, Failure(FailureKind.USER_TIMEOUT, cause))


class UsersInRounds:
    """Asks at once and hands on together: no answer comes before all of the same round are there.

    So what an engine decodes side by side, and with it the last bits of every log-probability, does not
    depend on who was quick. Answers come in the order of the rows.
    """

    def __init__(self, users: Users) -> None:
        self._users = users
        self._asked = 0

    def ask(self, row: int, user: Asked, *, messages: Sequence[Message]) -> None:
        """See `Users.ask`."""
        self._asked += 1
        self._users.ask(row, user, messages=messages)

    def answers(self, *, wait: bool) -> list[Answer]:
        """See `Users.answers`; nothing unless it may wait."""
        came: list[Answer] = []
        while wait and len(came) < self._asked:
            came += self._users.answers(wait=True)
        self._asked -= len(came)
        return sorted(came, key=lambda answer: answer.row)


def attempt(action: Callable[[], Value], kind: FailureKind) -> Value | Failure:
    """What the action returns, or a failure of this kind with the error as its cause."""
    try:
        return action()
    # Users and judges are foreign code: whatever one raises costs one conversation, counted under its cause.
    except Exception as error:
        return Failure(kind, f"{type(error).__name__}: {error}")


def _reply(user: Asked, messages: Sequence[Message]) -> Reply | Sent | Outcome | Failure:
    return attempt(lambda: user.reply(messages), FailureKind.USER_ERROR)
