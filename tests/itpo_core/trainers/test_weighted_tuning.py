"""Logged turns that the implicit reward likes are learnt from more."""

import pytest
import torch

from itpo_core.reward_model import ConversationTokens
from itpo_core.trainers.weighted_tuning import TuningSettings, tune_on_turns, turn_weights
from tests.itpo_core.tiny_models import tiny_model


def test_equal_scores_weigh_one() -> None:
    weights_BK = turn_weights(
        torch.full((2, 2), 0.7), torch.tensor([[True, True], [True, False]]), sharpness=2.0
    )

    assert weights_BK.tolist() == [[1.0, 1.0], [1.0, 0.0]]


def test_one_deviation_more_weighs_e_to_the_sharpness_more() -> None:
    # Scores -1 and 1 have mean 0 and deviation 1: the exponents are -0.5 and 0.5, their ratio is e.
    weights_BK = turn_weights(torch.tensor([[-1.0, 1.0]]), torch.ones(1, 2, dtype=torch.bool), sharpness=0.5)

    assert float(weights_BK[0, 1] / weights_BK[0, 0]) == pytest.approx(2.718281828, rel=1e-5)
    assert float(weights_BK.mean()) == pytest.approx(1.0)


def test_an_extreme_score_cannot_own_the_data() -> None:
    scores_BK = torch.zeros(1, 1000)
    scores_BK[0, 0] = 1e6

    weights_BK = turn_weights(scores_BK, torch.ones(1, 1000, dtype=torch.bool), sharpness=2.0)

    assert float(weights_BK.max() / weights_BK.min()) < 25


def test_a_turn_of_weight_zero_teaches_nothing() -> None:
    tokens_BT = torch.tensor([[1, 7, 8, 9, 10]])
    turn_BT = torch.tensor([[-1, 0, 0, 1, 1]])
    conversations = ConversationTokens(tokens_BT, turn_BT, torch.tensor([5]))
    whole, half = tiny_model(seed=1), tiny_model(seed=1)
    settings = TuningSettings(epochs=1, minibatch=1)

    (before,) = tune_on_turns(whole, conversations, weights_BK=torch.tensor([[1.0, 1.0]]), settings=settings)
    (first,) = tune_on_turns(half, conversations, weights_BK=torch.tensor([[1.0, 0.0]]), settings=settings)

    assert 0 < first < before


def test_negative_weights_are_refused() -> None:
    conversations = ConversationTokens(torch.tensor([[1, 7]]), torch.tensor([[-1, 0]]), torch.tensor([2]))

    with pytest.raises(ValueError, match="not negative"):
        tune_on_turns(
            tiny_model(seed=1), conversations, weights_BK=torch.tensor([[-1.0]]), settings=TuningSettings()
        )
