"""Users on threads: what is asked is answered once, in the order of asking, or timed out once."""

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from itpo_core.asking import Answer, ThreadedUsers
from itpo_core.envs.base import Reply
from itpo_core.types import Failure, Message


class Held:
    """A user who answers with this text once the gate is open."""

    def __init__(self, text: str, gate: threading.Event | None = None) -> None:
        self._text = text
        self._gate = gate

    def reply(self, messages: Sequence[Message]) -> Reply:
        """Answer when it may."""
        if self._gate is not None:
            self._gate.wait(timeout=10)
        return Reply(self._text, None)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """Threads enough for all who are asked."""
    with ThreadPoolExecutor(4) as threads:
        yield threads


def texts(answers: Sequence[Answer]) -> list[tuple[int, str | None]]:
    """Row and text of each; None for a failure."""
    return [
        (each.row, each.reply.text if isinstance(each.reply, Reply) else None)
        for each in answers
        if isinstance(each.reply, Reply | Failure)
    ]


def test_waiting_ends_with_the_first_answer_and_the_others_come_later(pool: ThreadPoolExecutor) -> None:
    users, gate = ThreadedUsers(pool), threading.Event()
    users.ask(0, Held("late", gate), messages=())
    users.ask(1, Held("soon"), messages=())

    first = texts(users.answers(wait=True))
    gate.set()

    assert first == [(1, "soon")]
    assert texts(users.answers(wait=True)) == [(0, "late")]
    assert users.answers(wait=True) == []


def test_answers_that_came_meanwhile_are_told_in_the_order_of_asking(pool: ThreadPoolExecutor) -> None:
    users = ThreadedUsers(pool)
    for row in (3, 1, 2):
        users.ask(row, Held(f"of {row}"), messages=())
    pool.shutdown(wait=True)

    assert texts(users.answers(wait=False)) == [(3, "of 3"), (1, "of 1"), (2, "of 2")]


def test_an_answer_past_its_deadline_comes_to_nobody(pool: ThreadPoolExecutor) -> None:
    users, gate = ThreadedUsers(pool, timeout_s=0.1), threading.Event()
    users.ask(0, Held("too late", gate), messages=())

    timed_out = texts(users.answers(wait=True))
    gate.set()
    pool.shutdown(wait=True)

    assert timed_out == [(0, None)]
    assert users.answers(wait=True) == []


def test_waiting_is_not_ended_by_an_answer_that_was_given_up(pool: ThreadPoolExecutor) -> None:
    users, gates = ThreadedUsers(pool, timeout_s=0.1), [threading.Event(), threading.Event()]
    users.ask(0, Held("too late", gates[0]), messages=())
    users.answers(wait=True)
    users.ask(1, Held("later still", gates[1]), messages=())

    gates[0].set()
    came = texts(users.answers(wait=True))
    gates[1].set()

    assert came == [(1, None)]
