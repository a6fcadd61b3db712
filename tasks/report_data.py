"""What the report shows: rows of committed tables through the SQL of `sql/`, each with where it came from.

Rows, no arithmetic. A stage that has not run leaves its panels empty: an import alone has a report too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from storage import commits, registry
from storage.commits import Commit
from storage.duck import DuckSettings
from storage.registry import Decision
from storage.rows import Table
from storage.warehouse import run_sql
from tasks.context import Context
from tasks.from_logs import is_bare, is_step
from tasks.metrics import figures_of
from tasks.q_facts import QGate, committed_gate

Row = Mapping[str, object]
Rows = Sequence[Row]
Relations = Mapping[str, Sequence[object] | Table]
KINDS = ("rollouts", "curated", "reward", "q", "credit", "policy", "evaluation")
VIEWER_CONVERSATIONS = 24
NO_VERSION = ""  # no policy is named so: an arm that an evaluation lacks


@dataclass(frozen=True, slots=True)
class Panel:
    """Rows of one SQL file, and which file on which commits, for the line under every figure."""

    rows: Rows = ()
    source: str = ""


EMPTY = Panel()


@dataclass(frozen=True, slots=True)
class Said:
    """What was said in the iteration's rollouts, or in the logs that were imported."""

    conversations: Panel
    endings: Panel
    turn_kinds: Panel
    lengths: Panel
    words: Panel
    tools: Panel
    unscored: Panel
    quarantine: Panel
    propensity: Panel
    personal: Panel = EMPTY  # empty too where nobody looked


@dataclass(frozen=True, slots=True)
class Evaluated:
    """The arms by what they are called, and their paired differences; empty before an evaluation."""

    arms: Panel = EMPTY
    over_incumbent: Panel = EMPTY
    over_initial: Panel = EMPTY
    roles: Mapping[str, str] = field(default_factory=dict)  # candidate, incumbent, … -> version


@dataclass(frozen=True, slots=True)
class Played:
    """Calls of language models, and outcomes that are missing; empty where there are none."""

    calls: Panel = EMPTY
    missing: Panel = EMPTY
    evaluation_calls: Panel = EMPTY
    evaluation_missing: Panel = EMPTY


@dataclass(frozen=True, slots=True)
class Credited:
    """Turn credit beside the truth; empty before the credit stage."""

    rewards: Panel = EMPTY
    advantages: Panel = EMPTY
    ranks: Panel = EMPTY
    agreement: Panel = EMPTY


@dataclass(frozen=True, slots=True)
class IterationFacts:
    """One iteration. `decision` is None before one was taken, `algorithm` before credit was given.

    `q` is empty and `q_gate` None where no Q was fitted.
    """

    experiment: str
    iteration: int
    decision: Decision | None
    algorithm: str | None
    said: Said
    drops: Panel
    evaluated: Evaluated
    credited: Credited
    reward: Mapping[str, float]
    policy: Mapping[str, float]
    steps: Panel
    lineage: Rows
    q: Mapping[str, float] = field(default_factory=dict)
    q_gate: QGate | None = None
    played: Played = field(default_factory=Played)


def experiment_facts(context: Context) -> list[IterationFacts]:
    """Every iteration up to this one that has rollouts, in order; MissingCommit when this one has none.

    A step on logged turns rolls nothing out: its page has a candidate and a decision alone.
    """
    if not is_step(context):
        context.read("rollouts")
    kinds = ("rollouts", "policy") if is_bare(context.config) else ("rollouts",)
    found = range(context.iteration + 1)
    return [
        iteration_facts(context, each) for each in found if any(context.find(kind, each) for kind in kinds)
    ]


