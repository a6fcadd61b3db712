"""Report: one self-contained page for the iteration and one for the experiment, committed, and copied out."""

import json
import os
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import jinja2

from storage import commits, registry, weights
from storage.paths import repository_root
from tasks import metrics, plots
from tasks.context import Context, StageResult, finished
from tasks.report_data import IterationFacts, Row, experiment_facts, viewer_rows

METHODS = ("outcome", "itpo", "norm_itpo", "norm_itpo_share", "dirichlet", "oracle_pi")
EVIDENCE_ORDER = ("gain", "gain_lower", "gain_upper", "gain_pairs")


def run(context: Context) -> StageResult:
    """Render both pages, commit them, and copy them to `reports/` with the metrics as JSONL and events."""
    parents = {
        kind: commit.digest
        for kind in ("rollouts", "curated", "reward", "credit", "policy", "evaluation")
        if (commit := context.find(kind)) is not None
    }
    events = registry.events(context.store, context.experiment)
    parents["registry"] = next(
        event.digest for event in events if event.event_id == f"decide/{context.iteration:04d}"
    )
    existing = context.find("report")
    if existing is None:
        pages = render_pages(context)
        artifacts = {
            name: weights.put_bytes(context.store, context.key("report"), name=name, data=text.encode())
            for name, text in pages.items()
        }
        commit = commits.commit(
            context.store,
            context.key("report"),
            tables={},
            parents=parents,
            inputs={},
            artifacts=artifacts,
            attempt=context.attempt,
        )
    else:
        commits.check_inputs(existing, parents=parents, inputs={})
        commit = existing
    folder = copy_for_people(context, commit)
    pages_at = {
        "page": str(folder / page_name(context.iteration)),
        "experiment_page": str(folder / "index.html"),
    }
    return finished("report", commit, resumed=existing is not None, figures=pages_at)


def page_name(iteration: int) -> str:
    """File name of an iteration's page."""
    return f"iteration-{iteration:04d}.html"


def render_pages(context: Context) -> dict[str, str]:
    """Both pages by file name."""
    facts = experiment_facts(context)
    templates = environment()
    return {
        page_name(context.iteration): templates.get_template("iteration.html.j2").render(
            iteration_page(context, facts[-1])
        ),
        "index.html": templates.get_template("experiment.html.j2").render(experiment_page(context, facts)),
    }


def experiment_page(
    context: Context, facts: Sequence[IterationFacts]
) -> dict[str, Any]:  # Any: template values
    """What the experiment's template is filled with."""
    candidates = {
        split: [
            {**row, "iteration": each.iteration}
            for each in facts
            for row in each.arms
            if _is_candidate(row, split)
        ]
        for split in ("unseen", "seen")
    }
    drops = [row for each in facts for row in each.drops]
    return {
        "experiment": context.experiment,
        "algorithm": context.config.credit.algorithm.value,
        "current": registry.current(context.store, context.experiment).name
        if registry.find_current(context.store, context.experiment)
        else "none",
        "config_digest": context.config.digest,
        "iterations": facts,
        "last": facts[-1],
        "start_success": candidates["unseen"][0]["success"],
        "last_success": candidates["unseen"][-1]["success"],
        "decisions": [decision_row(each) for each in facts],
        "drops": drops,
        "reward": [reward_row(each) for each in facts],
        "plots": experiment_plots(candidates, facts),
    }


def experiment_plots(
    candidates: Mapping[str, Sequence[Row]], facts: Sequence[IterationFacts]
) -> dict[str, str]:
    """Every figure of the experiment's page."""
    drift = [{"iteration": each.iteration, **_trained(each)} for each in facts]
    costs = candidates["unseen"]
    return {
        "success": plots.learning_curve(
            {"unseen scenarios": candidates["unseen"], "seen scenarios": candidates["seen"]}
        ),
        "cost": plots.lines(
            costs, {"mean_tokens": "assistant tokens"}, title="Cost per conversation", y="tokens"
        ),
        "lengths": plots.lines(
            costs, {"mean_turns": "assistant turns"}, title="Length", y="turns per conversation"
        ),
        "drops": plots.stacked_shares(
            [row for each in facts for row in each.drops],
            part="fate",
            share="share",
            title="Kept and dropped",
        ),
        "turn_kinds": plots.stacked_shares(
            [row for each in facts for row in each.turn_kinds],
            part="turn_kind",
            share="share",
            title="Kinds of turn",
        ),
        "drift": plots.lines(
            drift,
            {"kl": "KL to the parent", "entropy": "entropy"},
            title="Drift of the policy",
            y="nats per token",
        ),
        "reward": plots.lines(
            [reward_row(each) for each in facts],
            {"heldout_auc": "held-out AUC", "spearman": "Spearman with the oracle"},
            title="Quality of the reward model",
            y="AUC, rank correlation",
        ),
    }


