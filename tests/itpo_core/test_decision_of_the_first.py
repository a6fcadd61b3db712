"""Decisions before anybody speaks: without users nothing is promoted, and a successor has a start to pass."""

from itpo_core.decision import Action, start_doubt, unjudged


def test_without_users_a_candidate_is_held_with_what_would_help() -> None:
    verdict = unjudged(heldout=12, remedy="bring users")

    assert verdict.action is Action.HOLD
    assert verdict.reason.startswith("no users to judge it: 12 held-out logged conversations")
    assert verdict.reason.endswith("bring users")


def test_where_nobody_speaks_yet_a_gain_is_not_enough() -> None:
    assert start_doubt(0.19, least=0.2, somebody_speaks=False) == (
        "version 0 was held, and success 19.0% is below 20.0%, too"
    )
    assert start_doubt(0.2, least=0.2, somebody_speaks=False) is None


def test_where_somebody_speaks_the_start_is_behind() -> None:
    assert start_doubt(0.0, least=0.2, somebody_speaks=True) is None
