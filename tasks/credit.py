"""Credit: the advantages that will train, and beside them every classic turn reward of the same turns.

What trains comes from `itpo_core.credit`. SQL computes the classic seven a second time; where both compute
the same, a check holds them to each other.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from storage import commits
from storage.commits import Commit
from storage.rows import Table
from storage.warehouse import Relation, run_checks, run_sql, sql_digests
from tasks.config import Algorithm
from tasks.context import Context, StageResult, finished
from tasks.credit_choice import method_of, reward_gate_is_open, sql_computes_the_same, usable_algorithm
from tasks.credit_lab_data import QUERY, lab_batch
from tasks.credit_training import Trained, trained
from tasks.metrics import figures_of, metrics_table
from tasks.turn_inputs import turn_inputs

if TYPE_CHECKING:
    from itpo_core.normalisation import RunningScale

CLASSIC_SQL = {"rloo": "advantages_rloo.sql"}  # beside any other estimator, the classic seven are by grpo


def run(context: Context) -> StageResult:
    """Commit one row per kept turn, with the advantage that trains and every classic one, and the facts."""
    sources = source_commits(context)
    parents = {role: commit.digest for role, commit in sources.items()}
    names = ("turn_credits.sql", classic_sql(context), "credits.sql", QUERY, "trained_credits.sql")
    inputs = {
        **context.config.section("credit"),
        **sql_digests(names),
        "seed": str(context.config.seed),
    }
    existing = context.find("credit")
    if existing is not None:
        commits.check_inputs(existing, parents=parents, inputs=inputs, store=context.store)
        return finished("credit", existing, resumed=True)
    algorithm = usable_algorithm(context, reward=sources["reward"], q=sources.get("q"))
    found, credits = credit_table(context, sources, algorithm=algorithm)
    fell_back = algorithm is not context.config.credit.algorithm
    summary = {**found.figures, "fell_back": float(fell_back)}
    commit = commits.commit(
        context.store,
        context.key("credit"),
        tables={"credits": credits, "metrics": metrics_table("credit", summary=summary)},
        parents=parents,
        inputs=inputs,
        attempt=context.attempt,
    )
    spoken = {"algorithm": algorithm.value, "advantage": context.config.credit.advantage}
    if fell_back:
        spoken["instead_of"] = context.config.credit.algorithm.value
    return finished("credit", commit, resumed=False, figures={**spoken, **summary})


def source_commits(context: Context) -> dict[str, Commit]:
    """What credit reads: conversations, scores, Q where it is needed, and the scale it goes on from."""
    sources = {name: context.read(name) for name in ("rollouts", "curated", "reward")}
    if context.config.credit.needs_q:
        sources["q"] = context.read("q")
    previous = previous_scale(context)
    if previous is not None:
        sources["previous"] = previous
    return sources


def previous_scale(context: Context) -> Commit | None:
    """The credit before this one, where its running scale is gone on from."""
    if context.config.credit.score_scale != "running_std" or context.iteration == 0:
        return None
    return context.find("credit", context.iteration - 1)


def running_scale(context: Context, previous: Commit | None) -> "RunningScale | None":
    """The state that a credit recorded; None at the first, or where it recorded none."""
    from itpo_core.normalisation import RunningScale

    known = {} if previous is None else figures_of(context.store, previous)
    if "credit/running_batches" not in known:
        return None
    return RunningScale(known["credit/running_mean_square"], int(known["credit/running_batches"]))


def credit_table(
    context: Context, sources: Mapping[str, Commit], *, algorithm: Algorithm
) -> tuple[Trained, Table]:
    """Torch over the committed rows, the classic SQL over the same, then the checks over both."""
    relations = batch_relations(context, sources)
    running = running_scale(context, sources.get("previous"))
    found = trained(
        lab_batch(relations, settings=context.duck),
        method_of(context.config.credit, algorithm=algorithm, running=running),
    )
    classic = classic_credits(context, sources, relations=relations, algorithm=algorithm)
    credits = run_sql(
        "trained_credits.sql",
        relations={"classic": classic, "trained": found.table},
        parameters={"algorithm": algorithm.value},
        settings=context.duck,
    )
    # A conversation that was left out votes in SQL and not in torch: then the numbers differ, and should.
    comparable = sql_computes_the_same(context.config.credit, algorithm) and not found.left_out
    run_checks(
        {**relations, "credits": credits, **({"classic": classic} if comparable else {})},
        settings=context.duck,
    )
    return found, credits


def batch_relations(context: Context, sources: Mapping[str, Commit]) -> dict[str, Relation]:
    """What credit is computed from: committed files, and what SQL cannot compute about a turn."""
    return {
        "turns": commits.table_paths(context.store, sources["rollouts"], table="turns"),
        "curated": commits.table_paths(context.store, sources["curated"], table="curated"),
        "turn_scores": commits.table_paths(context.store, sources["reward"], table="turn_scores"),
        "turn_inputs": turn_inputs(context, sources["rollouts"]),
        "turn_values": commits.table_paths(context.store, sources["q"], table="turn_values")
        if "q" in sources
        else [],
    }


def classic_credits(
    context: Context,
    sources: Mapping[str, Commit],
    *,
    relations: Mapping[str, Relation],
    algorithm: Algorithm,
) -> Table:
    """The classic seven by SQL; its `advantage` is that of the algorithm, null for one that SQL lacks."""
    settings = context.config.credit
    turn_credits = run_sql(
        "turn_credits.sql",
        relations={name: relations[name] for name in ("turns", "curated", "turn_scores", "turn_inputs")},
        parameters={
            "use_scores": reward_gate_is_open(context, sources["reward"]),
            "temperature": settings.temperature,
            "share": settings.share,
        },
        settings=context.duck,
    )
    siblings = {"curated": relations["curated"], "turn_credits": turn_credits}
    floor = {} if settings.advantage == "rloo" else {"std_floor": std_floor(context)}
    advantages = run_sql(classic_sql(context), relations=siblings, parameters=floor, settings=context.duck)
    return run_sql(
        "credits.sql",
        relations={"turn_credits": turn_credits, "advantages": advantages},
        parameters={"algorithm": algorithm.value},
        settings=context.duck,
    )


def classic_sql(context: Context) -> str:
    """The file with the estimator of the classic seven."""
    return CLASSIC_SQL.get(context.config.credit.advantage, "advantages_grpo.sql")


def std_floor(context: Context) -> float:
    """What is added to a group's deviation: the configured number, else the profile's."""
    from itpo_core.credit import conventions_of

    return conventions_of(method_of(context.config.credit)).std_floor
