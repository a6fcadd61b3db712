"""Whoever is told what is wrong with simulated users is told what to do about it."""

import pytest
from rich.console import Console

from itpo_core.fidelity import Fidelity, Finding, TooFew
from itpo_core.fidelity_features import ACTS_FAULT, FEATURES, Scale
from tasks import fidelity, fidelity_page
from tasks.fidelity import Comparison
from tasks.fidelity_remedies import MODEL, REMEDIES, UNTIL_THEN, remedies


def finding(fault: str | None) -> Finding:
    """A feature that is beyond its limit, or not."""
    return Finding("length", "words", Scale.KOLMOGOROV, 9.0, 2.0, 0.5, 0.4, 0.6, 0.2, fault)


@pytest.mark.parametrize("users", ["scripted", MODEL])
def test_every_fault_has_a_remedy_for_users_of_either_kind(users: str) -> None:
    faults = [fault for each in FEATURES.values() for fault in (each.more, each.less, each.none) if fault]

    told = remedies([*faults, ACTS_FAULT], users=users)

    for fault, line in zip([*faults, ACTS_FAULT], told, strict=False):
        assert line.startswith(f"{fault}: ")
        assert any(word in line for word in ("deal ", "user.", "domain.preset", "go by"))


def test_remedies_are_of_those_who_play_the_users() -> None:
    (rules, *_), (model, *_) = (remedies(["stops on confirm"], users=users) for users in ("scripted", MODEL))

    assert "user.earliest_leave" in model
    assert "user." not in rules


def test_remedies_name_faults_that_there_are() -> None:
    named = {fault for each in FEATURES.values() for fault in (each.more, each.less, each.none)}

    assert set(REMEDIES) <= {*named, ACTS_FAULT}


def test_where_nothing_is_wrong_nothing_is_to_do() -> None:
    assert remedies([], users="scripted") == []


def test_the_command_ends_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Console(record=True, width=200, highlight=False)
    monkeypatch.setattr(fidelity_page, "OUT", screen)
    found = Fidelity((finding("too terse"), finding(None)), (), 80, 80)

    fidelity_page.show(Comparison(found, "", "here"), users="scripted")

    shown = screen.export_text()
    assert '- too terse: deal "verbose" users' in shown
    assert "collect.personas" in shown
    assert UNTIL_THEN in shown


def test_too_few_conversations_to_judge_say_where_more_come_from() -> None:
    thin = fidelity._comparison(TooFew("3 logged and 2 simulated"), how="here", failed=1)

    assert "import more" in thin.reason
    assert "cassettes.mode=record" in thin.reason
