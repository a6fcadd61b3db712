"""An engine for one conversation over a function that speaks."""

from collections.abc import Sequence

import pytest

from itpo_core.engines.base import Sampling
from itpo_core.engines.remote_row import OneRowEngine, OneRowSession, Said
from itpo_core.tiny_policy import build_tokenizer
from itpo_core.tokens import ChatFormat
from itpo_core.types import FinishReason, Message, Role

GOOD, BAD, END = 6, 7, 2
CHAT = ChatFormat.from_tokenizer(build_tokenizer(("good", "bad")), (0, 1, 3, 4, 5))
HELLO, MORE = [Message(Role.USER, "good bad")], [Message(Role.USER, "bad")]


def opened(said: Said, *, room: int = 40, sampling: Sampling | None = None) -> OneRowSession:
    def speak(ids: Sequence[int], most: int, temperature: float) -> Said:
        return said

    engine = OneRowEngine(speak, CHAT, max_context_tokens=room)
    return engine.open([HELLO], seeds=[0], sampling=sampling or Sampling(max_new_tokens=4))


def test_a_turn_has_what_is_new_and_what_was_said() -> None:
    session = opened(Said((GOOD, END), (-0.5, -0.25)))

    (first,) = session.advance()
    assert session.append(0, MORE)
    (second,) = session.advance()

    assert first.prompt_ids == tuple(CHAT.opening_ids(HELLO))
    assert (first.response_ids, first.logprobs, first.text) == ((GOOD, END), (-0.5, -0.25), "good")
    assert second.prompt_ids == tuple(CHAT.continuation_ids(MORE))
    assert second.finish is FinishReason.END_OF_TURN


def test_a_turn_that_was_cut_is_closed_by_a_token_that_is_not_its_own() -> None:
    session = opened(Said((GOOD, BAD), (-0.5, -0.25)))

    (cut,) = session.advance()
    session.append(0, MORE)
    (after,) = session.advance()

    assert cut.finish is FinishReason.LENGTH
    assert after.prompt_ids == (END, *CHAT.continuation_ids(MORE))


def test_who_waits_for_text_says_nothing() -> None:
    session = opened(Said((GOOD, END), (-0.5, -0.25)))

    session.advance()

    assert session.advance() == []


def test_a_conversation_that_no_longer_fits_is_full() -> None:
    session = opened(Said((GOOD, END), (-0.5, -0.25)), room=len(CHAT.opening_ids(HELLO)) + 6)

    session.advance()

    assert not session.append(0, MORE)


def test_an_opening_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing is cut off"):
        opened(Said((END,), (-1.0,)), room=8)


def test_words_without_their_log_probabilities_are_refused() -> None:
    session = opened(Said((GOOD, END), (-0.5,)))

    with pytest.raises(ValueError, match="2 tokens with 1 log-probabilities"):
        session.advance()
