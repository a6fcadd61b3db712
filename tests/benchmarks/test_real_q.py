"""The benchmark of Q on real triples: nothing leaks between the folds, and the figures are what they say."""

import json

import pytest
import torch

from benchmarks import real_q
from benchmarks.real_q import Judged
from benchmarks.taskmaster import RewardedTurn, opening_of, settle, turn
from itpo_core.tiny_policy import build_bpe_tokenizer
from itpo_core.tokens import ChatFormat
from itpo_core.types import Message, Role

HELLO = Message(Role.USER, "Two tickets, please!")
CALL = {"role": "agent", "api": {"find_movies": {"location": "Rome"}}}


def logged(history: tuple[Message, ...], action: str, reward: float) -> RewardedTurn:
    return RewardedTurn(opening_of(history), history, action, reward)


def row(**changes: object) -> dict[str, object]:
    context = [{"role": "user", "text": "hi"}, CALL, {"role": "api", "response": {"find_movies": {}}}]
    fixed = {"conversation_id": "x", "context": json.dumps(context), "generation": json.dumps(CALL)}
    return {**fixed, "reward": 1.0, **changes}


def test_a_row_becomes_messages_with_calls_and_results_as_text() -> None:
    found = turn(row())

    assert [message.role for message in found.history] == [Role.USER, Role.ASSISTANT, Role.TOOL]
    assert found.action == found.history[1].content == '{"find_movies": {"location": "Rome"}}'


@pytest.mark.parametrize("reward", [0.5, float("nan"), -1.0])
def test_a_reward_that_is_no_verdict_is_refused(reward: float) -> None:
    with pytest.raises(ValueError, match=f"row x: reward {reward}"):
        turn(row(reward=reward))


def test_rows_that_open_alike_are_one_conversation() -> None:
    later = (Message(Role.USER, "two tickets please"), Message(Role.ASSISTANT, "where?"), HELLO)

    assert opening_of((HELLO,)) == opening_of(later) == "two tickets please"


def test_repetitions_are_kept_once_and_contradictions_not_at_all() -> None:
    turns = [logged((HELLO,), "a", 1.0), logged((HELLO,), "a", 1.0), logged((HELLO,), "b", 1.0)]

    found = settle([*turns, logged((HELLO,), "b", 0.0), logged((HELLO,), "c", 0.0)])

    assert [each.action for each in found.turns] == ["a", "c"]
    assert (found.repeated, found.contradictory) == (1, 2)


def test_a_long_history_loses_its_beginning_and_the_action_stays_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(real_q, "MAX_HISTORY_TOKENS", 40)
    chat = ChatFormat.from_tokenizer(build_bpe_tokenizer(["a"], vocabulary_size=270), ())
    turns = [
        logged((HELLO, Message(Role.ASSISTANT, "y" * 50), HELLO), "ok", 1.0),
        logged((HELLO,), "no", 0.0),
    ]

    rows = real_q.encode(turns, chat)

    whole = [chat.response_ids(each.action) for each in turns]
    spoken = [rows.tokens.tokens_BT[i][rows.tokens.is_policy_BT[i]].tolist() for i in range(2)]
    assert spoken == whole
    assert rows.tokens.lengths_B.tolist() == [
        40 + len(whole[0]),
        len(chat.opening_ids([HELLO])) + len(whole[1]),
    ]
    assert rows.tokens.tokens_BT[:, 0].tolist() == [chat.opening_ids([HELLO])[0]] * 2
    assert bool((rows.is_agent_NT | ~rows.tokens.is_policy_BT).all())


def test_liked_actions_are_compared_with_disliked_ones_of_the_same_history() -> None:
    other = (Message(Role.USER, "bye"),)
    turns = [logged((HELLO,), "a", 1.0), logged((HELLO,), "b", 0.0), logged((HELLO,), "c", 0.0)]
    judged = Judged({"q": [0.5, 0.1, 0.5, 9.0]}, [*turns, logged(other, "d", 0.0)])

    assert real_q.pairs_ranked(judged, "q") == (0.75, 2)


def test_a_model_leads_by_the_difference_of_both_rankings() -> None:
    turns = [logged((Message(Role.USER, f"opening {i // 2}"),), str(i), float(i % 2)) for i in range(40)]
    right, wrong = [each.reward for each in turns], [1 - each.reward for each in turns]

    found = real_q.lead(Judged({"right": right, "wrong": wrong}, turns), "right", over="wrong")

    assert (found.mean, found.lower, found.upper) == (1.0, 1.0, 1.0)
    assert (found.pairs, found.clusters) == (40, 20)


def test_the_regression_learns_from_training_rows_alone() -> None:
    turns = [logged((HELLO,), word, float(word == "good thing")) for word in ["good thing", "bad thing"] * 20]
    is_train = torch.arange(40) < 30

    logits = real_q._regression_logits(turns, is_train.numpy())

    assert logits.shape == (10,)
    assert ((logits > 0).tolist()) == [True, False] * 5
