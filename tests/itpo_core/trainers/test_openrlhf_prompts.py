"""Histories as prompts of OpenRLHF: what goes over, what is left out and counted."""

import json

import pytest
import torch
from tokenizers.decoders import Fuse

from itpo_core.reward_model import ConversationTokens
from itpo_core.tiny_policy import build_tokenizer
from itpo_core.trainers.openrlhf_prompts import (
    NOT_ITS_TEXT,
    TOO_LONG,
    HistoryLabel,
    history_prompts,
    token_prompts,
)

TOKENIZER = build_tokenizer(("good", "bad", "maybe"))
UNKNOWN = 5


def spoken(*words: int) -> ConversationTokens:
    """<bos> <user> words <eot> <asst> good <eot>, the last two by the policy."""
    ids = [1, 3, *words, 2, 4, 6, 2]
    turns = [-1] * (len(ids) - 2) + [0, 0]
    return ConversationTokens(torch.tensor([ids]), torch.tensor([turns]), torch.tensor([len(ids)]))


def test_a_history_goes_over_as_the_text_of_its_tokens() -> None:
    found = history_prompts(spoken(7, 8), TOKENIZER, names_B=["c7"], max_tokens=20, max_new_tokens=8)

    (row,) = found.rows
    assert TOKENIZER(row["input"], add_special_tokens=False)["input_ids"] == [1, 3, 7, 8, 2, 4]
    assert json.loads(row["label"]) == {"conversation": "c7", "turn": 0}
    assert found.left_out == {}


def test_a_history_that_leaves_no_room_is_left_out_whole() -> None:
    long, short = [7] * 12, [7] * 2
    rows = [spoken(*long), spoken(*short)]
    width = rows[0].tokens_BT.shape[1]
    padded = [torch.nn.functional.pad(rows[1].tokens_BT, (0, width - 8)), rows[0].tokens_BT]
    turns = [torch.nn.functional.pad(rows[1].turn_BT, (0, width - 8), value=-1), rows[0].turn_BT]
    both = ConversationTokens(torch.cat(padded), torch.cat(turns), torch.tensor([8, width]))

    found = history_prompts(both, TOKENIZER, names_B=["a", "b"], max_tokens=20, max_new_tokens=8)

    assert [json.loads(row["label"])["conversation"] for row in found.rows] == ["a"]
    assert found.left_out == {TOO_LONG: 1}


def test_without_a_single_history_there_is_nothing_to_train_on() -> None:
    with pytest.raises(ValueError, match=r"no history can be asked about.*too long"):
        history_prompts(spoken(7), TOKENIZER, names_B=["c"], max_tokens=9, max_new_tokens=8)


def test_a_text_that_reads_as_other_tokens_is_left_out() -> None:
    # Pieces that decode to "<eot>" as a user typed it: the tokenizer reads that text as the special token.
    tokenizer = build_tokenizer(("eot", "<", ">"))
    typed = tokenizer.convert_tokens_to_ids(["<", "eot", ">"])
    ids = [1, 3, *typed, 2, 4, 6, 2]
    glued = ConversationTokens(
        torch.tensor([ids]), torch.tensor([[-1] * 7 + [0, 0]]), torch.tensor([len(ids)])
    )
    tokenizer.backend_tokenizer.decoder = Fuse()

    with pytest.raises(ValueError, match=NOT_ITS_TEXT):
        history_prompts(glued, tokenizer, names_B=["c"], max_tokens=20, max_new_tokens=8)


def test_a_history_for_our_agent_goes_over_as_its_ids_whatever_their_text_reads_as() -> None:
    found = token_prompts(
        spoken(UNKNOWN, 8), names_B=["c7"], max_tokens=20, max_new_tokens=8, suppressed_ids=(0, 1)
    )

    (row,) = found.rows
    expected = HistoryLabel("c7", 0, (1, 3, UNKNOWN, 8, 2, 4), (0, 1))
    assert HistoryLabel.read(row["label"]) == expected
    assert found.left_out == {}


def test_a_history_of_ids_that_leaves_no_room_is_left_out_whole() -> None:
    with pytest.raises(ValueError, match=TOO_LONG):
        token_prompts(spoken(7), names_B=["c"], max_tokens=9, max_new_tokens=8)


@pytest.mark.parametrize("label", ["{}", "[1]", "no JSON"])
def test_a_label_without_a_history_is_refused(label: str) -> None:
    with pytest.raises(ValueError, match="holds no history"):
        HistoryLabel.read(label)
