"""Collect: the current policy talks to simulated users; one row per conversation and per assistant turn."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from itpo_core.envs.catalogue import Domain
from itpo_core.exploration import Exploration, turn_schedule
from itpo_core.identifiers import derive_seed, stable_id
from itpo_core.rollout import RolloutSpec
from itpo_core.types import Conversation, Scenario, Split
from storage import commits, registry
from storage.commits import Commit
from storage.rows import Table, to_table
from storage.stores import materialise
from storage.warehouse import run_checks
from tasks import build, simulators
from tasks.budgets import call_figures, check_rollouts
from tasks.config_engine import engine_inputs
from tasks.context import Context, Figures, StageResult, finished
from tasks.holding import Part, hold
from tasks.limits import but_for_limits
from tasks.personas import check_known, deal
from tasks.records import Lineage, call_rows, conversation_row, turn_rows
from tasks.scenario_files import file_inputs

SpeakerOf = Callable[[Context, registry.PolicyVersion], build.Speaker]


def fresh_speaker(context: Context, policy: registry.PolicyVersion) -> build.Speaker:
    """The engine with the policy loaded anew."""
    return build.speaker(context.config, context.policy_folder(policy))


def run_shard(
    context: Context,
    shard: int,
    *,
    speaker_of: SpeakerOf = fresh_speaker,
    on_progress: Callable[[int, int], None] | None = None,
) -> StageResult:
    """Roll out one shard and publish it; a shard that is there already is left alone."""
    # Of a sealed iteration those who spoke it: its own candidate may be the current policy by now.
    policy = sealed_policy(context, context.find("rollouts"))
    inputs = _agreed_inputs(context, policy)
    manifest = commits.read_shard(context.store, context.key("rollouts"), shard=shard)
    spent: Mapping[str, int] = {}
    resumed = manifest is not None and manifest.inputs == inputs
    if manifest is None:
        conversations, lineage, spent = roll_out(
            context, policy, shard=shard, speaker_of=speaker_of, on_progress=on_progress
        )
        tables = rollout_tables(conversations, lineage, with_calls=bool(context.config.models))
        check_rollouts(context, tables["conversations"], shard=shard)
        manifest = commits.publish_shard(
            context.store,
            context.key("rollouts"),
            shard=shard,
            tables=tables,
            inputs=inputs,
            attempt=context.attempt,
        )
    commits.check_shard(manifest, inputs=inputs)
    figures = {**row_counts(manifest.files), **spent}
    return StageResult("collect", f"{context.key('rollouts').text}/shard-{shard:03d}", "", resumed, figures)


def seal(context: Context) -> StageResult:
    """Make the iteration's rollouts visible, once every shard is there and few enough conversations broke."""
    existing = context.find("rollouts")
    policy = sealed_policy(context, existing)
    parents = {"policy": context.read("policy", policy.iteration).digest}
    inputs = _agreed_inputs(context, policy)
    if existing is not None:
        commits.check_inputs(existing, parents=parents, inputs=inputs, store=context.store)
        return finished("collect", existing, resumed=True)
    check_shards(context, shards=context.config.collect.shards)
    commit = commits.seal(
        context.store,
        context.key("rollouts"),
        shards=context.config.collect.shards,
        parents=parents,
        inputs=inputs,
    )
    figures = {**row_counts(commit.files), **_spent_on_models(context)}
    return finished("collect", commit, resumed=False, figures=figures)


def _spent_on_models(context: Context) -> Figures:
    """What the language models of all shards came to."""
    if not context.config.models:
        return {}
    return call_figures(context, shard_paths(context, "calls", shards=context.config.collect.shards))


def sealed_policy(context: Context, existing: Commit | None) -> registry.PolicyVersion:
    """Who spoke the rollouts: of a sealed iteration the version it names, otherwise the current one."""
    if existing is None:
        return registry.current(context.store, context.experiment)
    by_name = {version.name: version for version in registry.versions(context.store, context.experiment)}
    return by_name[existing.inputs["policy_version"]]


def _agreed_inputs(context: Context, policy: registry.PolicyVersion) -> dict[str, str]:
    """The inputs of this iteration's shards, under the limits of the first that is there."""
    key, shards = context.key("rollouts"), range(context.config.collect.shards)
    published = (commits.read_shard(context.store, key, shard=shard) for shard in shards)
    there = next((manifest.inputs for manifest in published if manifest is not None), None)
    return but_for_limits(shard_inputs(context, policy), there)


