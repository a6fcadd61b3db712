"""What the report says of certificates and of Q, on figures that can be checked by hand."""

import html
import json
from dataclasses import replace
from typing import Any

import pytest

from itpo_core.decision import Gain
from storage import commits, weights
from storage.registry import Decision
from storage.rows import to_table
from tasks.certify import Claim, certificate_evidence
from tasks.context import Context
from tasks.metrics import metrics_table
from tasks.q_facts import QGate
from tasks.report_certificate import (
    certificate_answer,
    certificate_rows,
    certificate_sentence,
    certificate_table,
    q_answer,
    q_table,
)
from tasks.report_data import EMPTY, experiment_facts
from tasks.report_pages import experiment_html, iteration_html
from tests.builders import make_lake
from tests.tasks.test_certify import GAIN, claim_of
from tests.tasks.test_certify import STEP as STEPPED
from tests.tasks.test_report_answers import NOTHING

FITTED = {
    "heldout_conversations": 240.0,
    "heldout_auc": 0.66,
    "heldout_auc_lower": 0.61,
    "heldout_auc_upper": 0.71,
    "heldout_cross_entropy": 0.6,
    "heldout_base_rate_entropy": 0.65,
    "observed_minus_predicted_turn_0": 0.04,
    "observed_minus_predicted_turn_1": -0.02,
}


def decision_of(claim: Claim, *, measured: Gain = GAIN, withheld: str | None = None) -> Decision:
    """A decision with this certificate in its evidence."""
    evidence: Any = certificate_evidence(claim, measured=measured, withheld=withheld)  # Any: evidence values
    return Decision("hold", "shop/v1", "because", evidence, "decide/0002", 5, None, 2, "d")


def test_a_whole_certificate_is_told_in_points_and_nats() -> None:
    rows = {row["name"]: row["value"] for row in certificate_rows(decision_of(claim_of(STEPPED)))}

    assert rows["promised by Q (points)"] == "+20.0"
    assert rows["measured change of success (points)"] == "+15.0 [+5.0, +25.0]"
    assert rows["guaranteed by the bound (points)"] == "-74.0"
    assert rows["KL taken, per response (nats)"] == "0.500"
    assert rows["turns of a conversation"] == "2.000"


def test_what_an_algorithm_without_q_does_not_have_is_left_out() -> None:
    decision = decision_of(claim_of({"steps": 1.0, "final_kl": 0.08}, brier=None))

    names = [row["name"] for row in certificate_rows(decision)]

    assert names == ["measured change of success (points)", "KL to the parent"]
    assert "nothing was promised by a Q" in certificate_sentence(decision)


def test_a_promise_that_was_kept_is_good_news_and_a_broken_one_bad() -> None:
    kept = replace(NOTHING, decision=decision_of(claim_of(STEPPED)))
    fell = decision_of(claim_of(STEPPED), measured=Gain(-0.15, -0.25, -0.05, pairs=100))
    broken = replace(NOTHING, decision=fell)

    answers = [certificate_answer(facts) for facts in (kept, broken, NOTHING)]

    assert [None if each is None else each.tone for each in answers] == ["good", "bad", None]


def test_the_table_of_an_experiment_has_a_dash_where_nothing_was_promised() -> None:
    stepped = replace(NOTHING, decision=decision_of(claim_of(STEPPED)))
    shut = decision_of(claim_of({"steps": 0.0, "final_kl": 0.0}), withheld="q gate closed: luck")
    closed = replace(NOTHING, iteration=3, decision=shut)

    rows = certificate_table([NOTHING, stepped, closed])

    assert [(row["iteration"], row["promised"], row["vacuous"], row["agreement"]) for row in rows] == [
        ("2", "+20.0", "vacuous", "agree"),
        ("3", "-", "-", "-"),
    ]


def test_a_closed_gate_is_bad_news_with_its_reason() -> None:
    facts = replace(NOTHING, q={"fit_q/heldout_conversations": 0.0}, q_gate=QGate(False, "luck alone"))

    answer = q_answer(facts)

    assert answer is not None
    assert (answer.text, answer.tone) == ("Its gate is closed: luck alone.", "bad")
    assert q_table([facts, NOTHING])[0]["gate"] == "closed"
    assert q_answer(NOTHING) is None


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """The iteration's and the experiment's page where a Q was fitted and a step taken under it."""
    context = make_lake(tmp_path_factory.mktemp("shop"))
    commit_q(context)
    facts = experiment_facts(context)
    decided = replace(facts[-1], decision=decision_of(claim_of(STEPPED)))
    return (
        html.unescape(iteration_html(decided, context.config, viewer=EMPTY)),
        html.unescape(experiment_html([*facts[:-1], decided], context.config, current=None)),
    )


@pytest.mark.slow
def test_the_iteration_has_a_section_for_the_certificate_and_one_for_q(pages: tuple[str, str]) -> None:
    page, _ = pages

    assert '<h2 id="certificate">Improvement certificate</h2>' in page
    assert "<p>agree: success changed by +15.0 points [+5.0, +25.0], against +20.0 promised by Q" in page
    assert "Its gate is open: Q is better." in page
    assert '<td>held-out AUC over turns [95 % interval]</td><td class="n">0.660 [0.610, 0.710]</td>' in page
    assert '<tr><td class="n">2</td><td class="n">-2.0</td></tr>' in page


@pytest.mark.slow
def test_the_experiment_shows_certificates_and_qs_side_by_side(pages: tuple[str, str]) -> None:
    _, page = pages

    assert '<h2 id="certificate">Improvement certificates</h2>' in page
    assert '<td>vacuous</td><td class="n">+20.0</td>' in page
    assert '<td class="n">0.660 [0.610, 0.710]</td><td class="n">0.600</td><td class="n">0.650</td>' in page


def commit_q(context: Context) -> None:
    """The figures of a Q whose gate is open, without weights."""
    key, gate = context.key("q"), json.dumps({"open": True, "reason": "Q is better"}).encode()
    commits.commit(
        context.store,
        key,
        tables={
            "turn_values": to_table("turn_values", []),
            "metrics": metrics_table("fit_q", summary=FITTED),
        },
        parents={},
        inputs={},
        artifacts={"gate.json": weights.put_bytes(context.store, key, name="gate.json", data=gate)},
        attempt=context.attempt,
    )
