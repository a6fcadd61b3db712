"""What the report shows, read from committed tables with the SQL of `sql/report/`. Rows, no arithmetic."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from storage import commits, registry
from storage.commits import Commit
from storage.rows import Table
from storage.warehouse import run_sql
from tasks.context import Context
from tasks.metrics import figures_of

Row = Mapping[str, object]
Rows = Sequence[Row]
VIEWER_CONVERSATIONS = 24


@dataclass(frozen=True, slots=True)
class IterationFacts:
    """One iteration's rows, panel by panel; a panel whose stage did not run is empty."""

    iteration: int
    decision: Row
    success: Rows
    arms: Rows
    drops: Rows
    endings: Rows
    turn_kinds: Rows
    credit: Rows
    correlation: Rows
    reward_figures: Mapping[str, float]
    policy_figures: Mapping[str, float]
    lineage: Rows


def experiment_facts(context: Context) -> list[IterationFacts]:
    """Every iteration up to this one that has been decided, in order."""
    events = {event.event_id: event for event in registry.events(context.store, context.experiment)}
    facts = []
    for iteration in range(context.iteration + 1):
        event = events.get(f"decide/{iteration:04d}")
        if event is not None:
            facts.append(iteration_facts(context, iteration, event))
    return facts


def iteration_facts(context: Context, iteration: int, event: registry.Decision) -> IterationFacts:
    """All panels of one iteration."""
    rollouts, curated = context.read("rollouts", iteration), context.read("curated", iteration)
    credit = context.find("credit", iteration)
    spoken = _paths(context, rollouts, "conversations", "turns")
    decided = _paths(context, curated, "curated")
    credited = _paths(context, credit, "credits") if credit else None
    return IterationFacts(
        iteration=iteration,
        decision={"action": event.action, "version": event.version, "reason": event.reason, **event.evidence},
        success=_rows("success_and_cost", spoken),
        arms=_arms(context, context.read("evaluation", iteration)),
        drops=_rows("drops_by_reason", decided),
        endings=_rows("endings", spoken),
        turn_kinds=_rows("turn_kinds", spoken),
        credit=_rows("credit_by_turn_kind", credited) if credited else [],
        correlation=_rows("rank_correlation", credited) if credited else [],
        reward_figures=_figures(context, "reward", iteration),
        policy_figures=_figures(context, "policy", iteration),
        lineage=lineage(context, iteration),
    )


def lineage(context: Context, iteration: int) -> list[Row]:
    """Every commit of the iteration with its digest and the digests of its parents."""
    kinds = ("rollouts", "curated", "reward", "credit", "policy", "evaluation")
    found = [context.find(kind, iteration) for kind in kinds]
    return [
        {
            "commit": commit.key.text,
            "digest": commit.digest,
            "parents": ", ".join(f"{role} {digest[:12]}" for role, digest in sorted(commit.parents.items())),
        }
        for commit in found
        if commit is not None
    ]


def viewer_rows(context: Context) -> list[Row]:
    """The turns of a few conversations with every credit, for the viewer; logs have no credit yet."""
    rollouts = _paths(context, context.read("rollouts"), "conversations", "turns")
    credit = context.find("credit")
    relations = {**rollouts, "credits": _paths(context, credit, "credits")["credits"]} if credit else rollouts
    name = "viewer_turns" if credit else "viewer_turns_logged"
    return _rows(name, relations, conversations=VIEWER_CONVERSATIONS)


def _arms(context: Context, evaluation: Commit) -> Rows:
    paths = _paths(context, evaluation, "conversations")
    names = {
        "candidate": evaluation.inputs["candidate"],
        "incumbent": evaluation.inputs.get("incumbent", "none"),
    }
    return _rows("evaluation_by_arm", {"evaluation_conversations": paths["conversations"]}, **names)


def _figures(context: Context, kind: str, iteration: int) -> Mapping[str, float]:
    commit = context.find(kind, iteration)
    return figures_of(context.store, commit) if commit else {}


def _paths(context: Context, commit: Commit, *tables: str) -> dict[str, Sequence[object] | Table]:
    return {name: commits.table_paths(context.store, commit, table=name) for name in tables}


def _rows(name: str, relations: Mapping[str, object], **parameters: str | int) -> Rows:
    return run_sql(f"report/{name}.sql", relations=relations, parameters=parameters).to_pylist()
