"""Rows of the report's tables with names and units for people. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from storage import registry
from storage.registry import Decision
from tasks.config import Config
from tasks.report_data import IterationFacts, Row, Rows
from tasks.report_offline import offline_rows
from tasks.report_plots import RANKED, kinds_by_truth
from tasks.report_words import (
    FATES,
    KINDS,
    METHODS,
    UNKNOWN,
    figure,
    interval,
    nats,
    number,
    percent,
    points,
    signed,
    spoken,
    with_error,
)

Cells = list[dict[str, str]]
TRAINING: Mapping[str, str] = {
    "warm_start/final_loss": "supervised loss at the end (nats per token)",
    "warm_start/copy_accuracy": "facts copied rightly in the exam (fraction)",
    "warm_start/exam_conversations": "conversations of the exam",
    "train_policy/steps": "optimiser steps",
    "train_policy/final_kl": "KL to the parent, last epoch (nats per token)",
    "train_policy/kl_max": "largest KL of a step (nats per token)",
    "train_policy/final_entropy": "entropy, last epoch (nats per token)",
    "train_policy/entropy_min": "smallest entropy of a step (nats per token)",
    "train_policy/final_clip_fraction": "tokens whose ratio was clipped, last epoch (fraction)",
    "train_policy/final_ratio_q01": "probability ratio, 1st percentile, last epoch",
    "train_policy/final_ratio_median": "probability ratio, median, last epoch",
    "train_policy/final_ratio_q99": "probability ratio, 99th percentile, last epoch",
    "train_policy/gradient_norm_max": "largest gradient norm before clipping",
    "train_policy/logprob_gap_mean": "mean gap to the rollout's log-probabilities (nats)",
    "train_policy/logprob_gap_max": "largest gap to the rollout's log-probabilities (nats)",
}
REWARD: Mapping[str, str] = {
    "heldout_auc": "held-out AUC; of outcomes between 0 and 1 the concordance [95 % interval]",
    "heldout_conversations": "held-out conversations",
    "heldout_groups": "held-out groups",
    "heldout_cross_entropy": "held-out cross-entropy (nats per conversation)",
    "heldout_base_rate_entropy": "the same for always saying the base rate (nats)",
    "heldout_brier": "held-out Brier score",
    "labelled": "conversations fitted on",
    "unlabelled": "conversations without a usable label",
    "first_epoch_loss": "training loss, first epoch (nats per conversation)",
    "last_epoch_loss": "training loss, last epoch (nats per conversation)",
    "too_long": "conversations too long to hold, left out",
    "longest_tokens": "tokens of the longest conversation that was held",
    "reference_loss": "loss of the reference (nats per token)",
}


@dataclass(frozen=True, slots=True)
class Evidence:
    """One figure that a decision rests on: its value with the unit, and what it was held against."""

    name: str
    value: str
    needed: str


def evidence_rows(decision: Decision, config: Config) -> list[Evidence]:
    """What the decision rests on, beside the limit of the configuration."""
    gate, start, found = config.decide, config.warm_start, decision.evidence
    rows = (
        ("paired gain over the incumbent (points)", _gain(found, "gain"),
         f"lower end above {points(gate.min_gain)}"),
        ("paired gain over version 0 (points)", _gain(found, "gain_over_initial"), "for information"),
        ("the incumbent's loss against its predecessor (points)", _gain(found, "incumbent_loss"),
         f"rolled back with the lower end above {points(gate.rollback_loss)}"),
        ("paired gain with the second family of users (points)", _gain(found, "second_gain"),
         f"lower end above {points(gate.min_gain)}" if gate.second_family == "required"
         else "for information"),
        ("KL of the candidate to its parent", _known(found, "kl", nats), f"at most {gate.max_kl:g}"),
        ("entropy of the candidate", _known(found, "entropy", nats), f"at least {gate.min_entropy:g}"),
        ("evaluation conversations without an outcome", _known(found, "failed_share", percent),
         f"at most {percent(config.collect.failure_budget)}"),
        ("unseen evaluation scenarios in the training data", _known(found, "contaminated_scenarios", figure),
         "none, or the evaluation is refused"),
        ("seen evaluation scenarios that were trained on", _known(found, "seen_scenarios_trained_on", figure),
         "for information: they are seen on purpose"),
        ("the gate of Q was closed, and a step taken all the same", _words(found, "q_gate_ignored"),
         'heeded with improve.gate = "required"'),
        ("divergence at which the step was given up", _known(found, "abort_divergence", nats),
         f"at most {_known(found, 'abort_limit', nats)}"),
        ("facts copied rightly in the warm start's exam", _known(found, "copy_accuracy", percent),
         f"at least {percent(start.min_copy_accuracy)}"),
        ("start success on unseen scenarios", _known(found, "start_success", percent),
         f"at least {percent(start.min_start_success)}"),
        *offline_rows(found),
    )  # fmt: skip
    return [Evidence(name, value, needed) for name, value, needed in rows if value is not None]


def decision_row(facts: IterationFacts) -> dict[str, str]:
    """One line of the table of decisions; dashes where the iteration has no such figure."""
    decision = facts.decision
    if decision is None:
        return {
            "iteration": str(facts.iteration),
            "action": "not decided",
            "reason": "no decision was taken yet",
        }
    found = decision.evidence
    return {
        "iteration": str(facts.iteration),
        "action": decision.action,
        "version": registry.speaker_after(decision) or UNKNOWN,
        "gain": interval(found, "gain") or UNKNOWN,
        "total": interval(found, "gain_over_initial") or UNKNOWN,
        "kl": UNKNOWN if found.get("kl") is None else f"{number(found['kl']):.3f}",
        "entropy": UNKNOWN if found.get("entropy") is None else f"{number(found['entropy']):.3f}",
        "reason": decision.reason,
    }


def arm_rows(facts: IterationFacts) -> Cells:
    """The arms of the evaluation by what they were, unseen scenarios first."""
    roles = facts.evaluated.roles
    rows = sorted(facts.evaluated.arms.rows, key=lambda row: row["split"] != "unseen")
    return [
        {
            "split": str(row["split"]),
            "arm": ", ".join(role for role, version in roles.items() if version == row["policy_version"]),
            "version": str(row["policy_version"]),
            "conversations": figure(_count(row, "conversations")),
            "scored": figure(_count(row, "scored")),
            "success": _mean(row, "success", "success_error", scale=100, unit=" %"),
            "turns": _mean(row, "mean_turns", "turns_error"),
            "tokens": _mean(row, "mean_tokens", "tokens_error"),
        }
        for row in rows
    ]


def difference_rows(facts: IterationFacts) -> Cells:
    """Candidate minus incumbent and minus version 0, pair by pair."""
    panels = {"incumbent": facts.evaluated.over_incumbent, "version 0": facts.evaluated.over_initial}
    return [
        {
            "against": name,
            "split": str(row["split"]),
            "pairs": figure(_count(row, "pairs")),
            "gain": _mean(row, "gain", "gain_error", scale=100),
            "better": figure(_count(row, "better")),
            "worse": figure(_count(row, "worse")),
            "turns": UNKNOWN if row["more_turns"] is None else signed(number(row["more_turns"])),
            "tokens": UNKNOWN if row["more_tokens"] is None else signed(number(row["more_tokens"])),
        }
        for name, panel in panels.items()
        for row in sorted(panel.rows, key=lambda row: row["split"] != "unseen")
    ]


def spoken_rows(facts: IterationFacts) -> Cells:
    """Who spoke the iteration's conversations, and how they went."""
    return [
        {
            "by": str(row["policy_version"]),
            "conversations": figure(_count(row, "conversations")),
            "failed": figure(_count(row, "failed")),
            "scored": figure(_count(row, "scored")),
            "success": _mean(row, "success", "success_error", scale=100, unit=" %"),
            "turns": UNKNOWN if row["mean_turns"] is None else f"{number(row['mean_turns']):.2f}",
            "tokens": _tokens(row),
        }
        for row in facts.said.conversations.rows
    ]


