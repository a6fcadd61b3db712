"""What the report says of a candidate that nobody has met."""

from dataclasses import replace

from tasks.report_answers import better, decided
from tasks.report_offline import offline_rows
from tests.tasks.test_report_answers import NOTHING, event

LIKELIER = {"likelier": 0.25, "likelier_lower": 0.1, "likelier_upper": 0.4}
HELD = replace(event("hold"), evidence={"hold_cause": "no_users", **LIKELIER, "behaviour_kl": 0.02})


def test_nobody_knows_whether_it_got_better_and_imitation_is_called_so() -> None:
    answer = better(replace(NOTHING, decision=HELD))

    assert answer is not None
    assert answer.text.startswith("Nobody knows: there are no users to try it on.")
    assert "+0.25 [+0.10, +0.40] nats per token, which is imitation" in answer.text


def test_a_candidate_held_before_anybody_spoke_does_not_speak() -> None:
    own = replace(HELD, version="shop/v0001", settles=1)

    answer = decided(replace(NOTHING, decision=own))

    assert answer is not None
    assert answer.text.endswith("Nobody speaks now.")


def test_the_evidence_names_the_users_that_are_missing() -> None:
    rows = {name: value for name, value, _ in offline_rows(HELD.evidence) if value is not None}

    assert rows["users to judge the candidate"] == "none"
    assert rows["divergence of the candidate from the imitated assistant"] == "0.020 nats/token"
    assert len(rows) == 3


def test_a_decision_with_users_has_no_such_rows() -> None:
    assert [value for _, value, _ in offline_rows({"gain": 0.1, "kl": 0.1}) if value is not None] == []
