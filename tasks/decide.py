"""Decide: the evidence of an iteration becomes one registry event: promote, hold or roll back."""

from collections.abc import Mapping, Sequence

from itpo_core.decision import (
    Drift,
    Gain,
    Thresholds,
    Verdict,
    decide,
    decide_first,
    family_doubt,
    start_doubt,
)
from itpo_core.identifiers import derive_seed
from itpo_core.statistics import paired_interval
from storage import commits, registry
from storage.commits import Commit
from storage.warehouse import run_sql
from tasks import build, contamination, from_logs, log_evidence
from tasks.certify import Claim, certificate_evidence
from tasks.context import Context, StageResult
from tasks.metrics import figures_of
from tasks.missing import missing_doubt, missing_evidence, missing_shares
from tasks.q_facts import committed_gate
from tasks.second_family import SECOND

Evidence = dict[str, float | str | bool | None]
DECIDED_KINDS = ("rollouts", "curated", "reward", "q", "credit", "policy", "evaluation")


def run(context: Context) -> StageResult:
    """Record the iteration's decision once and close it; a repeated call returns the recorded one."""
    event_id = f"decide/{context.iteration:04d}"
    for event in registry.events(context.store, context.experiment):
        if event.event_id == event_id:
            close_iteration(context, by=event_id)
            return _result(context, event, resumed=True)
    evaluation, policy = context.read("evaluation"), context.read("policy")
    verdict, evidence = judge(context, evaluation, policy=policy)
    event = registry.record_decision(
        context.store,
        context.experiment,
        event_id=event_id,
        action=verdict.action.value,
        version=recorded_version(context, evaluation, verdict=verdict),
        reason=verdict.reason,
        evidence={**evidence, "evaluation_digest": evaluation.digest, "policy_digest": policy.digest},
    )
    close_iteration(context, by=event_id)
    return _result(context, event, resumed=False)


def close_iteration(context: Context, *, by: str) -> None:
    """Nothing is added to a decided iteration: a task that wakes up late finds every place taken."""
    for kind in DECIDED_KINDS:
        commits.close(context.store, context.key(kind), by=by)


def judge(context: Context, evaluation: Commit, *, policy: Commit) -> tuple[Verdict, Evidence]:
    """The verdict and every number it rests on."""
    if not from_logs.has_users(context.config):
        return log_evidence.judge(context, evaluation)
    if "incumbent" not in evaluation.inputs:
        return first_verdict(context, evaluation, policy=policy)
    gain = paired_gain(context, evaluation, better="candidate", worse="incumbent")
    loss = None
    if "predecessor" in evaluation.inputs:
        loss = paired_gain(context, evaluation, better="predecessor", worse="incumbent")
    drift = candidate_drift(context, evaluation, policy=policy)
    withheld = withheld_step(context, policy)
    second = second_gain(context, evaluation)
    lost, gate = missing_shares(context, evaluation), context.config.decide
    verdict = decide(
        gain,
        drift,
        thresholds=thresholds(context),
        incumbent_loss=loss,
        withheld=withheld,
        doubt=second_doubt(context, second)
        or missing_doubt(gain, lost, min_gain=gate.min_gain)
        or start_doubt(
            success(context, evaluation, role="candidate"),
            least=context.config.warm_start.min_start_success,
            somebody_speaks=registry.find_current(context.store, context.experiment) is not None,
        ),
    )
    total = paired_gain(context, evaluation, better="candidate", worse="initial")
    evidence = {
        "candidate_success": success(context, evaluation, role="candidate"),
        "incumbent_success": success(context, evaluation, role="incumbent"),
        **gain_columns("gain", gain),
        **gain_columns("gain_over_initial", total),
        **(gain_columns("incumbent_loss", loss) if loss else {}),
        "kl": drift.kl,
        "entropy": drift.entropy,
        "failed_share": drift.failed_share,
        **contamination.evidence(context, evaluation),
        **step_evidence(context, policy),
        **second_evidence(context, second),
        **missing_evidence(lost),
        **certificate_evidence(claim(context, evaluation, policy=policy), measured=gain, withheld=withheld),
    }
    return verdict, evidence


