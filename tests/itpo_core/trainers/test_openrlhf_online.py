"""Turns of conversations held inside OpenRLHF get what the same turns get in the lake."""

import pytest
import torch

from itpo_core.credit import CreditMethod
from itpo_core.trainers.openrlhf_online import HeldTurns, OnlineCredit, advantages, on_places
from itpo_core.turn_batch import BatchScalars

WON = HeldTurns(1.0, (0.5, 0.0), (2, 3), (5, 12))
LOST = HeldTurns(0.0, (0.0,), (4,), (6,))
OUTCOME = OnlineCredit(CreditMethod("outcome", "rloo", profile="safe"), token_cost=0.0, samples=2)


def test_the_outcome_by_rloo_is_its_lead_over_the_other_conversation_of_the_prompt() -> None:
    found_BK = advantages([WON, LOST], OUTCOME, prompt_B=torch.tensor([0, 0]))

    # 1 - 0 and 0 - 1; the second turn of the lost one does not exist.
    assert found_BK.tolist() == [[1.0, 1.0], [-1.0, 0.0]]


def test_a_conversation_that_broke_is_compared_with_nothing() -> None:
    group = torch.tensor([0, 0, 0])

    with_it = advantages([WON, LOST, None], OUTCOME, prompt_B=group)
    without = advantages([WON, LOST], OUTCOME, prompt_B=group[:2])

    assert with_it[:2].tolist() == without.tolist()
    assert with_it[2].tolist() == [0.0, 0.0]


def test_a_turn_with_the_better_score_gets_the_larger_share_of_a_success() -> None:
    own = OnlineCredit(CreditMethod("norm_itpo_share", "grpo", share=1.0), token_cost=0.0, samples=2)

    found_BK = advantages([WON, LOST], own, prompt_B=torch.tensor([0, 0]))

    assert found_BK[0, 0] > found_BK[0, 1] > 0 > found_BK[1, 0]


def test_the_same_numbers_as_the_credit_of_the_lake() -> None:
    from itpo_core.credit import credit
    from itpo_core.turn_batch import TurnBatch

    method = CreditMethod("norm_itpo", "grpo", temperature=0.3)
    scores = torch.tensor([[0.5, 0.0], [0.25, 0.0]], dtype=torch.float64)
    tokens = torch.tensor([[2, 3], [4, 0]])
    zeros = torch.zeros(2, 2, dtype=torch.float64)
    reward = torch.tensor([1.0 - 0.01 * 5, 0.0 - 0.01 * 4], dtype=torch.float64)
    turns = TurnBatch(
        group_B=torch.tensor([0, 0]), valid_B=torch.tensor([True, True]),
        outcome_B=torch.tensor([1.0, 0.0], dtype=torch.float64), reward_B=reward,
        advantage_B=torch.zeros(2, dtype=torch.float64), happened_BK=tokens > 0, tokens_BK=tokens,
        scores_BK=scores, draws_BK=zeros + 1, oracle_BK=zeros,
    )  # fmt: skip

    lost = HeldTurns(0.0, (0.25,), (4,), (6,))
    found_BK = advantages([WON, lost], OnlineCredit(method, 0.01, 2), prompt_B=torch.tensor([0, 0]))

    torch.testing.assert_close(found_BK, credit(turns, method).advantages_BK, rtol=0, atol=1e-12)


def test_an_advantage_lies_where_its_turns_tokens_are_predicted() -> None:
    laid_A = on_places(WON, torch.tensor([2.0, -1.0]), places=12)

    # Tokens 3 and 4 are predicted at places 2 and 3, tokens 9 to 11 at places 8 to 10.
    assert laid_A.tolist() == [0, 0, 2, 2, 0, 0, 0, 0, -1, -1, -1, 0]
    assert on_places(None, torch.tensor([2.0]), places=3).tolist() == [0, 0, 0]


def test_a_conversation_that_was_cut_is_refused() -> None:
    with pytest.raises(ValueError, match="a turn ends at 12, outside of 11 tokens"):
        on_places(WON, torch.tensor([2.0, -1.0]), places=10)


def test_the_method_travels_as_a_text() -> None:
    method = CreditMethod("itpo", "grpo", scalars=BatchScalars(3.5, 0.25))
    own = OnlineCredit(method, token_cost=0.002, samples=8)

    assert OnlineCredit.read(own.text()) == own
