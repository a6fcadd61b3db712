"""Learning curves are read by rules that a person can redo with a pencil."""

import pytest

from itpo_core.experiments.measures import area, conversations_to, over_seeds, recovered, smoothed


def test_the_ends_of_a_curve_count_twice() -> None:
    # (.2 + .2 + .5) / 3, (.2 + .5 + .8) / 3, (.5 + .8 + .8) / 3
    assert smoothed([0.2, 0.5, 0.8]) == pytest.approx([0.3, 0.5, 0.7])


def test_the_level_is_met_between_two_iterations() -> None:
    # The smoothed curve is .3 .5 .7: .6 lies halfway between iterations 1 and 2.
    assert conversations_to(0.6, [0.2, 0.5, 0.8], per_iteration=100) == pytest.approx(150)


def test_a_policy_that_begins_at_the_level_needed_no_conversation() -> None:
    assert conversations_to(0.6, [0.7, 0.8, 0.9], per_iteration=100) == 0


def test_a_level_that_is_never_met_has_no_number() -> None:
    assert conversations_to(0.9, [0.2, 0.5, 0.8], per_iteration=100) is None


def test_the_area_is_the_mean_success() -> None:
    assert area([0.2, 0.4, 0.9]) == pytest.approx(0.5)


def test_five_seeds_have_students_interval() -> None:
    # Deviation of 1 2 3 4 5 is sqrt(2.5); 2.776 * sqrt(2.5 / 5) = 1.963
    found = over_seeds([1.0, 2.0, 3.0, 4.0, 5.0])

    assert (found.mean, found.seeds) == (3.0, 5)
    assert found.lower == pytest.approx(3 - 1.963, abs=1e-3)
    assert found.upper == pytest.approx(3 + 1.963, abs=1e-3)


def test_one_seed_has_no_interval() -> None:
    found = over_seeds([0.5])

    assert (found.lower, found.upper) == (None, None)


def test_no_seed_is_refused() -> None:
    with pytest.raises(ValueError, match="no seed"):
        over_seeds([])


def test_half_way_to_the_oracle_recovers_a_half() -> None:
    assert recovered([0.6], baseline=[0.5], oracle=[0.7]) == pytest.approx(0.5)
    assert recovered([0.6], baseline=[0.7], oracle=[0.7]) is None