def second_gain(context: Context, evaluation: Commit) -> Gain | None:
    """The candidate's gain with the second family of users; None without one, or without scored pairs."""
    if context.config.evaluate.second_family is None:
        return None
    differences, clusters = paired_differences(
        context, evaluation, better="candidate", worse="incumbent", split=SECOND
    )
    return None if len(set(clusters)) < 2 else gain_of(context, differences, clusters=clusters)


def second_doubt(context: Context, second: Gain | None) -> str | None:
    """Why the second family holds a promotion back; None where it is not asked, or the gain survives."""
    gate = context.config.decide
    return family_doubt(second, min_gain=gate.min_gain) if gate.second_family == "required" else None


def second_evidence(context: Context, second: Gain | None) -> Evidence:
    """The gain with the second family of users, and whether it survives; nothing where none was met."""
    name = context.config.evaluate.second_family
    if name is None:
        return {}
    survives = family_doubt(second, min_gain=context.config.decide.min_gain) is None
    measured = {} if second is None else gain_columns("second_gain", second)
    return {"second_family": name, **measured, "second_family_survives": survives}


def withheld_step(context: Context, policy: Commit) -> str | None:
    """Why the candidate is its parent unchanged; None when a step was taken."""
    if figures_of(context.store, policy).get("train_policy/step_taken", 1.0) == 1.0:
        return None
    return f"q gate closed: {committed_gate(context, context.read('q')).reason}"


def step_evidence(context: Context, policy: Commit) -> Evidence:
    """What was out of the ordinary: a step that was given up, one under a Q whose gate was closed."""
    trained = figures_of(context.store, policy)
    found: Evidence = {}
    if trained.get("train_policy/aborted"):
        names = ("aborted", "abort_pass", "abort_divergence", "abort_limit")
        found |= {name: trained[f"train_policy/{name}"] for name in names}
    if trained.get("train_policy/step_taken") and not trained["train_policy/gate_open"]:
        found["q_gate_ignored"] = committed_gate(context, context.read("q")).reason
    return found


def claim(context: Context, evaluation: Commit, *, policy: Commit) -> Claim:
    """What the certificate is made of besides the measured change."""
    q = context.find("q")
    return Claim(
        trained=figures_of(context.store, policy),
        fitted=None if q is None else figures_of(context.store, q),
        mean_turns=_by_version(context, evaluation)[evaluation.inputs["candidate"]]["turns"],
        max_turns=build.domain(context.config).environment.max_turns,
        doubly_robust=context.config.improve.doubly_robust,
    )


def first_verdict(context: Context, evaluation: Commit, *, policy: Commit) -> tuple[Verdict, Evidence]:
    """Version 0 has to pass the gates of the warm start."""
    settings = context.config.warm_start
    copy_accuracy = figures_of(context.store, policy).get("warm_start/copy_accuracy")
    start_success = success(context, evaluation, role="candidate")
    verdict = decide_first(
        copy_accuracy=copy_accuracy,
        start_success=start_success,
        min_copy_accuracy=settings.min_copy_accuracy,
        min_start_success=settings.min_start_success,
    )
    exposed = contamination.evidence(context, evaluation)
    return verdict, {"copy_accuracy": copy_accuracy, "start_success": start_success, **exposed}


def paired_gain(context: Context, evaluation: Commit, *, better: str, worse: str) -> Gain:
    """Mean success difference of two roles on unseen scenarios, with its bootstrap interval."""
    differences, clusters = paired_differences(
        context, evaluation, better=better, worse=worse, split="unseen"
    )
    if not differences:
        raise ValueError(f"{evaluation.key.text}: no scenario on which both {better} and {worse} were scored")
    return gain_of(context, differences, clusters=clusters)


