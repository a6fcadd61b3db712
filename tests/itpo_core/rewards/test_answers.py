"""What a reward service is asked and answers, and what it refuses."""

import json
import math

import pytest

from itpo_core.rewards.answers import Question, RewardRefusedError, answer, checked, parsed, rewards_of


def body(**named: object) -> bytes:
    return json.dumps(named).encode()


def test_a_request_is_read_as_questions() -> None:
    found = parsed(body(query=["hi there", "no"], prompts=["hi", ""], labels=["", ""]))

    assert found == [Question("hi there", "hi"), Question("no", "")]
    assert [one.reply for one in found] == [" there", "no"]


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"{", "not JSON"),
        (b"[1]", "list"),
        (body(query=["a"]), "'prompts'"),
        (body(query=[1], prompts=["a"]), "'query'"),
        (body(query=["a", "b"], prompts=["a"]), "2 queries but 1 prompts"),
        (body(query=[], prompts=[]), "0 queries"),
    ],
)
def test_a_request_that_cannot_be_answered_is_refused_by_name(content: bytes, named: str) -> None:
    with pytest.raises(RewardRefusedError, match=named):
        parsed(content)


def test_a_query_that_does_not_begin_with_its_prompt_has_no_reply() -> None:
    with pytest.raises(RewardRefusedError, match="does not begin"):
        _ = Question("hello", "help").reply


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_a_reward_that_is_no_number_is_refused(broken: float) -> None:
    with pytest.raises(RewardRefusedError, match="1 of 2 rewards"):
        checked([0.5, broken], count=2)


def test_rewards_of_the_wrong_length_are_refused() -> None:
    with pytest.raises(RewardRefusedError, match="1 rewards for 2 questions"):
        checked([0.5], count=2)


@pytest.mark.parametrize(
    "answered", [None, {}, {"rewards": 0.5}, {"rewards": ["0.5"]}, {"rewards": [0.5, 0.5]}]
)
def test_an_answer_without_one_number_for_each_question_is_refused(answered: object) -> None:
    with pytest.raises(RewardRefusedError):
        rewards_of(answered, count=1)


def test_an_answer_gives_its_rewards_back() -> None:
    assert rewards_of(answer([0.25, 1]), count=2) == [0.25, 1.0]


@pytest.mark.parametrize(
    ("sent", "cause"),
    [
        ({"histories": [[1]], "replies": []}, "0 replies but 1 histories"),
        ({"histories": [[1]], "replies": [["a"]]}, "'replies' must hold token ids"),
        ({"histories": [[-1]], "replies": [[1]]}, "'histories' must hold token ids"),
        ({"histories": [1], "replies": [[1]]}, "'histories' must be a list of lists"),
    ],
)
def test_ids_that_are_no_token_ids_are_refused(sent: dict[str, object], cause: str) -> None:
    with pytest.raises(RewardRefusedError, match=cause):
        parsed(json.dumps(sent).encode())
