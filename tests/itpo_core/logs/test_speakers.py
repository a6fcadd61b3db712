"""What a row says of the version that spoke: believed as it stands, or not at all and with a note."""

import math

import pytest

from itpo_core.logs.openai_messages import parse
from itpo_core.logs.parsed import Draw, Note, ParsedConversation, Speaker
from itpo_core.logs.speakers import without_draws
from tests.log_shapes import Json, assistant, numbered, openai_row, user

SAMPLED = {"policy_version": "shop/v0003", "temperature": 1.0, "top_p": 1}
DRAWN: Json = {"token_ids": [6, 2], "logprobs": [-0.5, 0.0]}


def parsed(*messages: Json, **more: object) -> ParsedConversation:
    (each,) = parse(numbered([openai_row(*messages, **more)]), outcome_column="outcome")
    assert isinstance(each, ParsedConversation)
    return each


def spoken(drawn: Json, **more: object) -> ParsedConversation:
    return parsed(user("hi"), assistant("yes", **drawn), **more)


def test_a_version_with_its_sampling_and_its_draws_is_kept() -> None:
    beside = spoken(DRAWN, **SAMPLED, tokenizer_digest="d1")
    inside = spoken(DRAWN, metadata={**SAMPLED, "tokenizer_digest": "d1"})

    assert beside.speaker == inside.speaker == Speaker("shop/v0003", 1.0, 1.0, "d1")
    assert beside.draws == inside.draws == (Draw((6, 2), (-0.5, 0.0)),)
    assert (beside.cut, beside.notes) == ((False,), ())


def test_log_probabilities_are_read_as_openai_writes_them() -> None:
    content = [{"token": "yes", "logprob": -0.5}, {"token": "", "logprob": 0.0}]

    each = spoken({"token_ids": [6, 2], "logprobs": {"content": content}}, **SAMPLED)

    assert each.draws == (Draw((6, 2), (-0.5, 0.0)),)


def test_a_turn_that_the_limit_ended_says_so() -> None:
    each = parsed(user("hi"), assistant("yes", finish_reason="length"), assistant("so"), **SAMPLED)

    assert (each.cut, each.draws) == ((True, False), ())


@pytest.mark.parametrize(
    ("ids", "logprobs"),
    [
        ([6, 2], [-0.5]),
        ([], []),
        ([6, 2], None),
        ([6, 2], [-0.5, math.nan]),
        ([6, 2], [-0.5, -math.inf]),
        ([6, 2], [-0.5, -1e39]),
        ([6, 2], [-0.5, 0.2]),
        ([6, 2], [-0.5, "-1"]),
        ([6, -2], [-0.5, -0.5]),
        ([6, True], [-0.5, -0.5]),
        ([6, 2**31], [-0.5, -0.5]),
    ],
)
def test_a_speaker_whose_draws_are_malformed_is_not_believed(ids: object, logprobs: object) -> None:
    each = spoken({"token_ids": ids, "logprobs": logprobs}, **SAMPLED)

    assert (each.speaker, each.draws, each.notes) == (None, (), (Note.DRAWS_MALFORMED,))


@pytest.mark.parametrize(
    "sampling",
    [{}, {"temperature": 1.0}, {"temperature": "1", "top_p": 1}, {"temperature": -1, "top_p": 1},
     {"temperature": 1, "top_p": 0}, {"temperature": math.nan, "top_p": 1},
     {"temperature": 10**400, "top_p": 1}],
)  # fmt: skip
def test_a_version_without_its_sampling_is_not_believed(sampling: Json) -> None:
    each = spoken(DRAWN, policy_version="shop/v0003", **sampling)

    assert (each.speaker, each.notes) == (None, (Note.SAMPLING_NOT_STATED,))


def test_draws_of_nobody_and_draws_of_some_turns_alone_are_left_out() -> None:
    nobody = spoken(DRAWN)
    some = parsed(user("hi"), assistant("yes", **DRAWN), assistant("so"), **SAMPLED)

    assert (nobody.speaker, nobody.draws, nobody.notes) == (None, (), (Note.DRAWS_OF_NOBODY,))
    assert some.speaker is not None
    assert (some.draws, some.notes) == ((), (Note.ASSISTANT_TWICE_IN_A_ROW, Note.DRAWS_INCOMPLETE))


def test_who_spoke_is_no_part_of_what_was_said() -> None:
    plain, named = spoken({}), spoken(DRAWN, **SAMPLED)

    assert plain.speaker is None
    assert plain.body_digest == named.body_digest
    assert spoken({}, policy_version="logs:shop").notes == ()


def test_tokens_are_left_out_of_a_row_that_is_shown_without_its_words() -> None:
    row = openai_row(user("hi"), assistant("yes", **DRAWN))

    assert without_draws(row)["messages"] == [user("hi"), assistant("yes")]
    assert without_draws({"messages": "not a list"}) == {"messages": "not a list"}
