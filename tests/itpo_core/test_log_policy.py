"""A policy of foreign logs: what it makes of conversations by outcome, and how far a step moved it."""

import copy
import math
from collections.abc import Callable

import pytest
import torch
from transformers import PreTrainedModel

from itpo_core import log_policy, logprobs
from itpo_core.log_policy import (
    Bootstrap,
    create_log_policy,
    likelier,
    moved,
    nats_by_outcome,
    ranking,
    spoken_nats,
)
from itpo_core.reward_model import ConversationTokens

BOOTSTRAP = Bootstrap(confidence=0.95, draws=50, seed=0)
TEXTS = ["the lamp is out", "turn the fuse on"]


def conversations() -> ConversationTokens:
    """Two rows, the second padded: three spoken tokens and one."""
    tokens = torch.tensor([[1, 40, 41, 42, 2], [1, 43, 2, 0, 0]])
    turns = torch.tensor([[-1, -1, 0, 0, 0], [-1, -1, 0, -1, -1]])
    return ConversationTokens(tokens, turns, torch.tensor([5, 3]))


def test_equal_arguments_make_an_equal_policy_that_reads_every_text() -> None:
    first, second = (
        create_log_policy(TEXTS, "xs", vocabulary_size=300, max_tokens=64, seed=3) for _ in range(2)
    )

    assert torch.equal(first[0].get_output_embeddings().weight, second[0].get_output_embeddings().weight)
    assert first[1].decode(first[1]("turn the fuse ß")["input_ids"]) == "turn the fuse ß"


def test_a_policy_has_moved_nowhere_from_itself_and_somewhere_from_another() -> None:
    model, _ = create_log_policy(TEXTS, "xs", vocabulary_size=300, max_tokens=64, seed=3)
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.get_output_embeddings().weight[41] += 0.5

    still, far = (moved(model, each, conversations=conversations()) for each in (model, other))

    assert still.kl == pytest.approx(0.0, abs=1e-6)
    assert far.kl > 0.001
    assert 0 < far.entropy < still.entropy <= math.log(300)


@pytest.mark.parametrize(
    "measure", [spoken_nats, lambda model, rows: moved(model, model, conversations=rows)]
)
def test_a_large_vocabulary_makes_batches_small(
    measure: Callable[[PreTrainedModel, ConversationTokens], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, _ = create_log_policy(TEXTS, "xs", vocabulary_size=300, max_tokens=64, seed=3)
    rows = conversations().of_rows(torch.tensor([0] * 6))
    sizes: list[int] = []
    model.get_output_embeddings().register_forward_hook(lambda *told: sizes.append(told[2].numel()))
    vocabulary = model.config.vocab_size
    for module in (logprobs, log_policy):  # of two rows of five tokens
        monkeypatch.setattr(module, "LOGITS_AT_ONCE", 10 * vocabulary)

    measure(model, rows)

    assert max(sizes) == 2 * 3 * vocabulary  # three tokens of each are spoken
    assert sum(sizes) in (6 * 3 * vocabulary, 2 * 6 * 3 * vocabulary)


def test_surprise_is_the_mean_over_the_tokens_that_were_spoken() -> None:
    model, _ = create_log_policy(TEXTS, "xs", vocabulary_size=300, max_tokens=64, seed=3)
    given = conversations()

    together = spoken_nats(model, given)
    alone = spoken_nats(model, given.of_rows(torch.tensor([1])))

    assert together.shape == (2,)
    assert float(together[1]) == pytest.approx(float(alone[0]), rel=1e-5)


def test_an_outcome_between_counts_for_both_sides_by_its_share() -> None:
    found = nats_by_outcome(torch.tensor([1.0, 2.0, 4.0]), torch.tensor([1.0, 0.5, 0.0]))

    # successes (1 + 0.5 * 2) / 1.5, failures (0.5 * 2 + 4) / 1.5
    assert found == pytest.approx({"nats": 7 / 3, "success_nats": 4 / 3, "failure_nats": 10 / 3})


def test_a_side_that_nobody_is_on_has_no_figure() -> None:
    assert set(nats_by_outcome(torch.tensor([1.0]), torch.tensor([1.0]))) == {"nats", "success_nats"}


def test_less_surprise_after_than_before_is_likelier() -> None:
    before, after = torch.tensor([3.0, 2.0]), torch.tensor([1.0, 1.0])

    found = likelier(before, after, clusters=("a", "b"), bootstrap=BOOTSTRAP)

    assert found is not None
    assert found.mean == 1.5


def test_one_cluster_says_nothing() -> None:
    given = torch.tensor([1.0, 2.0])

    assert likelier(given, given, clusters=("a", "a"), bootstrap=BOOTSTRAP) is None
    assert ranking(given, torch.tensor([0.0, 1.0]), clusters=("a", "a"), bootstrap=BOOTSTRAP) is None