def iteration_facts(context: Context, iteration: int) -> IterationFacts:
    """All panels of one iteration."""
    commits_by_kind = {kind: context.find(kind, iteration) for kind in KINDS}
    credit, policy = commits_by_kind["credit"], commits_by_kind["policy"]
    return IterationFacts(
        experiment=context.experiment,
        iteration=iteration,
        decision=find_decision(context, iteration),
        algorithm=_algorithm(context, credit),
        said=_said(context, commits_by_kind["rollouts"]),
        drops=_panel(context, "report/drops_by_reason", commits_by_kind["curated"], ("curated",)),
        evaluated=_evaluated(context, commits_by_kind["evaluation"]),
        credited=_credited(context, credit),
        reward=_figures(context, commits_by_kind["reward"]),
        policy=_figures(context, policy),
        steps=_panel(context, "report/metrics_by_step", policy, ("metrics",)),
        lineage=[lineage_row(commit) for commit in commits_by_kind.values() if commit is not None],
        q=_figures(context, commits_by_kind["q"]),
        q_gate=_gate(context, commits_by_kind["q"]),
        played=_played(context, commits_by_kind["rollouts"], evaluation=commits_by_kind["evaluation"]),
    )


def find_decision(context: Context, iteration: int) -> Decision | None:
    """The iteration's event in the registry, or None before it was decided."""
    wanted = f"decide/{iteration:04d}"
    found = registry.events(context.store, context.experiment)
    return next((event for event in found if event.event_id == wanted), None)


def current_version(context: Context) -> str | None:
    """Who speaks after this iteration's decision; later events do not count, so the page never changes."""
    decision = find_decision(context, context.iteration)
    newest = float("inf") if decision is None else decision.seq
    promoted = [
        event.version
        for event in registry.events(context.store, context.experiment)
        if event.action in ("promote", "rollback") and event.seq <= newest
    ]
    return promoted[-1] if promoted else None


def lineage_row(commit: Commit) -> dict[str, str]:
    """A commit with its digest and those of its parents."""
    return {
        "commit": commit.key.text,
        "digest": commit.digest,
        "parents": ", ".join(f"{role} {digest[:12]}" for role, digest in sorted(commit.parents.items())),
    }


def viewer_panel(context: Context) -> Panel:
    """The turns of a few conversations with every credit; logs have scores at most."""
    rollouts, credit, reward = (context.find(kind) for kind in ("rollouts", "credit", "reward"))
    relations = _paths(context, rollouts, "conversations", "turns")
    if credit is not None:
        name, made_from = "report/viewer_turns", (rollouts, credit)
        relations |= _paths(context, credit, "credits")
    else:
        name, made_from = "report/viewer_turns_logged", (rollouts, reward)
        relations |= _paths(context, reward, "turn_scores")
    rows = _rows(name, relations, context.duck, conversations=VIEWER_CONVERSATIONS)
    return Panel(rows, source_line(name, [commit.key.text for commit in made_from if commit]))


def source_line(name: str, commit_keys: Sequence[str]) -> str:
    """`sql/<name>.sql on sales/rollouts/0001, …`."""
    return f"sql/{name}.sql on {', '.join(commit_keys)}"


def merged(panels: Sequence[Panel]) -> Panel:
    """The same panel of several iterations as one; the source names the first and the last."""
    filled = [panel for panel in panels if panel.source]
    rows = [row for panel in filled for row in panel.rows]
    if len(filled) < 2:
        return Panel(rows, filled[0].source if filled else "")
    return Panel(rows, f"{filled[0].source} to {filled[-1].source.split(' on ')[-1]}")


