"""Promotion needs proof on common scenarios; siblings of a scenario are one observation."""

import pytest
import torch

from itpo_core.experiments.paired import change, evidence, held_out_scenarios, mean_error, success_weight
from itpo_core.reward_fit import Judging

JUDGING = Judging(confidence=0.95, draws=500, seed=0)


def test_siblings_are_one_observation() -> None:
    # Mean 1/2; the residuals of the scenarios sum to 1 and -1: sqrt(2 / 1 * 2) / 4, and not sqrt(4 / 3) / 4
    error = mean_error(torch.tensor([1.0, 1.0, 0.0, 0.0]), torch.tensor([7, 7, 9, 9]))

    assert error == pytest.approx(0.5)


def test_one_scenario_has_no_standard_error() -> None:
    with pytest.raises(ValueError, match="1 scenario"):
        mean_error(torch.tensor([1.0, 0.0]), torch.tensor([3, 3]))


def test_a_change_adds_the_errors_of_both_collections() -> None:
    before_B, after_B, group_B = torch.tensor([0.0, 1.0]), torch.tensor([1.0, 1.0]), torch.tensor([0, 1])

    found = change(before_B, after_B, before_group_B=group_B, after_group_B=group_B)

    # Before: residuals -1/2 and 1/2, sqrt(2 * 1/2) / 2 = 1/2; after: no spread.
    assert found.mean == pytest.approx(0.5)
    assert found.upper - found.mean == pytest.approx(1.96 * 0.5)


def test_a_gain_that_may_be_luck_is_not_promoted() -> None:
    old = {str(place): 0.0 for place in range(10)}
    new = {**old, "0": 1.0}

    found = evidence(old, new, judging=JUDGING)

    assert (found.paired_change, found.promotes) == (pytest.approx(0.1), False)
    assert found.promoted_success == found.kept_success == 0.0


def test_a_sure_gain_is_promoted() -> None:
    old = {str(place): 0.0 for place in range(10)}
    new = {name: float(int(name) < 6) for name in old}

    found = evidence(old, new, judging=JUDGING)

    assert found.promotes
    assert found.promoted_success == pytest.approx(0.6)


def test_a_conversation_that_broke_takes_its_pair_along() -> None:
    found = evidence({"0": 1.0, "1": 0.0, "2": 0.0}, {"1": 1.0, "2": 0.0, "3": 1.0}, judging=JUDGING)

    assert (found.pairs, found.kept_success, found.candidate_success) == (2, 0.0, 0.5)


def test_whole_scenarios_are_held_out_the_same_every_time() -> None:
    groups = [str(place // 4) for place in range(44)]

    held_out = held_out_scenarios(groups, share=0.1, seed=5)

    assert len(held_out) == 2  # a tenth of 11, rounded up
    assert held_out == held_out_scenarios(groups[::-1], share=0.1, seed=5)


def test_somebody_is_left_to_learn_from() -> None:
    assert len(held_out_scenarios(["a", "b"], share=1.0, seed=0)) == 1


def test_a_logit_is_worth_a_quarter_at_one_half() -> None:
    assert success_weight(0.5) == pytest.approx(0.25)
