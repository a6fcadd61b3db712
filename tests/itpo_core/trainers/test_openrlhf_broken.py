"""What broke inside OpenRLHF: it is counted, it has a cause, and it votes on nothing."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from itpo_core.trainers.openrlhf_broken import (
    BrokenBudgetError,
    broken_cause,
    broken_output,
    check_budget,
    compared,
    filled,
)
from itpo_core.trainers.openrlhf_credit import TurnRewards, turn_rewards

NAN = math.nan
HOLE = torch.tensor([[True, True, False, True]])


def test_a_broken_sample_has_no_token_no_reward_and_a_cause() -> None:
    made = broken_output("no outcome", prompt="p", logs={"turns": 0.0})

    assert (made["action_ranges"], len(made["observation_tokens"])) == ([], 2)
    assert math.isnan(made["reward"])
    assert made["extra_logs"] == {"turns": 0.0, "broken": 1.0}
    assert broken_cause(str(made["label"])) == "no outcome"
    assert turn_rewards(str(made["label"])) == TurnRewards((), ())


@pytest.mark.parametrize(
    "label", ['{"conversation": "c", "turn": 1}', '{"rewards": [1.0], "ends": [4]}', "[3]"]
)
def test_a_whole_sample_has_no_cause(label: str) -> None:
    assert broken_cause(label) is None


@pytest.mark.parametrize(
    ("estimator", "expected"),
    [
        # Of 1, 2 and 6: mean 3, squares 4 + 1 + 9, sample variance 7.
        ("group_norm", [-2 / 7**0.5, -1 / 7**0.5, 0, 3 / 7**0.5]),
        ("rloo", [1 - 4, 2 - 3.5, 0, 6 - 1.5]),
        ("dr_grpo", [-2, -1, 0, 3]),
        ("reinforce_baseline", [-2, -1, 0, 3]),
    ],
)
def test_whole_siblings_are_compared_as_if_the_broken_one_had_never_been(
    estimator: str, expected: list[float]
) -> None:
    found = compared(torch.tensor([[1.0, 2.0, NAN, 6.0]]), HOLE, estimator=estimator)

    assert found[0].tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("estimator", ["group_norm", "rloo", "dr_grpo"])
def test_a_sample_without_a_whole_sibling_is_compared_with_nothing(estimator: str) -> None:
    alone = torch.tensor([[True, False], [False, False]])

    found = compared(torch.tensor([[5.0, NAN], [NAN, NAN]]), alone, estimator=estimator)

    assert found.tolist() == [[0, 0], [0, 0]]


@given(st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=8), st.integers(0, 7))
def test_filling_leaves_the_mean_of_what_is_whole(values: list[float], broken: int) -> None:
    rows = torch.tensor([*values, *[NAN] * broken])
    is_whole = torch.arange(len(rows)) < len(values)

    found = filled(rows, is_whole)

    assert float(found.mean()) == pytest.approx(sum(values) / len(values), abs=1e-3)
    assert found[: len(values)].tolist() == rows[: len(values)].tolist()


def test_a_few_broken_ones_are_borne_and_more_end_the_round_with_their_causes() -> None:
    check_budget(["slow user"] * 2, asked=10, budget=0.2)
    check_budget([], asked=0, budget=0.0)

    with pytest.raises(BrokenBudgetError, match=r"3 of 10 samples.*2 times slow user; 1 times no outcome"):
        check_budget(["slow user", "no outcome", "slow user"], asked=10, budget=0.2)


def test_a_round_of_which_nothing_is_left_is_never_trained_on() -> None:
    with pytest.raises(BrokenBudgetError, match="4 of 4"):
        check_budget(["down"] * 4, asked=4, budget=1.0)