def _said(context: Context, rollouts: Commit | None) -> Said:
    both = ("conversations", "turns")
    return Said(
        conversations=_panel(context, "report/success_and_cost", rollouts, ("conversations",)),
        endings=_panel(context, "report/endings", rollouts, both),
        turn_kinds=_panel(context, "report/turn_kinds", rollouts, ("turns",)),
        lengths=_panel(context, "report/lengths", rollouts, ("conversations",)),
        words=_panel(context, "questions/tokens_per_turn", rollouts, ("turns",)),
        tools=_panel(context, "questions/outcome_by_tool", rollouts, both),
        unscored=_panel(context, "report/unscored_by_reason", rollouts, ("conversations",)),
        quarantine=_panel(context, "report/quarantine_by_reason", rollouts, ("quarantine",)),
        propensity=_panel(context, "report/propensity", rollouts, ("turns",)),
        personal=_panel(
            context,
            "report/personal_data",
            rollouts if rollouts is not None and "personal_data" in rollouts.inputs else None,
            (*both, "quarantine"),
        ),
    )


def _evaluated(context: Context, evaluation: Commit | None) -> Evaluated:
    if evaluation is None:
        return Evaluated()
    names = ("candidate", "incumbent", "initial", "predecessor")
    roles = {name: evaluation.inputs[name] for name in names if name in evaluation.inputs}
    relations = {
        "evaluation_conversations": _paths(context, evaluation, "conversations")["conversations"],
    }

    def panel(name: str, other: str) -> Panel:
        versions = {"candidate": roles["candidate"], "incumbent": roles.get(other, NO_VERSION)}
        return Panel(
            _rows(name, relations, context.duck, **versions), source_line(name, [evaluation.key.text])
        )

    return Evaluated(
        arms=panel("report/evaluation_by_arm", "incumbent"),
        over_incumbent=panel("report/evaluation_differences", "incumbent"),
        over_initial=panel("report/evaluation_differences", "initial"),
        roles=roles,
    )


def _played(context: Context, rollouts: Commit | None, *, evaluation: Commit | None) -> Played:
    if rollouts is None or rollouts.key.iteration == 0:
        rollouts = None  # logs say of themselves what they lack
    calls, missing, tables = "report/calls_by_who", "report/missing_by_slice", ("conversations",)
    return Played(
        calls=_panel(context, calls, rollouts, ("calls",)),
        missing=_panel(context, missing, rollouts, tables),
        evaluation_calls=_panel(context, calls, evaluation, ("calls",)),
        evaluation_missing=_panel(context, missing, evaluation, tables),
    )


def _credited(context: Context, credit: Commit | None) -> Credited:
    return Credited(
        rewards=_panel(context, "report/credit_by_turn_kind", credit, ("credits",)),
        advantages=_panel(context, "report/advantage_by_turn_kind", credit, ("credits",)),
        ranks=_panel(context, "report/rank_correlation", credit, ("credits",)),
        agreement=_panel(context, "report/kind_agreement", credit, ("credits",)),
    )


def _algorithm(context: Context, credit: Commit | None) -> str | None:
    """The algorithm that really trained, which is not the configured one while the reward gate is closed."""
    if credit is None:
        return None
    names = commits.read_table(context.store, credit, table="credits").column("algorithm")
    return str(names[0].as_py()) if len(names) else None


def _gate(context: Context, q: Commit | None) -> QGate | None:
    return None if q is None else committed_gate(context, q)


def _figures(context: Context, commit: Commit | None) -> Mapping[str, float]:
    return {} if commit is None else figures_of(context.store, commit)


def _panel(context: Context, name: str, commit: Commit | None, tables: Sequence[str]) -> Panel:
    if commit is None:
        return EMPTY
    return Panel(
        _rows(name, _paths(context, commit, *tables), context.duck), source_line(name, [commit.key.text])
    )


def _paths(context: Context, commit: Commit | None, *tables: str) -> dict[str, Sequence[object] | Table]:
    """Files of these tables; none at all for a commit that is not there, which reads as an empty table."""
    if commit is None:
        return {name: [] for name in tables}
    return {name: commits.table_paths(context.store, commit, table=name) for name in tables}


def _rows(name: str, relations: Relations, settings: DuckSettings, **parameters: str | int) -> Rows:
    return run_sql(f"{name}.sql", relations=relations, parameters=parameters, settings=settings).to_pylist()
