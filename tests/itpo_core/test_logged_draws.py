"""Logged turns of a version at hand: which can be its draws, and with what log-probabilities."""

from dataclasses import replace

import pytest

from itpo_core.logged_draws import Doubt, LoggedTalk, LoggedTurn, Settled, Version, settle
from itpo_core.tiny_policy import create_policy, suppressed_ids
from itpo_core.tokens import ChatFormat
from itpo_core.types import Message, Propensity, Role

WORDS = ["hi", "red", "blue", ".", "which", "color", "?"]
ASKED, RED = Message(Role.USER, "hi ."), Message(Role.USER, "red .")


def make_version(seed: int = 0) -> Version:
    model, tokenizer = create_policy(WORDS, "xs", seed=seed)
    return Version(model, ChatFormat.from_tokenizer(tokenizer, suppressed_ids(model)), max_new_tokens=4)


VERSION = make_version()


def talk(*turns: LoggedTurn, temperature: float = 1.0, top_p: float = 1.0, digest: str = "") -> LoggedTalk:
    """Two turns of an assistant between users who say the same."""
    first, second = turns or (LoggedTurn("which color ?", "which color ?"), LoggedTurn("red", "red"))
    said = (ASKED, Message(Role.ASSISTANT, first.sent), RED, Message(Role.ASSISTANT, second.sent))
    return LoggedTalk(said, (first, second), temperature, top_p, digest)


def settled(each: LoggedTalk, version: Version = VERSION) -> Settled | Doubt:
    return settle({"a": each}, version)["a"]


def known(each: LoggedTalk, version: Version = VERSION) -> Settled:
    found = settled(each, version)
    assert isinstance(found, Settled)
    return found


def drawn(each: LoggedTalk, version: Version = VERSION) -> LoggedTalk:
    """The same talk with tokens, and the log-probabilities that the version has for them."""
    turns = zip(each.turns, known(each, version).turns, strict=True)
    logged = tuple(
        replace(turn, token_ids=tuple(one.response_ids), logprobs=tuple(one.logprobs)) for turn, one in turns
    )
    return replace(each, turns=logged)


def test_text_is_tokenised_as_the_version_streams_it_and_recomputed() -> None:
    found = known(talk())

    chat = VERSION.chat
    assert found.statuses == (Propensity.RECOMPUTED,) * 2
    assert found.turns[0].prompt_ids == chat.opening_ids([ASKED])
    assert [turn.response_ids for turn in found.turns] == [
        tuple(chat.response_ids(text)) for text in ("which color ?", "red")
    ]
    assert [len(turn.logprobs) for turn in found.turns] == [4, 2]
    assert all(value <= 0 for turn in found.turns for value in turn.logprobs)


def test_a_turn_is_as_likely_as_the_model_says_at_the_temperature_it_was_drawn_at() -> None:
    import torch

    found = known(talk(temperature=2.0))
    ids = [*found.turns[0].prompt_ids, *found.turns[0].response_ids]
    with torch.no_grad():
        logits_TV = VERSION.model(input_ids=torch.tensor([ids])).logits[0]
    logits_TV[:, list(VERSION.chat.suppressed_ids)] = -torch.inf
    last = (logits_TV[-2] / 2.0).log_softmax(dim=-1)[ids[-1]]

    assert found.turns[0].logprobs[-1] == pytest.approx(float(last), abs=1e-5)


def test_logged_draws_that_the_version_agrees_with_are_exact_and_kept_as_logged() -> None:
    logged = drawn(talk())
    near = replace(logged, turns=tuple(_shifted(turn, -0.05) for turn in logged.turns))

    found = known(near)

    assert found.statuses == (Propensity.EXACT,) * 2
    assert found.turns[1].logprobs == near.turns[1].logprobs
    assert found.gap == pytest.approx(0.05, abs=1e-6)


def test_draws_of_other_weights_or_of_another_temperature_are_nobodys() -> None:
    logged = drawn(talk())
    far = replace(logged, turns=tuple(_shifted(turn, -0.2) for turn in logged.turns))

    assert settled(far) is Doubt.GAP
    assert settled(replace(drawn(talk(temperature=3.0)), temperature=0.3)) is Doubt.GAP


def _shifted(turn: LoggedTurn, nats: float) -> LoggedTurn:
    return replace(turn, logprobs=tuple(value + nats for value in turn.logprobs))


def test_a_turn_that_was_cut_is_closed_by_a_token_that_is_not_its_own() -> None:
    cut = LoggedTurn("which color", "which color", was_cut=True)

    found = known(talk(cut, LoggedTurn("red", "red")))

    end = VERSION.chat.end_of_turn_id
    assert end not in found.turns[0].response_ids
    assert found.turns[1].prompt_ids[0] == end
    assert known(talk()).turns[1].prompt_ids == found.turns[1].prompt_ids[1:]


OTHER = LoggedTurn("red", "red")
END = VERSION.chat.end_of_turn_id
RED_IDS = tuple(VERSION.chat.response_ids("red"))


@pytest.mark.parametrize(
    ("each", "doubt"),
    [
        (talk(top_p=0.9), Doubt.TOP_P),
        (talk(temperature=0.0), Doubt.GREEDY),
        (talk(digest="another"), Doubt.OTHER_TOKENIZER),
        (talk(LoggedTurn("blue", "red"), OTHER), Doubt.EDITED),
        (talk(LoggedTurn("purple", "purple"), OTHER), Doubt.NEVER_SPOKEN),
        (talk(LoggedTurn("red  blue", "red  blue"), OTHER), Doubt.OTHER_WORDS),
        (talk(LoggedTurn("red blue red blue", "red blue red blue"), OTHER), Doubt.PERHAPS_CUT),
        (talk(LoggedTurn("blue", "blue", False, RED_IDS, (-1.0, -1.0)), OTHER), Doubt.OTHER_WORDS),
        (talk(LoggedTurn("red", "red", False, RED_IDS[:1], (-1.0,)), OTHER), Doubt.NO_END),
        (talk(LoggedTurn("red", "red", True, RED_IDS, (-1.0, -1.0)), OTHER), Doubt.NO_END),
        (talk(LoggedTurn("red", "red", False, (END, *RED_IDS), (-1.0,) * 3), OTHER), Doubt.NO_END),
        (talk(LoggedTurn("red", "red", False, (99_999, END), (-1.0, -1.0)), OTHER), Doubt.NEVER_SPOKEN),
    ],
)
def test_what_cannot_be_its_draw_is_doubted_by_name(each: LoggedTalk, doubt: Doubt) -> None:
    assert settled(each) is doubt


def test_what_a_turn_called_and_what_no_template_takes_is_doubted() -> None:
    called = replace(
        talk(), messages=(ASKED, Message(Role.ASSISTANT, "which color ?", "[]"), *talk().messages[2:])
    )
    long = talk(*[LoggedTurn("red", "red")] * 2)
    endless = replace(long, messages=(Message(Role.USER, "hi " * 600), *long.messages[1:]))

    assert settled(called) is Doubt.CALLS_TOOLS
    assert settled(endless) is Doubt.TOO_LONG


def test_conversations_of_several_temperatures_are_settled_side_by_side_as_alone() -> None:
    talks = {"a": talk(), "b": talk(temperature=0.5), "c": talk(top_p=0.5)}

    together = settle(talks, VERSION)

    assert list(together) == ["a", "b", "c"]
    assert [together[name] == settled(talks[name]) for name in ("a", "b", "c")] == [True] * 3
