"""Evaluate: candidate, incumbent, its predecessor and version 0 meet the same users with the same seeds."""

from collections.abc import Mapping, Sequence

from itpo_core.identifiers import derive_seed, stable_id
from itpo_core.rollout import RolloutSpec, run_conversations
from itpo_core.types import Conversation, Scenario, Split
from storage import commits, registry
from storage.errors import MissingPolicy
from storage.registry import PolicyVersion
from storage.rows import Table, concat
from storage.warehouse import run_checks, run_sql
from tasks import build
from tasks.collect import rollout_tables
from tasks.config_engine import engine_inputs
from tasks.context import Context, StageResult, finished


def run(context: Context) -> StageResult:
    """Hold every arm's conversations on this iteration's evaluation scenarios and commit them together."""
    arms = evaluation_arms(context)
    parents = {role: context.read("policy", version.iteration).digest for role, version in arms.items()}
    inputs = {
        **context.config.section("domain", "model", "sampling", "evaluate"),
        **engine_inputs(context.config.engine, context.config.evaluator),
        "seed": str(context.config.seed),
        **{role: version.name for role, version in arms.items()},
    }
    existing = context.find("evaluation")
    if existing is not None:
        commits.check_inputs(existing, parents=parents, inputs=inputs, store=context.store)
        return finished("evaluate", existing, resumed=True)
    commit = commits.commit(
        context.store,
        context.key("evaluation"),
        tables=evaluation_tables(context, arms),
        parents=parents,
        inputs=inputs,
        attempt=context.attempt,
    )
    return finished("evaluate", commit, resumed=False, figures=success_by_role(context, commit, arms=arms))


def evaluation_arms(context: Context) -> dict[str, PolicyVersion]:
    """Who is compared, by role; roles that fall on the same version are kept apart only in name."""
    by_name = {version.name: version for version in registry.versions(context.store, context.experiment)}
    name = registry.version_name(context.experiment, context.iteration)
    if name not in by_name:
        stage = "train-policy" if context.iteration else "warm-start"
        raise MissingPolicy(f"{name} is not registered: run `itpo {stage}`, then evaluate again")
    candidate = by_name[name]
    arms = {"candidate": candidate}
    if candidate.parent is not None:
        incumbent = by_name[candidate.parent]
        arms |= {"incumbent": incumbent, "initial": by_name[registry.version_name(context.experiment, 0)]}
        if incumbent.parent is not None:
            arms["predecessor"] = by_name[incumbent.parent]
    return arms


def evaluation_tables(context: Context, arms: Mapping[str, PolicyVersion]) -> dict[str, Table]:
    """Conversations and turns of every distinct version, in the order of the arms."""
    scenarios = evaluation_scenarios(context)
    versions = list({version.name: version for version in arms.values()}.values())
    spoken = [_arm_tables(context, version, arm, scenarios) for arm, version in enumerate(versions)]
    tables = {name: concat([each[name] for each in spoken]) for name in ("conversations", "turns")}
    run_checks(
        {"evaluation_conversations": tables["conversations"], "evaluation_turns": tables["turns"]},
        settings=context.duck,
    )
    return tables


def evaluation_scenarios(context: Context) -> list[Scenario]:
    """Fresh scenarios of this iteration: unseen ones first, then seen ones."""
    environment, settings = build.domain(context.config).environment, context.config.evaluate
    return [
        scenario
        for split, count in ((Split.UNSEEN, settings.unseen_scenarios), (Split.SEEN, settings.seen_scenarios))
        for scenario in environment.scenarios(
            split,
            count=count,
            seed=derive_seed(context.config.seed, "evaluation", context.iteration, split.value),
        )
    ]


def _arm_tables(
    context: Context, version: PolicyVersion, arm: int, scenarios: Sequence[Scenario]
) -> dict[str, Table]:
    domain = build.domain(context.config)
    speaker = build.speaker(context.config, context.policy_folder(version), trains=False)
    specs = [_spec(context, version, arm, index, scenario) for index, scenario in enumerate(scenarios)]
    size, spoken = context.config.collect.batch, list[Conversation]()
    for start in range(0, len(specs), size):
        spoken += run_conversations(
            speaker.engine,
            domain.environment,
            oracle=domain.oracle,
            businesses=domain.businesses,
            specs=specs[start : start + size],
            sampling=build.sampling(context.config),
        )
    lineage = build.lineage(
        context.config, iteration=context.iteration, shard=arm, policy_version=version.name, speaker=speaker
    )
    return rollout_tables(spoken, lineage)


def _spec(context: Context, version: PolicyVersion, arm: int, index: int, scenario: Scenario) -> RolloutSpec:
    """The pair's seed and group do not depend on the arm, so luck is common to all arms."""
    place = (context.experiment, "evaluation", context.iteration, index)
    return RolloutSpec(
        conversation_id=stable_id(*place, version.name),
        group_id=stable_id(*place),
        sample_index=arm,
        seed=derive_seed(context.config.seed, "evaluation-conversation", context.iteration, index),
        scenario=scenario,
    )


def success_by_role(
    context: Context, commit: commits.Commit, *, arms: Mapping[str, PolicyVersion]
) -> dict[str, float]:
    """Success of every role over unseen scenarios, for the log line."""
    paths = {"conversations": commits.table_paths(context.store, commit, table="conversations")}
    rows = run_sql(
        "success_by_version.sql", relations=paths, parameters={"split": "unseen"}, settings=context.duck
    ).to_pylist()
    success = {row["policy_version"]: row["success"] for row in rows}
    return {role: success[version.name] for role, version in arms.items()}
