"""One opening that is too long costs one conversation."""

from collections.abc import Sequence

import pytest

from itpo_core.engines.base import BrokenTurn, Sampling, Session, SpokenTurn
from itpo_core.engines.scripted import ScriptedEngine, word_ids
from itpo_core.engines.within_context import WithinContext
from itpo_core.types import FailureKind, Message, Role

SHORT, LONG = "hello there", "a letter of six words long"
AT_MOST = 8  # tokens of a turn


def opened(*said: str, context: int) -> Session:
    """A session on these user messages; a word is a token, and the policy repeats the first one."""
    engine = WithinContext(
        ScriptedEngine(lambda messages: messages[0].content.split()[0], max_context_tokens=context),
        lambda opening: [each for message in opening for each in word_ids(message.content)],
        max_context_tokens=context,
    )
    openings = [[Message(Role.USER, each)] for each in said]
    seeds = list(range(len(said)))
    return engine.open(openings, seeds=seeds, sampling=Sampling(max_new_tokens=AT_MOST))


def texts(turns: Sequence[SpokenTurn | BrokenTurn]) -> list[tuple[int, str]]:
    """Row and text of what was spoken."""
    return [(turn.row, turn.text) for turn in turns if isinstance(turn, SpokenTurn)]


def test_an_opening_of_six_tokens_in_room_for_five_breaks_and_says_why() -> None:
    session = opened(SHORT, LONG, "good morning", context=13)

    (turn,) = session.advance()

    assert isinstance(turn, BrokenTurn)
    assert (turn.row, turn.failure.kind) == (1, FailureKind.ENGINE_ERROR)
    assert turn.failure.cause == (
        "the opening has 6 tokens: with a turn of 8 it exceeds the context of 13; "
        "raise model.max_context_tokens or shorten the opening"
    )


def test_the_others_speak_under_their_own_numbers_and_go_on() -> None:
    session = opened(SHORT, "word " * 23, "good morning", context=30)
    session.advance()
    session.close(1)

    assert texts(session.advance()) == [(0, "hello"), (2, "good")]
    assert session.append(2, [Message(Role.USER, "yes")])
    assert texts(session.advance()) == [(2, "good")]


def test_an_opening_that_just_fits_speaks() -> None:
    assert texts(opened(LONG, context=14).advance()) == [(0, "a")]


def test_where_nothing_fits_every_row_breaks_once() -> None:
    session = opened(LONG, LONG, context=13)

    assert [turn.row for turn in session.advance()] == [0, 1]
    assert session.advance() == []
    assert not session.append(0, [Message(Role.USER, "yes")])


@pytest.mark.parametrize("row", [0, 1])
def test_a_row_that_is_over_before_it_began_does_not_break(row: int) -> None:
    session = opened(LONG, LONG, context=13)
    session.close(row)

    assert [turn.row for turn in session.advance()] == [1 - row]
