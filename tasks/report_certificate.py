"""The improvement certificate and the figures of Q, as sentences and rows with names for people. Pure."""

from collections.abc import Mapping, Sequence

from storage.registry import Decision
from tasks.certify import PREFIX
from tasks.report_answers import Answer, Tone
from tasks.report_data import IterationFacts
from tasks.report_tables import Cells, calibration_rows, named_figures
from tasks.report_words import UNKNOWN, interval, nats, number, points

ERROR_KINDS: Mapping[str, str] = {
    "outcomes": "against single outcomes, whose own noise is in it",
    "replicates": "against means of repeated conversations",
    "exact": "against known values",
}
VACUOUS: Mapping[object, str] = {True: "vacuous", False: "above 0"}
TONES: Mapping[object, Tone] = {"agree": "good", "disagree": "bad"}
Q: Mapping[str, str] = {
    "heldout_auc": "held-out AUC over turns [95 % interval]",
    "heldout_conversations": "held-out conversations",
    "heldout_turns": "held-out turns",
    "heldout_cross_entropy": "held-out cross-entropy (nats per turn)",
    "heldout_base_rate_entropy": "the same for always saying the base rate (nats)",
    "heldout_improvement": "better than the base rate by (nats) [95 % interval]",
    "heldout_brier": "held-out Brier score",
    "heldout_explained_variance": "explained variance, held out",
    "labelled_turns": "turns fitted on",
    "unlabelled_turns": "turns without a usable target",
    "best_epoch": "epoch that was kept",
    "first_epoch_loss": "training loss, first epoch (nats per turn)",
    "last_epoch_loss": "training loss, last epoch (nats per turn)",
}


def certificate_rows(decision: Decision) -> Cells:
    """What the certificate is made of, with units and meanings; what is not known is left out."""
    found = certificate(decision)
    rows = (
        ("promised by Q (points)", _points(found, "promised"), "gain of Q a turn times turns"),
        ("measured change of success (points)", interval(found, "measured"), "candidate less incumbent"),
        ("delivered of the promise", _number(found, "delivered"), "measured over promised"),
        ("guaranteed by the bound (points)", _points(found, "bound"), "Theorem 2 with the mean of turns"),
        ("the same with the most turns (points)", _points(found, "bound_worst_case"),
         "every turn that is allowed"),
        ("guaranteed directly (points)", _points(found, "direct_bound"), "the promise less twice the error"),
        ("error of Q, held out (points)", _points(found, "q_error"),
         ERROR_KINDS.get(str(found.get("q_error_kind")), "")),
        ("KL taken, per response (nats)", _number(found, "kl_per_response"), "mean over visited histories"),
        ("KL of the history that moved most (nats)", _number(found, "kl_largest_state"),
         "a mean over a few responses, so it is too high"),
        ("KL to the parent", _written(found, "kl_per_token"), "of the step's last pass"),
        ("turns of a conversation", _number(found, "mean_turns"), _at_most(found)),
    )  # fmt: skip
    return [
        {"name": name, "value": value, "meaning": meaning}
        for name, value, meaning in rows
        if value is not None
    ]


def certificate_sentence(decision: Decision) -> str:
    """Whether the measured change agrees with the promise, and whether the bound says anything."""
    return str(certificate(decision).get("verdict", ""))


def certificate_row(facts: IterationFacts) -> dict[str, str] | None:
    """One line of the experiment's table; None for an iteration without a certificate."""
    found = {} if facts.decision is None else certificate(facts.decision)
    if not found:
        return None
    return {
        "iteration": str(facts.iteration),
        "promised": _points(found, "promised") or UNKNOWN,
        "measured": interval(found, "measured") or UNKNOWN,
        "bound": _points(found, "bound") or UNKNOWN,
        "vacuous": VACUOUS.get(found.get("vacuous"), UNKNOWN),
        "error": _points(found, "q_error") or UNKNOWN,
        "kl": _number(found, "kl_per_response") or UNKNOWN,
        "agreement": str(found.get("agreement", UNKNOWN)),
    }


def certificate_table(facts: Sequence[IterationFacts]) -> Cells:
    """Every iteration that has a certificate."""
    return [row for each in facts if (row := certificate_row(each)) is not None]


def certificate(decision: Decision) -> dict[str, object]:
    """The evidence's certificate under its own names; empty before there was one."""
    evidence = decision.evidence
    return {name.removeprefix(PREFIX): evidence[name] for name in evidence if name.startswith(PREFIX)}


def q_table(facts: Sequence[IterationFacts]) -> Cells:
    """Every iteration that fitted a Q: its held-out figures and its gate."""
    rows = [(each, q_figures(each)) for each in facts if each.q]
    return [
        {
            "iteration": str(each.iteration),
            "conversations": f"{figures.get('heldout_conversations', 0.0):,.0f}",
            "auc": interval(figures, "heldout_auc", write=_three) or UNKNOWN,
            "cross_entropy": _number(figures, "heldout_cross_entropy") or UNKNOWN,
            "base": _number(figures, "heldout_base_rate_entropy") or UNKNOWN,
            "gate": "open" if each.q_gate is not None and each.q_gate.is_open else "closed",
        }
        for each, figures in rows
    ]


def q_rows(facts: IterationFacts) -> Cells:
    """The held-out figures of this iteration's Q by their names."""
    return named_figures(q_figures(facts), Q)


def q_calibration(facts: IterationFacts) -> Cells:
    """How far outcomes lie from what Q foresaw, by turn."""
    return calibration_rows(q_figures(facts))


def q_answer(facts: IterationFacts) -> Answer | None:
    """Whether the gate of this Q is open, and why; None without one, and for a critic of turn rewards."""
    if facts.q_gate is None or "heldout_conversations" not in q_figures(facts):
        return None
    gate = "open" if facts.q_gate.is_open else "closed"
    text = f"Its gate is {gate}: {facts.q_gate.reason}."
    return Answer("Is Q better than the base rate?", text, "good" if facts.q_gate.is_open else "bad", "q")


def certificate_answer(facts: IterationFacts) -> Answer | None:
    """Whether the measured change agrees with what was promised; None where nothing was."""
    if facts.decision is None or "agreement" not in (found := certificate(facts.decision)):
        return None
    tone = TONES.get(found["agreement"], "plain")
    text = f"{certificate_sentence(facts.decision)}."
    return Answer("Did the step keep its promise?", text, tone, "certificate")


def q_figures(facts: IterationFacts) -> dict[str, float]:
    """Q's figures under their short names."""
    return {name.removeprefix("fit_q/"): value for name, value in facts.q.items()}


def _points(found: Mapping[str, object], name: str) -> str | None:
    return None if found.get(name) is None else points(number(found[name]))


def _number(found: Mapping[str, object], name: str) -> str | None:
    return None if found.get(name) is None else _three(number(found[name]))


def _written(found: Mapping[str, object], name: str) -> str | None:
    return None if found.get(name) is None else nats(number(found[name]))


def _at_most(found: Mapping[str, object]) -> str:
    return f"at most {number(found['max_turns']):.0f}" if "max_turns" in found else ""


def _three(value: float) -> str:
    return f"{value:.3f}"
