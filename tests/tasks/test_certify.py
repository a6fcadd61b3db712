"""The certificate in a decision's evidence: whole under a Q, in parts without one, silent without a step."""

import json
from pathlib import Path

import pytest

from itpo_core.decision import Gain
from storage import commits, weights
from storage.rows import to_table
from tasks import decide
from tasks.certify import Claim, certificate_evidence
from tasks.context import Context
from tasks.metrics import metrics_table
from tests.builders import commit, commit_evaluation, make_context

# One step: 2 turns, each 0.1 better under Q, at KL 0.5 a response; penalty 0.6 on rewards of deviation 0.5.
STEP = {
    "step_taken": 1.0,
    "gate_open": 1.0,
    "steps": 8.0,
    "aborted": 0.0,
    "final_kl": 0.08,
    "final_entropy": 0.4,
    "final_kl_weight": 0.6,
    "final_reward_std": 0.5,
    "kl_per_response": 0.5,
    "kl_largest_state": 0.9,
    "q_gain_per_turn": 0.1,
    "q_gain_raw": 0.5,
}
GAIN = Gain(0.15, 0.05, 0.25, pairs=100)


def claim_of(stepped: dict[str, float], *, brier: float | None = 0.04) -> Claim:
    """Figures as stages name them, two turns on average of at most eight."""
    return Claim(
        trained={f"train_policy/{name}": value for name, value in stepped.items()},
        fitted=None if brier is None else {"fit_q/heldout_brier": brier},
        mean_turns=2.0,
        max_turns=8,
    )


def test_a_step_under_q_is_certified_number_by_number() -> None:
    found = certificate_evidence(claim_of(STEP), measured=GAIN, withheld=None)

    # beta = 0.6 x 0.5 x (0.1 / 0.5) = 0.06, so beta KL = 0.03 a turn; the error is sqrt 0.04 = 0.2.
    assert found["certificate_beta"] == pytest.approx(0.06)
    assert found["certificate_q_error"] == pytest.approx(0.2)
    assert found["certificate_promised"] == pytest.approx(0.2)
    assert found["certificate_bound"] == pytest.approx(2 * (0.03 - 0.4))
    assert found["certificate_direct_bound"] == pytest.approx(2 * (0.1 - 0.4))
    assert found["certificate_delivered"] == pytest.approx(0.75)
    assert (found["certificate_vacuous"], found["certificate_agreement"]) == (True, "agree")


def test_a_proven_fall_against_the_promise_disagrees() -> None:
    fell = Gain(-0.15, -0.25, -0.05, pairs=100)

    found = certificate_evidence(claim_of(STEP), measured=fell, withheld=None)

    assert found["certificate_agreement"] == "disagree"


def test_an_algorithm_without_q_has_the_parts_that_exist_and_claims_no_agreement() -> None:
    credited = {"steps": 8.0, "final_kl": 0.08, "final_entropy": 0.4}

    found = certificate_evidence(claim_of(credited, brier=None), measured=GAIN, withheld=None)

    assert found == {
        "certificate_kl_per_token": 0.08,
        "certificate_measured": 0.15,
        "certificate_measured_lower": 0.05,
        "certificate_measured_upper": 0.25,
        "certificate_verdict": "nothing was promised by a Q: success changed by +15.0 points [+5.0, +25.0]",
    }


def test_a_mean_that_rounding_puts_outside_its_interval_is_no_reason_to_stop() -> None:
    tied = Gain(0.1, 0.1 + 1e-17, 0.1 - 1e-17, pairs=4)

    found = certificate_evidence(claim_of(STEP), measured=tied, withheld=None)

    assert found["certificate_measured"] == 0.1


def lake_of(folder: Path, *, stepped: dict[str, float], is_open: bool, roles: dict[str, str]) -> Context:
    """An evaluated iteration 2 of iterative_ppo: v0001 wins every pair, v0000 and v0002 none."""
    context = make_context(folder, iteration=2, credit__algorithm="iterative_ppo")
    gate = json.dumps({"open": is_open, "reason": "Q is not clearly better than the base rate"}).encode()
    commits.commit(
        context.store,
        context.key("q"),
        tables={
            "turn_values": to_table("turn_values", []),
            "metrics": metrics_table("fit_q", summary={"heldout_brier": 0.04}),
        },
        parents={},
        inputs={},
        artifacts={
            "gate.json": weights.put_bytes(context.store, context.key("q"), name="gate.json", data=gate)
        },
        attempt=context.attempt,
    )
    commit(context, "policy", {"metrics": metrics_table("train_policy", summary=stepped)})
    commit_evaluation(context, roles, successes={"shop/v0000": 0, "shop/v0001": 2, "shop/v0002": 0})
    return context


ROLES = {"candidate": "shop/v0002", "incumbent": "shop/v0001", "initial": "shop/v0000"}


def test_a_closed_gate_is_held_with_its_reason_and_promises_nothing(tmp_path: Path) -> None:
    stepped = {"step_taken": 0.0, "steps": 0.0, "final_kl": 0.0}
    context = lake_of(tmp_path, stepped=stepped, is_open=False, roles=ROLES)

    verdict, evidence = decide.judge(context, context.read("evaluation"), policy=context.read("policy"))

    assert verdict.action.value == "hold"
    assert verdict.reason == "q gate closed: Q is not clearly better than the base rate"
    assert evidence["entropy"] is None
    assert str(evidence["certificate_verdict"]).startswith("no step was taken and nothing promised")
    assert "certificate_agreement" not in evidence


def test_a_step_that_was_given_up_says_so_in_the_evidence(tmp_path: Path) -> None:
    gone = {**STEP, "aborted": 1.0, "abort_pass": 2.0, "abort_divergence": 0.4, "abort_limit": 0.3}
    context = lake_of(tmp_path, stepped=gone, is_open=True, roles=ROLES)

    _, evidence = decide.judge(context, context.read("evaluation"), policy=context.read("policy"))

    recorded = (evidence["aborted"], evidence["abort_pass"], evidence["abort_divergence"])
    assert recorded == (1.0, 2.0, 0.4)


def test_a_step_under_a_closed_gate_is_no_secret(tmp_path: Path) -> None:
    context = lake_of(tmp_path, stepped={**STEP, "gate_open": 0.0}, is_open=False, roles=ROLES)

    _, evidence = decide.judge(context, context.read("evaluation"), policy=context.read("policy"))

    assert evidence["q_gate_ignored"] == "Q is not clearly better than the base rate"


def test_an_incumbent_that_the_next_evaluation_contradicts_is_rolled_back(tmp_path: Path) -> None:
    roles = {
        "candidate": "shop/v0002",
        "incumbent": "shop/v0000",
        "initial": "shop/v0000",
        "predecessor": "shop/v0001",
    }
    context = lake_of(tmp_path, stepped=STEP, is_open=True, roles=roles)

    verdict, evidence = decide.judge(context, context.read("evaluation"), policy=context.read("policy"))

    assert verdict.action.value == "rollback"
    assert decide.decided_version(context.read("evaluation"), verdict) == "shop/v0001"
    assert evidence["certificate_agreement"] == "undecided"