def iteration_page(context: Context, facts: IterationFacts) -> dict[str, Any]:  # Any: template values
    """What the iteration's template is filled with."""
    named = {**facts.decision, **facts.policy_figures, **facts.reward_figures}
    shown = {name: value for name, value in named.items() if name not in ("action", "version", "reason")}
    return {
        "experiment": context.experiment,
        "facts": facts,
        "evidence": [{"name": name, "value": value} for name, value in shown.items()],
        "credit_plot": plots.credit_by_kind(facts.credit, METHODS) if facts.credit else "",
        "methods": METHODS if facts.credit else (),
        "talks": talks(viewer_rows(context)),
    }


def talks(rows: Sequence[Row]) -> list[dict[str, Any]]:  # Any: template values
    """Viewer rows as conversations with their turns; credit as JSON for the colouring."""
    return [
        {**turns[0], "turns": [{**turn, "credit_json": json.dumps(_credits(turn))} for turn in turns]}
        for turns in (list(group) for _, group in groupby(rows, key=lambda row: row["conversation_id"]))
    ]


def decision_row(facts: IterationFacts) -> dict[str, object]:
    """One line of the table of decisions."""
    decision = facts.decision
    return {
        **decision,
        "iteration": facts.iteration,
        "gain_text": _interval(decision, "gain"),
        "total_text": _interval(decision, "gain_over_initial"),
    }


def reward_row(facts: IterationFacts) -> dict[str, object]:
    """The reward model's figures under short names, with its share's rank correlation."""
    figures = {name.removeprefix("fit_reward/"): value for name, value in facts.reward_figures.items()}
    ranked = {row["method"]: row["spearman"] for row in facts.correlation}
    return {"iteration": facts.iteration, **figures, "spearman": ranked.get("itpo")}


def copy_for_people(context: Context, commit: commits.Commit) -> Path:
    """Pages and metrics under `reports/<experiment>/`; the lake keeps the truth."""
    folder = Path(os.environ.get("ITPO_REPORTS", repository_root() / "reports")) / context.experiment
    folder.mkdir(parents=True, exist_ok=True)
    for name, entry in commit.artifacts.items():
        (folder / name).write_bytes(commits.checked_bytes(context.store, entry))
    rows = [
        row
        for kind in ("policy", "reward")
        if (found := context.find(kind)) is not None
        for row in commits.read_table(context.store, found, table="metrics").to_pylist()
    ]
    name = f"iteration-{context.iteration:04d}"
    metrics.write_jsonl(rows, folder / "metrics" / f"{name}.jsonl")
    metrics.write_events(rows, folder / "tensorboard" / name)
    return folder


def environment() -> jinja2.Environment:
    """Templates with the report's number formats; everything that is not a plot is escaped."""
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {"figure": figure, "percent": percent, "points": points}
    return templates


def figure(value: float) -> str:
    """Whole numbers as they are, others with four significant digits."""
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def percent(value: float) -> str:
    """A fraction in percent."""
    return f"{100 * value:.1f} %"


def points(value: float) -> str:
    """A difference of fractions in percentage points."""
    return f"{100 * value:+.1f}"


def _interval(decision: Row, name: str) -> str | None:
    if name not in decision:
        return None
    mean, lower, upper = (float(str(decision[f"{name}{part}"])) for part in ("", "_lower", "_upper"))
    return f"{points(mean)} [{points(lower)}, {points(upper)}]"


def _credits(turn: Row) -> dict[str, object]:
    return {method: turn[f"advantage_{method}"] for method in METHODS if f"advantage_{method}" in turn}


def _trained(facts: IterationFacts) -> dict[str, object]:
    return {"kl": facts.decision.get("kl"), "entropy": facts.decision.get("entropy")}


def _is_candidate(row: Row, split: str) -> bool:
    return row["arm"] == "candidate" and row["split"] == split