def drop_rows(rows: Rows) -> Cells:
    """Kept and dropped, iteration by iteration."""
    return [
        {
            "iteration": str(row["iteration"]),
            "fate": spoken(str(row["fate"]), FATES),
            "conversations": figure(_count(row, "conversations")),
            "share": percent(number(row["share"])),
        }
        for row in rows
    ]


def credit_rows(facts: IterationFacts) -> Cells:
    """Mean turn reward per kind of turn and method, before any baseline, with the truth."""
    methods = (*RANKED, "oracle_pi")
    cells = {(row["turn_kind"], row["method"]): row for row in facts.credited.rewards.rows}
    return [
        {
            "kind": spoken(kind, KINDS),
            "turns": figure(max(_count(row, "turns") for (of, _), row in cells.items() if of == kind)),
            **{name: _reward(cells.get((kind, name))) for name in methods},
        }
        for kind in kinds_by_truth(facts.credited.rewards.rows)
    ]


def agreement_rows(facts: IterationFacts) -> Cells:
    """How far each method agrees with the truth, in sign by kind of turn and in rank by turn."""
    ranks = {row["method"]: row["spearman"] for row in facts.credited.ranks.rows}
    rows = {row["method"]: row for row in facts.credited.agreement.rows}
    return [
        {
            "method": spoken(name, METHODS) + (", trained on" if name == facts.algorithm else ""),
            "agreeing": f"{rows[name]['agreeing_kinds']} of {rows[name]['kinds']}",
            "agreeing_share": percent(number(rows[name]["agreeing_share"])),
            "opposing": f"{rows[name]['opposing_kinds']} of {rows[name]['kinds']}",
            "opposing_share": percent(number(rows[name]["opposing_share"])),
            "rank": UNKNOWN if ranks.get(name) is None else signed(number(ranks[name])),
        }
        for name in RANKED
        if name in rows
    ]


