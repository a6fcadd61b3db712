"""Curate: DuckDB decides which conversations may train; the others are counted, each under one reason."""

from collections import Counter

from storage import commits, revisions
from storage.commits import Commit
from storage.rows import Table
from storage.warehouse import run_checks, run_sql, sql_digests
from tasks.config import Config
from tasks.context import Context, StageResult, finished

CURATED, OVERLONG = "curated.sql", "overlong.sql"


def run(context: Context) -> StageResult:
    """Curate the iteration's rollouts and commit one row per conversation."""
    rollouts = context.read("rollouts")
    parents = {"rollouts": rollouts.digest}
    inputs = {
        **context.config.section("curate"),
        **sql_digests(files(context.config)),
        "seed": str(context.config.seed),
    }
    # Outcomes may be joined while this works: what is read says under which revision it is written.
    key = revisions.sibling(rollouts.key, "curated")
    existing = commits.find(context.store, key)
    if existing is not None:
        commits.check_inputs(existing, parents=parents, inputs=inputs, store=context.store)
        return finished("curate", existing, resumed=True)
    curated = curated_table(context, rollouts)
    commit = commits.commit(
        context.store,
        key,
        tables={"curated": curated},
        parents=parents,
        inputs=inputs,
        attempt=context.attempt,
    )
    return finished("curate", commit, resumed=False, figures=drop_counts(curated))


def curated_table(context: Context, rollouts: Commit) -> Table:
    """Run the curation SQL over the committed files, then its checks."""
    paths = {
        name: commits.table_paths(context.store, rollouts, table=name) for name in ("conversations", "turns")
    }
    curated = run_sql(
        CURATED,
        relations=paths,
        parameters=parameters(context.config, rollouts, logged=context.iteration == 0),
        settings=context.duck,
    )
    if OVERLONG in files(context.config):
        curated = run_sql(
            OVERLONG,
            relations={"curated": curated},
            parameters=length_limits(context.config),
            settings=context.duck,
        )
    run_checks({**paths, "curated": curated}, settings=context.duck)
    return curated


def files(config: Config) -> tuple[str, ...]:
    """The SQL that is run; without a limit of length nothing is charged for it."""
    return (CURATED,) if config.curate.overlong_limit is None else (CURATED, OVERLONG)


def length_limits(config: Config) -> dict[str, int]:
    """The named parameters of the charge. Raises ValueError where no limit is set."""
    limit, buffer = config.curate.overlong_limit, config.curate.overlong_buffer
    if limit is None or buffer is None:
        raise ValueError("curate.overlong_limit is not set: nothing is charged for length")
    return {"overlong_limit": limit, "overlong_buffer": buffer}


def parameters(config: Config, rollouts: Commit, *, logged: bool) -> dict[str, str | int | float | bool]:
    """The named parameters of the SQL. Logs may have several speakers and no groups."""
    return {
        "policy_version": rollouts.inputs.get("policy_version", ""),
        "token_cost": config.curate.token_cost,
        "heldout_permille": config.curate.heldout_permille,
        "split_salt": f"{config.experiment}:{config.seed}",
        "min_group": config.curate.min_group,
        "require_groups": not logged,
        "drop_duplicates": config.curate.drop_duplicates,
        # What a policy step is made of has to be weighed; logs are imitated and valued.
        "require_propensity": not logged,
    }


def drop_counts(curated: Table) -> dict[str, int]:
    """How many were kept, and how many dropped under each reason."""
    reasons = Counter(reason or "kept" for reason in curated.column("drop_reason").to_pylist())
    return dict(sorted(reasons.items()))
