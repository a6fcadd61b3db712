"""The reward model of foreign logs: whole tasks per fold, nothing cut, a signal found where there is one."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from itpo_core.log_reward import (
    LoggedConversation,
    LogRewardSettings,
    deal_folds,
    encoded,
    fit_on_logs,
    long_model,
    pieces,
)
from itpo_core.reward_model import ConversationTokens
from itpo_core.tiny_policy import build_bpe_tokenizer, suppressed_ids
from itpo_core.tokens import ChatFormat
from itpo_core.types import Message, Role

SMALL = LogRewardSettings(
    vocabulary_size=290,
    max_tokens=200,
    folds=2,
    judged_folds=2,
    beta=1.0,
    piece_tokens=32,
    reference_steps=2,
    learning_rate=1e-2,
    epochs=3,
    draws=50,
)


def logged(index: int, *, group: str, outcome: float, answer: str) -> LoggedConversation:
    """One question and one answer."""
    messages = (
        Message(Role.SYSTEM, "rules " * 50),
        Message(Role.USER, f"order {index % 3}"),
        Message(Role.ASSISTANT, answer),
    )
    return LoggedConversation(f"c{index}", group, messages, outcome)


def ending_in(words: dict[float, str], *, groups: int = 8) -> list[LoggedConversation]:
    """Per group one good and one bad conversation, told apart by the assistant's words alone."""
    return [
        logged(2 * group + int(outcome), group=f"g{group}", outcome=outcome, answer=words[outcome])
        for group in range(groups)
        for outcome in (0.0, 1.0)
    ]


@given(st.lists(st.integers(0, 9), min_size=1, max_size=60), st.integers(0, 100))
def test_a_task_lies_in_one_fold_and_folds_are_even(tasks: list[int], seed: int) -> None:
    groups = [f"task-{task}" for task in tasks]
    folds = min(3, len(set(groups)))

    dealt = deal_folds(groups, folds, seed=seed)

    where = {
        group: {fold for fold, mine in zip(dealt, groups, strict=True) if mine == group} for group in groups
    }
    assert {len(found) for found in where.values()} == {1}
    sizes = [sum(found == {fold} for found in where.values()) for fold in range(folds)]
    assert max(sizes) - min(sizes) <= 1


def test_more_folds_than_tasks_are_refused() -> None:
    with pytest.raises(ValueError, match="2 groups cannot be dealt to 3 folds"):
        deal_folds(["a", "b", "a"], 3, seed=0)


def test_pieces_hold_every_assistant_token_but_those_that_start_one() -> None:
    tokens_BT = torch.arange(1, 15).reshape(2, 7)
    turn_BT = torch.tensor([[-1, -1, 0, 0, -1, 1, 1], [-1, 0, -1, -1, -1, -1, -1]])

    cut = pieces(ConversationTokens(tokens_BT, turn_BT, torch.tensor([7, 2])), 3)

    assert cut.tokens_BT.tolist() == [[1, 2, 3], [4, 5, 6], [8, 9, 10]]
    assert cut.is_assistant_BT.tolist() == [[False, False, True], [False, False, True], [False, True, False]]
    assert cut.lengths_B.tolist() == [3, 3, 2]


def test_system_messages_are_left_out_of_the_tokens() -> None:
    conversation = logged(0, group="g", outcome=1.0, answer="done")
    tokenizer = build_bpe_tokenizer(["order 0 done"], vocabulary_size=280)
    chat = ChatFormat.from_tokenizer(tokenizer, suppressed_ids(long_model(280, max_tokens=64, seed=0)))

    (turn,) = encoded([conversation], chat)["c0"]

    assert "rules" not in chat.decode(turn.prompt_ids)
    assert chat.decode(turn.response_ids) == "done"


@pytest.mark.slow
def test_words_that_decide_the_outcome_are_found_on_tasks_never_seen() -> None:
    result = fit_on_logs(ending_in({0.0: "sorry no", 1.0: "gladly yes"}), settings=SMALL)

    assert result.judged.auc is not None
    assert result.judged.auc.mean == 1.0
    assert (result.judged.conversations, result.judged.auc.clusters) == (16, 8)


@pytest.mark.slow
def test_words_that_say_nothing_rank_nothing() -> None:
    result = fit_on_logs(ending_in({0.0: "well", 1.0: "well"}), settings=SMALL)

    assert result.judged.auc is not None
    assert abs(result.judged.auc.mean - 0.5) < 0.3


@pytest.mark.slow
def test_a_conversation_that_is_too_long_is_left_out_and_counted() -> None:
    talks = [*ending_in({0.0: "no", 1.0: "yes"}), logged(99, group="g0", outcome=1.0, answer="x y z " * 200)]

    result = fit_on_logs(talks, settings=SMALL)

    assert (result.too_long, len(result.streams.ids)) == (1, 16)
    assert result.longest_tokens > SMALL.max_tokens
    assert "c99" not in result.streams.ids


@pytest.mark.slow
def test_rows_outside_the_judged_folds_have_no_part_in_the_figures() -> None:
    result = fit_on_logs(ending_in({0.0: "no", 1.0: "yes"}), settings=replace(SMALL, judged_folds=1))

    assert result.judged.conversations == int(result.is_judged_B.sum()) == 8
    assert {fold for fold, judged in zip(result.fold_B, result.is_judged_B, strict=True) if judged} == {0}
