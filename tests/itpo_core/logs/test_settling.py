"""Several labels of one conversation make one outcome, or none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from itpo_core.logs.labels import Label
from itpo_core.logs.settling import Disposition, disposition, verdict
from itpo_core.types import Outcome, Scored, Unscored

NO_COLUMN = Unscored("no outcome column")
OUTCOMES = st.one_of(
    st.sampled_from([0.0, 0.5, 1.0]).map(Scored), st.sampled_from(["null outcome", "gone"]).map(Unscored)
)
LABELS = st.builds(
    Label,
    st.just("c"),
    OUTCOMES,
    turn_index=st.sampled_from([None, None, 0]),
    time_s=st.sampled_from([None, 1.0, 2.0]),
)


def said(value: float | None, *, time_s: float | None = None, turn: int | None = None) -> Label:
    outcome: Outcome = Unscored("null outcome") if value is None else Scored(value)
    return Label("c", outcome, turn_index=turn, time_s=time_s)


def test_a_known_outcome_beats_an_unknown_one() -> None:
    label = said(0.0)

    assert verdict(NO_COLUMN, [said(None), label]).outcome == Scored(0.0)
    assert verdict(NO_COLUMN, [said(None), label]).label == label


def test_what_the_log_says_itself_stays_its_own_word() -> None:
    found = verdict(Scored(1.0), [said(1.0), said(None)])

    assert (found.outcome, found.label) == (Scored(1.0), None)


@pytest.mark.parametrize("newest_wins", [False, True])
def test_different_outcomes_without_times_leave_none(newest_wins: bool) -> None:
    found = verdict(NO_COLUMN, [said(1.0), said(0.0)], newest_wins=newest_wins)

    assert found.outcome == Unscored("contradicting outcomes: 1, 0")


def test_the_newest_wins_only_where_that_is_asked_for() -> None:
    labels = [said(0.0, time_s=2.0), said(1.0, time_s=1.0)]

    assert verdict(NO_COLUMN, labels).outcome == Unscored("contradicting outcomes: 0, 1")
    assert verdict(NO_COLUMN, labels, newest_wins=True).outcome == Scored(0.0)


def test_two_of_the_same_moment_have_no_newest() -> None:
    labels = [said(0.0, time_s=2.0), said(1.0, time_s=2.0)]

    assert isinstance(verdict(NO_COLUMN, labels, newest_wins=True).outcome, Unscored)


def test_the_log_has_no_time_so_nothing_is_newer_than_it() -> None:
    found = verdict(Scored(1.0), [said(0.0, time_s=2.0)], newest_wins=True)

    assert found.outcome == Unscored("contradicting outcomes: 1, 0")


def test_a_log_that_contradicts_itself_is_not_settled_by_one_more_voice() -> None:
    torn = Unscored("contradicting outcomes: 0, 1")

    assert verdict(torn, [said(1.0)]).outcome == torn
    assert disposition(said(1.0), [], logged=torn) is Disposition.CONTRADICTING


def test_the_last_reason_that_was_given_stands_where_nothing_is_known() -> None:
    found = verdict(NO_COLUMN, [Label("c", Unscored("called twice")), said(None)])

    assert found.outcome == Unscored("called twice")


def test_feedback_on_a_turn_is_no_outcome_of_the_conversation() -> None:
    assert verdict(NO_COLUMN, [said(1.0, turn=0)]).outcome == NO_COLUMN


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        (said(1.0, time_s=5.0), "duplicate"),
        (said(1.0), "accepted"),
        (said(None), "accepted"),
        (said(0.0), "contradicting"),
        (said(0.0, turn=1), "accepted"),
    ],
)
def test_a_label_repeats_agrees_or_contradicts(label: Label, expected: str) -> None:
    earlier = [said(1.0, time_s=5.0), said(1.0, turn=0)]

    assert disposition(label, earlier, logged=NO_COLUMN).value == expected


@given(logged=OUTCOMES, labels=st.lists(LABELS, max_size=5), newest_wins=st.booleans())
def test_a_score_is_always_one_that_somebody_gave(
    logged: Outcome, labels: list[Label], newest_wins: bool
) -> None:
    found = verdict(logged, labels, newest_wins=newest_wins).outcome

    told = [logged, *(label.outcome for label in labels if label.turn_index is None)]
    assert isinstance(found, Unscored) or found in told


@given(labels=st.lists(LABELS, max_size=5))
def test_a_label_that_repeats_another_changes_nothing(labels: list[Label]) -> None:
    twice = [each for label in labels for each in (label, label)]

    assert verdict(NO_COLUMN, labels).outcome == verdict(NO_COLUMN, twice).outcome


@given(logged=OUTCOMES, labels=st.lists(LABELS, max_size=5))
def test_the_order_of_labels_does_not_decide_a_score(logged: Outcome, labels: list[Label]) -> None:
    forth, back = verdict(logged, labels).outcome, verdict(logged, labels[::-1]).outcome

    assert forth == back or (isinstance(forth, Unscored) and isinstance(back, Unscored))