def paired_differences(
    context: Context, evaluation: Commit, *, better: str, worse: str, split: str
) -> tuple[list[float], list[str]]:
    """Better minus worse on every scenario on which both were scored, and its cluster."""
    rows = run_sql(
        "paired_outcomes.sql",
        relations={"conversations": commits.table_paths(context.store, evaluation, table="conversations")},
        parameters={
            "better": evaluation.inputs[better],
            "worse": evaluation.inputs[worse],
            "split": split,
        },
        settings=context.duck,
    )
    return rows.column("difference").to_pylist(), rows.column("scenario_id").to_pylist()


def gain_of(context: Context, differences: Sequence[float], *, clusters: Sequence[str]) -> Gain:
    """The mean difference with its bootstrap interval over whole clusters."""
    interval = paired_interval(
        differences,
        clusters,
        confidence=context.config.decide.confidence,
        draws=context.config.evaluate.bootstrap,
        seed=derive_seed(context.config.seed, "bootstrap", context.iteration),
    )
    return Gain(interval.mean, interval.lower, interval.upper, len(differences))


def success(context: Context, evaluation: Commit, *, role: str) -> float:
    """Mean outcome of one role on unseen scenarios."""
    return _by_version(context, evaluation)[evaluation.inputs[role]]["success"]


def candidate_drift(context: Context, evaluation: Commit, *, policy: Commit) -> Drift:
    """KL and entropy from the training, and the share of the candidate's evaluation that has no outcome.

    Of a step that was given up the KL is that of the pass that went too far, more than the candidate's own.
    """
    trained = figures_of(context.store, policy)
    row = _by_version(context, evaluation)[evaluation.inputs["candidate"]]
    return Drift(
        kl=trained["train_policy/final_kl"],
        entropy=trained["train_policy/final_entropy"] if trained["train_policy/steps"] else None,
        failed_share=row["unscored"] / (row["scored"] + row["unscored"]),
    )


def thresholds(context: Context) -> Thresholds:
    """The gate of the configuration."""
    gate = context.config.decide
    return Thresholds(
        min_gain=gate.min_gain,
        rollback_loss=gate.rollback_loss,
        max_kl=gate.max_kl,
        min_entropy=gate.min_entropy,
        max_failed_share=context.config.collect.failure_budget,
    )


def recorded_version(context: Context, evaluation: Commit, *, verdict: Verdict) -> str:
    """`decided_version`; where nobody speaks yet, it is the candidate that is held."""
    nobody = registry.find_current(context.store, context.experiment) is None
    if nobody and verdict.action == "hold":
        return evaluation.inputs["candidate"]
    return decided_version(evaluation, verdict)


def decided_version(evaluation: Commit, verdict: Verdict) -> str:
    """Which version is current after the verdict."""
    if verdict.action == "promote":
        return evaluation.inputs["candidate"]
    if verdict.action == "rollback":
        return evaluation.inputs["predecessor"]
    return evaluation.inputs.get("incumbent", evaluation.inputs["candidate"])


def gain_columns(name: str, gain: Gain) -> Evidence:
    """A gain as flat evidence."""
    return {
        name: gain.mean,
        f"{name}_lower": gain.lower,
        f"{name}_upper": gain.upper,
        f"{name}_pairs": gain.pairs,
    }


def _by_version(context: Context, evaluation: Commit) -> Mapping[str, Mapping[str, float]]:
    rows = run_sql(
        "success_by_version.sql",
        relations={"conversations": commits.table_paths(context.store, evaluation, table="conversations")},
        parameters={"split": "unseen"},
        settings=context.duck,
    )
    return {row["policy_version"]: row for row in rows.to_pylist()}


def _result(context: Context, event: registry.Decision, *, resumed: bool) -> StageResult:
    figures = {"action": event.action, "version": event.version, "reason": event.reason}
    return StageResult(
        "decide", f"{context.experiment}/registry/{event.event_id}", event.digest, resumed, figures
    )
