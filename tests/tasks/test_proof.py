"""What counts as shown: gain, its interval, and shares that really trained."""

import pytest

from tasks.proof import Proof, Trained, shortcomings


def proof(
    *, gain: float = 40.0, lower: float = 35.0, moved: float = 0.9, algorithm: str = "norm_itpo_share"
) -> Proof:
    trained = Trained(1, algorithm, turns=100, moved=moved, spread=moved / 2, off_share=0.0)
    return Proof("demo/v0001", gain, lower, gain + 5.0, pairs=64, trained=(trained,))


def lacking(shown: Proof) -> list[str]:
    return shortcomings(shown, min_gain_points=30.0, min_lower_points=15.0)


def test_a_large_sure_gain_made_of_shares_is_enough() -> None:
    assert lacking(proof()) == []


@pytest.mark.parametrize(
    ("shown", "reason"),
    [
        (proof(gain=29.9), "the gain is 29.9 points, at least 30 are asked for"),
        (proof(lower=15.0), "the interval starts at 15.0 points, not above 15"),
        (proof(moved=0.0), "no gradient was made of norm_itpo_share credit"),
    ],
)
def test_what_is_missing_is_said_with_its_number(shown: Proof, reason: str) -> None:
    assert lacking(shown) == [reason]


def test_another_algorithm_is_named_with_its_iteration() -> None:
    found = lacking(proof(algorithm="outcome"))

    assert "iteration 1 trained on outcome" in found


def test_an_advantage_beside_the_shares_is_no_proof() -> None:
    row = Trained(1, "norm_itpo_share", turns=100, moved=0.9, spread=0.4, off_share=0.01)

    found = lacking(Proof("demo/v0001", 40.0, 35.0, 45.0, pairs=64, trained=(row,)))

    assert found == ["no gradient was made of norm_itpo_share credit"]


def test_rounding_between_two_computations_of_the_same_share_is_no_difference() -> None:
    row = Trained(1, "norm_itpo_share", turns=100, moved=0.9, spread=0.4, off_share=2e-15)

    assert lacking(Proof("demo/v0001", 40.0, 35.0, 45.0, pairs=64, trained=(row,))) == []
