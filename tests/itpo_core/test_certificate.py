"""The improvement certificate on figures that fit on a napkin, planted disagreements included."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from itpo_core.certificate import (
    Agreement,
    Certificate,
    Horizon,
    Movement,
    QError,
    QErrorKind,
    certify,
    compare,
    weight_on_success,
    worst_case,
)
from itpo_core.decision import Gain

MOVED = Movement(kl_per_response=0.5, kl_largest_state=2.0, q_gain_per_turn=0.06)
EXACT = QError(0.01, QErrorKind.EXACT)
HORIZON = Horizon(mean_turns=3.0, max_turns=6)
RISE = Gain(mean=0.10, lower=0.07, upper=0.13, pairs=500)
FALL = Gain(mean=-0.05, lower=-0.08, upper=-0.02, pairs=500)
FLAT = Gain(mean=0.01, lower=-0.02, upper=0.04, pairs=500)


def certificate(measured: Gain, *, error: float = 0.01, movement: Movement = MOVED) -> Certificate:
    return certify(
        movement, measured, q_error=QError(error, QErrorKind.EXACT), horizon=HORIZON, beta=0.1, gap=0.0
    )


def test_the_bound_is_turns_times_kl_less_twice_the_error() -> None:
    found = certificate(RISE)

    # Per turn .1 * .5 - 2 * .01 = .03; three turns. Promised 3 * .06, less 3 * 2 * .01 for the error.
    assert found.bound == pytest.approx(0.09)
    assert found.direct_bound == pytest.approx(0.12)
    assert found.promised == pytest.approx(0.18)
    assert found.bound_worst_case == pytest.approx(0.03)
    assert not found.vacuous


def test_a_proven_rise_above_the_bound_agrees() -> None:
    found = certificate(RISE)

    assert found.agreement is Agreement.AGREE
    assert found.delivered == pytest.approx(0.10 / 0.18)
    assert found.verdict == (
        "agree: success changed by +10.0 points [+7.0, +13.0], "
        "against +18.0 promised by Q and a bound of +12.0"
    )


def test_a_proven_fall_against_the_promise_disagrees() -> None:
    assert certificate(FALL, error=0.5).agreement is Agreement.DISAGREE


def test_a_rise_below_what_is_guaranteed_disagrees() -> None:
    small = Gain(mean=0.04, lower=0.02, upper=0.06, pairs=500)

    assert certificate(small).agreement is Agreement.DISAGREE


def test_an_interval_across_zero_decides_nothing_under_a_vacuous_bound() -> None:
    found = certificate(FLAT, error=0.2)

    assert found.agreement is Agreement.UNDECIDED
    assert found.vacuous
    assert "vacuous" in found.verdict


def test_a_rise_that_q_warned_of_disagrees() -> None:
    warned = replace(MOVED, q_gain_per_turn=-0.02)

    assert certificate(RISE, error=0.2, movement=warned).agreement is Agreement.DISAGREE


def test_a_step_that_gained_less_than_its_kl_cost_is_charged_the_difference() -> None:
    found = certificate(RISE, movement=replace(MOVED, q_gain_per_turn=0.02))

    # beta KL = .05 was owed, .02 was gained.
    assert found.gap == pytest.approx(0.03)
    assert found.bound == pytest.approx(3 * (0.05 - 0.03 - 0.02))


def test_in_the_worst_case_a_loss_recurs_at_every_turn_and_a_gain_comes_once() -> None:
    assert worst_case(-0.1, max_turns=6) == pytest.approx(-0.6)
    assert worst_case(0.1, max_turns=6) == pytest.approx(0.1)


def test_nothing_promised_is_nothing_delivered() -> None:
    still = Movement(kl_per_response=0.0, kl_largest_state=0.0, q_gain_per_turn=0.0)

    found = certificate(FLAT, movement=still)

    assert found.delivered is None
    assert found.agreement is Agreement.UNDECIDED


@given(
    promised=st.floats(-1, 1), mean=st.floats(-0.5, 0.5), half=st.floats(0, 0.5), guaranteed=st.floats(-9, -1)
)
def test_turning_promise_and_measurement_around_changes_nothing(
    promised: float, mean: float, half: float, guaranteed: float
) -> None:
    measured = Gain(mean, mean - half, mean + half, 10)
    turned = Gain(-mean, -mean - half, -mean + half, 10)

    assert compare(promised, measured, guaranteed=guaranteed - 1) is compare(
        -promised, turned, guaranteed=guaranteed - 1
    )


@given(kl=st.floats(0, 5), gain=st.floats(-1, 1), error=st.floats(0, 1), beta=st.floats(0, 2))
def test_the_direct_bound_is_never_below_theorem_2(kl: float, gain: float, error: float, beta: float) -> None:
    found = certify(
        Movement(kl, kl, gain), FLAT, q_error=QError(error, QErrorKind.EXACT), horizon=HORIZON, beta=beta
    )

    assert found.bound <= found.direct_bound + 1e-12


@pytest.mark.parametrize(
    ("movement", "error", "horizon", "measured", "named"),
    [
        (replace(MOVED, kl_per_response=math.nan), 0.1, HORIZON, RISE, "kl_per_response is nan"),
        (replace(MOVED, kl_per_response=-0.1), 0.1, HORIZON, RISE, "kl_per_response is -0.1, below 0"),
        (MOVED, -0.1, HORIZON, RISE, "q_error is -0.1"),
        (MOVED, 0.1, Horizon(7.0, 6), RISE, "mean turns 7.0"),
        (MOVED, 0.1, Horizon(0.0, 6), RISE, "mean turns 0.0"),
        (MOVED, 0.1, HORIZON, replace(RISE, upper=0.05), "outside its interval"),
    ],
)
def test_figures_without_meaning_are_refused_by_name(
    movement: Movement, error: float, horizon: Horizon, measured: Gain, named: str
) -> None:
    with pytest.raises(ValueError, match=named):
        certify(movement, measured, q_error=QError(error, EXACT.kind), horizon=horizon, beta=0.1)


def test_a_unit_of_raw_reward_is_worth_what_it_bought_in_success():
    # 0.6 x 2.0 raw units of KL weight; 0.5 raw units of gain bought 0.1 of success, so a unit is worth 0.2.
    assert weight_on_success(0.6, reward_std=2.0, gain_raw=0.5, gain=0.1) == pytest.approx(0.24)


@pytest.mark.parametrize(("gain_raw", "gain"), [(0.0, 0.0), (0.5, -0.1), (0.0, 0.1)])
def test_gains_that_do_not_tell_leave_the_most_that_a_logit_can_be_worth(gain_raw: float, gain: float):
    assert weight_on_success(0.6, reward_std=2.0, gain_raw=gain_raw, gain=gain) == pytest.approx(0.3)
