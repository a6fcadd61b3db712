"""Texts valued by a committed Q."""

from pathlib import Path

import pytest
import torch

from itpo_core.q_files import save_members
from itpo_core.q_models import new_q
from itpo_core.reward_model import ConversationTokens, reference_logprobs
from itpo_core.rewards.answers import Question, RewardRefusedError
from itpo_core.rewards.q_scorer import QScorer
from itpo_core.tiny_policy import create_policy, save_policy, suppressed_ids

WORDS = ("good", "bad", "maybe", "well")


@pytest.fixture(scope="module")
def scorer(tmp_path_factory: pytest.TempPathFactory) -> QScorer:
    folder = tmp_path_factory.mktemp("q")
    policy, tokenizer = create_policy(WORDS, "xs", seed=0)
    other, _ = create_policy(WORDS, "xs", seed=1)
    q = new_q("dueling_logratio", other, beta=0.5, suppressed_ids=suppressed_ids(policy))
    save_policy(policy, tokenizer, folder=folder / "policy")
    save_members([q], tokenizer, folder=folder / "q")
    return QScorer.load(folder / "q", folder / "policy", pessimism=0.0, max_tokens=16)


def question(scorer: QScorer, history: list[int], reply: list[int]) -> Question:
    """As OpenRLHF puts it: texts decoded from ids, special tokens included."""
    return Question(scorer.tokenizer.decode([*history, *reply]), scorer.tokenizer.decode(history))


def test_a_text_is_valued_as_its_tokens_are(scorer: QScorer) -> None:
    history, reply = [1, 3, 6, 2, 4], [7, 8, 2]
    tokens = torch.tensor([[*history, *reply]])
    turns = torch.tensor([[-1] * 5 + [0] * 3])
    conversation = ConversationTokens(tokens, turns, torch.tensor([8]))
    q = scorer.members[0]
    known = reference_logprobs(scorer.reference, conversation, suppressed_ids=q.suppressed_ids)
    expected = q.score(conversation, reference_logprobs_BT=known, turns=1).logits_BK.sigmoid()

    found = scorer([question(scorer, history, reply)])

    assert found == pytest.approx([float(expected[0, 0])], abs=1e-6)


def test_neighbours_in_a_batch_change_nothing(scorer: QScorer) -> None:
    short = question(scorer, [1, 3, 6, 2, 4], [7, 2])
    long = question(scorer, [1, 3, 6, 7, 8, 9, 2, 4], [9, 9, 9, 2])

    together = scorer([short, long])

    assert together == pytest.approx([*scorer([short]), *scorer([long])], abs=1e-6)
    assert together[0] != together[1]


def test_a_token_that_the_policy_never_speaks_has_no_value(scorer: QScorer) -> None:
    with pytest.raises(RewardRefusedError, match=r"tokens \[4\]"):
        scorer([question(scorer, [1, 3, 6, 2, 4], [7, 4, 2])])


def test_a_history_that_is_too_long_is_not_cut(scorer: QScorer) -> None:
    with pytest.raises(RewardRefusedError, match="18 tokens, more than the 16"):
        scorer([question(scorer, [1, 3, *[6] * 12, 2, 4], [7, 2])])


def test_silence_has_no_value(scorer: QScorer) -> None:
    with pytest.raises(RewardRefusedError, match="nothing was asked or said"):
        scorer([question(scorer, [1, 3, 6, 2, 4], [])])


def test_a_policy_is_no_q(scorer: QScorer, tmp_path: Path) -> None:
    policy, tokenizer = create_policy(WORDS, "xs", seed=0)
    save_policy(policy, tokenizer, folder=tmp_path)

    with pytest.raises(ValueError, match="no member-0"):
        QScorer.load(tmp_path, tmp_path, pessimism=0.0, max_tokens=16)
