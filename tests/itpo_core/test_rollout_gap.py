"""The gap between sampler and trainer: weights, masks and raw figures on three tokens in two sequences."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from itpo_core.rollout_gap import GapCorrection, effective_share, gap_facts, gap_weights
from itpo_core.sequences import Sequences

TWO_AND_ONE = Sequences(torch.tensor([0, 0, 1]), torch.tensor([2, 1]))
GAPS_N = torch.tensor([4.0, 0.5, 0.8], dtype=torch.float64).log()  # products 2 and 0.8, means 1.414 and 0.8


@pytest.mark.parametrize(
    ("correction", "expected"),
    [
        (GapCorrection(), [1.0, 1.0, 1.0]),
        (GapCorrection(weight="token"), [4.0, 0.5, 0.8]),
        (GapCorrection(weight="token", weight_high=2.0), [2.0, 0.5, 0.8]),
        (GapCorrection(weight="token", weight_low=0.75, weight_high=3.0), [3.0, 0.75, 0.8]),
        (GapCorrection(weight="sequence"), [2.0, 2.0, 0.8]),
        (GapCorrection(weight="sequence", weight_high=1.5), [1.5, 1.5, 0.8]),
        (GapCorrection(mask="token", mask_low=0.6, mask_high=3.0), [0.0, 0.0, 1.0]),
        (GapCorrection(mask="mean", mask_high=1.4), [0.0, 0.0, 1.0]),
        (GapCorrection(mask="mean", mask_low=0.9), [1.0, 1.0, 0.0]),
        (GapCorrection(mask="product", mask_high=1.9), [0.0, 0.0, 1.0]),
        (GapCorrection(mask="max", mask_high=3.9), [0.0, 0.0, 1.0]),
        (GapCorrection(mask="max", mask_low=0.6), [0.0, 0.0, 1.0]),
        (GapCorrection(weight="token", weight_high=2.0, mask="mean", mask_low=0.9), [2.0, 0.5, 0.0]),
    ],
)
def test_each_weight_and_mask(correction: GapCorrection, expected: list[float]) -> None:
    weights_N = gap_weights(GAPS_N, TWO_AND_ONE, correction=correction)

    assert weights_N.tolist() == pytest.approx(expected)


def test_figures_are_those_of_the_raw_ratios_whatever_the_cap() -> None:
    capped = GapCorrection(weight="token", weight_high=1.0, mask="mean", mask_low=0.9)

    facts = gap_facts(GAPS_N, TWO_AND_ONE, correction=capped)

    assert facts.gap_ratio_mean == pytest.approx(5.3 / 3)
    assert facts.gap_ratio_max == pytest.approx(4.0)
    assert facts.gap_ratio_median == pytest.approx(0.8)
    assert facts.gap_effective_tokens == pytest.approx(5.3**2 / (3 * (16 + 0.25 + 0.64)))
    assert facts.gap_effective_sequences == pytest.approx(2.8**2 / (2 * (4 + 0.64)))
    assert facts.gap_masked_share == pytest.approx(1 / 3)
    assert facts.gap_truncated_share == pytest.approx(1 / 3)


def test_without_a_gap_nothing_is_lost() -> None:
    facts = gap_facts(torch.zeros(3), TWO_AND_ONE, correction=GapCorrection(weight="token", weight_high=2.0))

    assert facts.gap_effective_tokens == facts.gap_ratio_mean == facts.gap_ratio_q99 == 1.0
    assert facts.gap_masked_share == facts.gap_truncated_share == 0.0


@given(gaps=st.lists(st.floats(-50, 50), min_size=3, max_size=3), cap=st.floats(0.1, 10))
def test_a_truncated_weight_never_passes_its_cap(gaps: list[float], cap: float) -> None:
    for level in ("token", "sequence"):
        weights_N = gap_weights(
            torch.tensor(gaps), TWO_AND_ONE, correction=GapCorrection(weight=level, weight_high=cap)
        )

        assert float(weights_N.max()) <= cap * (1 + 1e-6)
        assert bool(weights_N.isfinite().all())


@given(gap=st.floats(-3, 3))
def test_one_bad_sequence_changes_no_weight_of_another(gap: float) -> None:
    correction = GapCorrection(weight="sequence", mask="max", mask_high=5.0)
    worse_N = GAPS_N.clone()
    worse_N[2] = gap

    before_N, after_N = (gap_weights(gaps, TWO_AND_ONE, correction=correction) for gaps in (GAPS_N, worse_N))

    assert before_N[:2].tolist() == after_N[:2].tolist()


def test_the_effective_share_of_one_heavy_token_is_one_over_n() -> None:
    assert effective_share(torch.tensor([1.0, 0.0, 0.0, 0.0])) == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weight": "tokens"}, "gap weight 'tokens'"),
        ({"mask": "median", "mask_high": 2.0}, "gap mask 'median'"),
        ({"mask": "mean"}, "needs mask_low or mask_high"),
        ({"weight": "token", "weight_low": 2.0, "weight_high": 1.0}, "give 0 <= low < high"),
        ({"weight": "token", "weight_low": -1.0}, "give 0 <= low < high"),
    ],
)
def test_a_correction_that_cannot_be_meant_is_refused(
    arguments: dict[str, Any],
    message: str,  # Any: fields of several types
) -> None:
    with pytest.raises(ValueError, match=message):
        GapCorrection(**arguments)


def test_weights_carry_no_gradient() -> None:
    gaps_N = torch.tensor([math.log(2.0), 0.0, 0.0], requires_grad=True)

    weights_N = gap_weights(gaps_N, TWO_AND_ONE, correction=GapCorrection(weight="token"))

    assert not weights_N.requires_grad