def shard_inputs(context: Context, policy: registry.PolicyVersion) -> dict[str, str]:
    """Everything that decides the rows of a shard."""
    return {
        **context.config.section("domain", "model", "sampling", "collect"),
        **file_inputs(context.config),
        **context.config.simulation,
        **engine_inputs(context.config.engine, context.config.collect.engine),
        "seed": str(context.config.seed),
        "policy_version": policy.name,
        "policy_digest": policy.commit_digest,
    }


def roll_out(
    context: Context,
    policy: registry.PolicyVersion,
    *,
    shard: int,
    speaker_of: SpeakerOf = fresh_speaker,
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[list[Conversation], Lineage, Mapping[str, int]]:
    """Hold the shard's conversations, batch by batch; whose they are, and what they cost."""
    domain = build.domain(context.config)
    speaker = speaker_of(context, policy)
    before = speaker.spent()
    spoken = hold(
        context.config,
        speaker.engine,
        domain=domain,
        specs=shard_specs(context, domain, shard=shard),
        part=Part(context.iteration, f"collect-{shard:03d}"),
        on_progress=on_progress,
    )
    played = simulators.described(domain, context.config)
    lineage = build.lineage(
        context.config,
        iteration=context.iteration,
        shard=shard,
        policy_version=policy.name,
        speaker=speaker,
        simulator_digest=played.digest_with(context.config.collect.personas),
        judge_version=played.judge_version,
    )
    return spoken, lineage, {name: spent - before[name] for name, spent in speaker.spent().items()}


def shard_specs(context: Context, domain: Domain, *, shard: int) -> list[RolloutSpec]:
    """The conversations of one shard: whole groups, dealt in turn, seeded by their place."""
    settings = context.config.collect
    scenarios = shard_scenarios(context, domain)
    return [
        _spec(context, scenarios[group], group=group, sample=sample, turns=domain.environment.max_turns)
        for group in range(shard, len(scenarios), settings.shards)
        for sample in range(settings.group_size)
    ]


def shard_scenarios(context: Context, domain: Domain) -> list[Scenario]:
    """One scenario per group of the iteration, each with one of the configured personas."""
    settings, root = context.config.collect, context.config.seed
    check_known(settings.personas, domain, key="collect.personas")
    scenarios = domain.environment.scenarios(
        Split.SEEN,
        count=settings.conversations // settings.group_size,
        seed=derive_seed(root, "scenarios", context.iteration),
    )
    return deal(scenarios, settings.personas, root=root, place=("persona", context.iteration))


def _spec(context: Context, scenario: Scenario, *, group: int, sample: int, turns: int) -> RolloutSpec:
    settings = context.config.collect
    seed = derive_seed(context.config.seed, "conversation", context.iteration, group, sample)
    exploration = Exploration(settings.explore_share, settings.explore_epsilon, settings.explore_temperature)
    return RolloutSpec(
        conversation_id=stable_id(context.experiment, context.iteration, group, sample),
        group_id=stable_id(context.experiment, context.iteration, group),
        sample_index=sample,
        seed=seed,
        scenario=scenario,
        temperatures=turn_schedule(exploration, context.config.sampling.temperature, turns=turns, seed=seed),
    )


def rollout_tables(
    conversations: Sequence[Conversation], lineage: Lineage, *, with_calls: bool = False
) -> dict[str, Table]:
    """The datasets of a shard: two, and where language models play the accounts of their calls."""
    tables = {
        "conversations": to_table(
            "conversations", [conversation_row(each, lineage) for each in conversations]
        ),
        "turns": to_table("turns", [row for each in conversations for row in turn_rows(each, lineage)]),
    }
    if not with_calls:
        return tables
    rows = [row for each in conversations for row in call_rows(each, lineage)]
    return {**tables, "calls": to_table("calls", rows)}


def check_shards(context: Context, *, shards: int) -> None:
    """Before anything becomes visible: the lake's checks, then the budgets."""
    paths = {name: shard_paths(context, name, shards=shards) for name in ("conversations", "turns")}
    run_checks(paths, settings=context.duck)
    check_rollouts(context, paths["conversations"], shard=None)


def shard_paths(context: Context, table: str, *, shards: int) -> list[Path]:
    """Local paths of one table over all published shards; MissingShard names those that are not there."""
    manifests = commits.all_shards(context.store, context.key("rollouts"), shards=shards)
    keys = [file.key for manifest in manifests for file in manifest.files if file.table == table]
    return materialise(context.store, keys)


def row_counts(files: Sequence[commits.FileEntry]) -> dict[str, int]:
    """Rows by table."""
    counts: dict[str, int] = {}
    for file in files:
        counts[file.table] = counts.get(file.table, 0) + file.rows
    return counts


def _batches(specs: Sequence[RolloutSpec], size: int) -> list[Sequence[RolloutSpec]]:
    return [specs[start : start + size] for start in range(0, len(specs), size)]