def named_figures(figures: Mapping[str, float], names: Mapping[str, str]) -> Cells:
    """The figures that people ask for, by their names, with an interval where there is one."""
    return [
        {"name": label, "value": interval(figures, name, write=_three) or UNKNOWN
         if f"{name}_lower" in figures else _plain(figures[name])}
        for name, label in names.items()
        if name in figures
    ]  # fmt: skip


def calibration_rows(figures: Mapping[str, float]) -> Cells:
    """How far the success that was seen lies from the one that the reward model foresaw, by turn."""
    prefix = "observed_minus_predicted_turn_"
    turns = sorted(int(name.removeprefix(prefix)) for name in figures if name.startswith(prefix))
    return [{"turn": str(turn + 1), "gap": points(figures[f"{prefix}{turn}"])} for turn in turns]


def _gain(found: Row, name: str) -> str | None:
    text = interval(found, name)
    return None if text is None else f"{text} on {int(number(found[f'{name}_pairs'])):,} pairs"


def _known(found: Row, name: str, write: Callable[[float], str]) -> str | None:
    return None if found.get(name) is None else write(number(found[name]))


def _words(found: Row, name: str) -> str | None:
    return None if found.get(name) is None else str(found[name])


def _reward(row: Row | None) -> str:
    if row is None:
        return UNKNOWN
    error = row["standard_error"]
    return f"{number(row['mean']):+.3f}" + ("" if error is None else f" ± {1.96 * number(error):.3f}")


def _mean(row: Row, mean: str, error: str, *, scale: float = 1.0, unit: str = "") -> str:
    known = [None if row[name] is None else number(row[name]) for name in (mean, error)]
    return with_error(known[0], known[1], scale=scale, unit=unit)


def _tokens(row: Row) -> str:
    """Foreign logs have no tokens of a known tokenizer; unknown is not 0."""
    return f"{number(row['mean_tokens']):.1f}" if row["mean_tokens"] else UNKNOWN


def _count(row: Row, name: str) -> int:
    return int(number(row[name]))


def _three(value: float) -> str:
    return f"{value:.3f}"


def _plain(value: float) -> str:
    return figure(int(value)) if value == int(value) and abs(value) >= 1 else f"{value:.3g}"
