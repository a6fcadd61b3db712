"""Evaluate: candidate, incumbent, its predecessor and version 0 meet the same users with the same seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from itpo_core.envs.catalogue import Domain
from itpo_core.identifiers import derive_seed, stable_id
from itpo_core.rollout import RolloutSpec
from itpo_core.types import Scenario, Split
from storage import commits, registry
from storage.errors import MissingPolicy
from storage.registry import PolicyVersion
from storage.rows import Table, concat, to_table
from storage.warehouse import run_checks, run_sql
from tasks import build, contamination, simulators
from tasks.budgets import call_figures, check_evaluation
from tasks.collect import rollout_tables
from tasks.config_engine import engine_inputs
from tasks.context import Context, StageResult, finished
from tasks.holding import Part, hold
from tasks.limits import but_for_limits
from tasks.metrics import metrics_table
from tasks.personas import check_known, deal
from tasks.scenario_files import file_inputs
from tasks.second_family import SECOND, family, family_scenarios


def run(context: Context) -> StageResult:
    """Hold every arm's conversations on this iteration's evaluation scenarios and commit them together."""
    existing, arms = context.find("evaluation"), evaluation_arms(context)
    parents = {role: context.read("policy", version.iteration).digest for role, version in arms.items()}
    inputs = {
        **context.config.section("domain", "model", "sampling", "evaluate"),
        **file_inputs(context.config),
        **context.config.simulation,
        **engine_inputs(context.config.engine, context.config.evaluator),
        "seed": str(context.config.seed),
        **{role: version.name for role, version in arms.items()},
    }
    if existing is not None:
        inputs = but_for_limits(inputs, existing.inputs)
        commits.check_inputs(existing, parents=parents, inputs=inputs, store=context.store)
        return finished("evaluate", existing, resumed=True)
    tables = evaluation_tables(context, arms)
    commit = commits.commit(
        context.store,
        context.key("evaluation"),
        tables=tables,
        parents=parents,
        inputs=inputs,
        attempt=context.attempt,
    )
    spent = call_figures(context, tables.get("calls"))
    figures = {**success_by_role(context, commit, arms=arms), **spent}
    return finished("evaluate", commit, resumed=False, figures=figures)


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
    """Conversations and turns of every distinct version, in the order of the arms; calls where models play.

    Raises ContaminatedEvaluation before anybody speaks, and FailureBudgetError before anything is committed
    where an arm broke too often.
    """
    met = meetings(context)
    compared = contamination.check(context, [scenario for each in met for scenario in each.scenarios])
    versions = list({version.name: version for version in arms.values()}.values())
    spoken = [_arm_tables(context, version, arm, met) for arm, version in enumerate(versions)]
    tables = {name: concat([each[name] for each in spoken]) for name in spoken[0]}
    check_evaluation(context, tables["conversations"])
    run_checks(
        {"evaluation_conversations": tables["conversations"], "evaluation_turns": tables["turns"]},
        settings=context.duck,
    )
    return {**tables, "metrics": metrics_table("evaluate", summary=compared)}


@dataclass(frozen=True, slots=True)
class Meeting:
    """Users whom every arm meets: on which scenarios, of which personas, under which name in ids and seeds.

    `split` is what their rows say where that is not the scenario's own. A second family goes by rules, also
    where the first is played by models.
    """

    users: Domain
    scenarios: Sequence[Scenario]
    personas: Sequence[str]
    place: str = "evaluation"
    split: str | None = None


def meetings(context: Context) -> list[Meeting]:
    """The experiment's own users, and those of a second family where one is configured."""
    users, settings = build.domain(context.config), context.config.evaluate
    own = Meeting(users, evaluation_scenarios(context, users), settings.personas)
    if settings.second_family is None:
        return [own]
    others = family(context)
    place = f"evaluation/{SECOND}"
    met = family_scenarios(context, others)
    return [own, Meeting(others, met, settings.second_personas, place=place, split=SECOND)]


def evaluation_scenarios(context: Context, users: Domain) -> list[Scenario]:
    """Fresh scenarios of this iteration, dealt among the personas: unseen ones first, then seen ones."""
    settings, root = context.config.evaluate, context.config.seed
    check_known(settings.personas, users, key="evaluate.personas")
    fresh = [
        scenario
        for split, count in ((Split.UNSEEN, settings.unseen_scenarios), (Split.SEEN, settings.seen_scenarios))
        for scenario in users.environment.scenarios(
            split, count=count, seed=derive_seed(root, "evaluation", context.iteration, split.value)
        )
    ]
    return deal(fresh, settings.personas, root=root, place=("evaluation-persona", context.iteration))


def _arm_tables(
    context: Context, version: PolicyVersion, arm: int, met: Sequence[Meeting]
) -> dict[str, Table]:
    speaker = build.speaker(context.config, context.policy_folder(version), trains=False)
    tables = [_met_tables(context, speaker, version=version, arm=arm, meeting=each) for each in met]
    return {name: concat([each[name] for each in tables]) for name in tables[0]}


def _met_tables(
    context: Context, speaker: build.Speaker, *, version: PolicyVersion, arm: int, meeting: Meeting
) -> dict[str, Table]:
    config, is_own = context.config, meeting.split is None
    spoken = hold(
        config,
        speaker.engine,
        domain=meeting.users,
        specs=_specs(context, version, arm, meeting),
        part=Part(context.iteration, f"evaluation-{arm:03d}", with_models=is_own),
    )
    played = simulators.described(meeting.users, config) if is_own else meeting.users
    lineage = build.lineage(
        context.config,
        iteration=context.iteration,
        shard=arm,
        policy_version=version.name,
        speaker=speaker,
        simulator_digest=played.digest_with(meeting.personas),
        judge_version=played.judge_version,
    )
    tables = rollout_tables(spoken, lineage, with_calls=bool(config.models))
    if is_own:
        return tables
    rows = [{**row, "split": meeting.split} for row in tables["conversations"].to_pylist()]
    return {**tables, "conversations": to_table("conversations", rows)}


def _specs(context: Context, version: PolicyVersion, arm: int, meeting: Meeting) -> list[RolloutSpec]:
    """Neither the seed nor the group of a pair depends on the arm, so luck is common to all arms."""
    root, iteration = context.config.seed, context.iteration
    places = [
        (context.experiment, meeting.place, iteration, index) for index in range(len(meeting.scenarios))
    ]
    return [
        RolloutSpec(
            conversation_id=stable_id(*place, version.name),
            group_id=stable_id(*place),
            sample_index=arm,
            seed=derive_seed(root, f"{meeting.place}-conversation", iteration, index),
            scenario=scenario,
        )
        for index, (place, scenario) in enumerate(zip(places, meeting.scenarios, strict=True))
    ]


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
