"""Train: credited turns (or Q) and the parent's weights become a registered candidate."""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from itpo_core.identifiers import derive_seed
from itpo_core.kl import AdaptiveKl
from itpo_core.loss_settings import documented_numbers, loss_settings
from itpo_core.policy_losses import decayed
from itpo_core.profiles import PROFILES
from itpo_core.rollout_gap import GapCorrection
from itpo_core.streams import laid_on_tokens
from itpo_core.trainers.base import PolicySettings, Trainer, TrainingBatch, TrainingResult
from storage import commits, registry, weights
from storage.commits import Commit
from storage.registry import PolicyVersion
from tasks import improve, openrlhf_histories, openrlhf_online, openrlhf_training
from tasks.config import Config, Train
from tasks.config_engine import gap_inputs
from tasks.config_openrlhf import Way, way_in
from tasks.context import BASE_VERSION, Context, StageResult, finished
from tasks.metrics import figures_of, metrics_table
from tasks.openrlhf import cluster_of
from tasks.training import Job, Progress, Row, SpokenTurns, spoken_turns

# "token_mean" stands for the profile's own, which `loss_settings` puts in its place.
AGGREGATIONS = {"profile": "token_mean", "dr_grpo": "token_sum_norm"}


@dataclass(frozen=True, slots=True)
class PolicyStep:
    """One way to make a candidate: commits it reads besides credit and parent, its settings, the work.

    `tidy` is called once the candidate is committed.
    """

    sources: Callable[[Context], Mapping[str, Commit]]
    sections: Sequence[str]
    train: Callable[[Context, Job], TrainingResult]
    tidy: Callable[[Context, Job], None] = lambda context, job: None


def run(context: Context, *, on_progress: Progress | None = None) -> StageResult:
    """Commit the candidate's weights with its metrics, and register it."""
    parent = parent_version(context)
    inputs = {
        **gap_inputs(context.config.engine, context.config.collect.engine),
        **base_input(context, context.read("policy", parent.iteration), parent_name=parent.name),
    }
    return make(context, step_of(context.config), parent=parent, inputs=inputs, on_progress=on_progress)


def make(
    context: Context,
    step: PolicyStep,
    *,
    parent: PolicyVersion,
    inputs: Mapping[str, str],
    on_progress: Progress | None = None,
) -> StageResult:
    """What the step makes of the parent and this iteration's credit, committed once and registered.

    `inputs` are those besides the step's settings, the seed and the parent.
    """
    sources = {
        "credit": context.read("credit"),
        "policy": context.read("policy", parent.iteration),
        **step.sources(context),
    }
    parents = {role: commit.digest for role, commit in sources.items()}
    inputs = {
        **context.config.section(*step.sections),
        "seed": str(context.config.seed),
        "parent": parent.name,
        **inputs,
    }
    existing = context.find("policy")
    if existing is not None:
        commits.check_inputs(existing, parents=parents, inputs=inputs, store=context.store)
        register(context, existing, parent=parent.name)
        return finished("train_policy", existing, resumed=True)
    out_folder = context.work_folder("train", "policy")
    job = Job(sources, parent, out_folder, on_progress or (lambda done, total: None))
    result = step.train(context, job)
    commit = commit_candidate(context, result, job=job, inputs=inputs)
    register(context, commit, parent=parent.name)
    step.tidy(context, job)
    return finished("train_policy", commit, resumed=False, figures=dict(result.summary))


def parent_version(context: Context) -> PolicyVersion:
    """The version that spoke this iteration's rollouts."""
    name = context.read("rollouts").inputs["policy_version"]
    return {version.name: version for version in registry.versions(context.store, context.experiment)}[name]


def base_input(context: Context, parent: Commit, *, parent_name: str) -> dict[str, str]:
    """Which version's whole weights the adapter is added to: that of the parent's adapter, or the parent."""
    if context.config.train.lora is None:
        return {}
    return {BASE_VERSION: parent.inputs.get(BASE_VERSION, parent_name)}


def commit_candidate(
    context: Context, result: TrainingResult, *, job: Job, inputs: Mapping[str, str]
) -> Commit:
    """Commit what the step left in its folder, and forget the scratch copy."""
    commit = commits.commit(
        context.store,
        context.key("policy"),
        tables={"metrics": metrics_table("train_policy", summary=result.summary, steps=result.steps)},
        parents={role: commit.digest for role, commit in job.sources.items()},
        inputs=inputs,
        artifacts=weights.put_folder(context.store, context.key("policy"), folder=job.out_folder),
        attempt=context.attempt,
    )
    shutil.rmtree(context.work_folder("train"))
    return commit


def credited_sources(context: Context) -> dict[str, Commit]:
    """The initial policy where the profile's KL is to a policy that stays; else nothing more."""
    return {"reference": context.read("policy", 0)} if needs_reference(policy_settings(context)) else {}


def no_sources(context: Context) -> dict[str, Commit]:
    """Nothing more: the divergence, where the step has one, is from the parent."""
    return {}


def train_on_credit(context: Context, job: Job) -> TrainingResult:
    """Run the local trainer, which is blind to the algorithm, on credited turns."""
    settings = carried_on(context, policy_settings(context), parent=job.sources["policy"])
    return _train_on_credit(context, job, trainer=local_trainer(context.config.train), settings=settings)


def train_on_credit_by_openrlhf(context: Context, job: Job) -> TrainingResult:
    """Run OpenRLHF on credited turns; a profile says how they were credited, the step is OpenRLHF's."""
    trainer = openrlhf_training.committed_trainer(context, job)
    settings = openrlhf_training.committed_step(context, configured_step(context))
    return _train_on_credit(context, job, trainer=trainer, settings=settings)


def _train_on_credit(
    context: Context, job: Job, *, trainer: Trainer, settings: PolicySettings
) -> TrainingResult:
    batch = training_batch(context, spoken_turns(context, job.sources["credit"]))
    if needs_reference(settings):
        batch = with_reference(context, batch, reference=job.sources["reference"])
    return trainer.train(
        batch,
        parent_version=job.parent.name,
        start_folder=context.policy_folder(job.parent),
        out_folder=job.out_folder,
        settings=settings,
        on_step=job.on_progress,
    )


def training_batch(context: Context, spoken: SpokenTurns) -> TrainingBatch:
    """Streams with the credit of their turns, or of their tokens where credit was given token by token."""
    of = spoken.streams
    groups = {row["group_id"]: None for row in spoken.firsts}
    numbers = {group: number for number, group in enumerate(groups)}
    advantages = [[value for row in turns for value in token_advantages(row)] for turns in spoken.turns]
    return TrainingBatch(
        tokens_BT=of.tokens_BT,
        is_policy_BT=of.is_policy_BT,
        behaviour_logprobs_BT=of.behaviour_logprobs_BT,
        advantages_BT=laid_on_tokens(advantages, of),
        lengths_B=of.lengths_B,
        policy_versions=spoken.policy_versions,
        temperature=context.config.sampling.temperature or 1.0,
        turn_BT=of.turn_BT,
        group_B=of.lengths_B.new_tensor([numbers[row["group_id"]] for row in spoken.firsts]),
        # The outcome alone: a token cost would let every group of winners look varied.
        reward_B=of.behaviour_logprobs_BT.new_tensor([row["outcome"] for row in spoken.firsts]),
    )


def token_advantages(row: Row) -> list[float]:
    """A turn's advantage token by token; the same on all its tokens where credit stops at turns."""
    given = row["token_advantages"]
    return [float(row["advantage"])] * len(row["response_ids"]) if given is None else list(given)


def with_reference(context: Context, batch: TrainingBatch, *, reference: Commit) -> TrainingBatch:
    """The batch with the log-probabilities of its tokens under the policy that stays."""
    from itpo_core.policy_step import start_logprobs
    from itpo_core.tiny_policy import load_policy

    model, _ = load_policy(context.artifact_folder(reference))
    return replace(batch, reference_logprobs_BT=start_logprobs(model, batch))


def needs_reference(settings: PolicySettings) -> bool:
    """Whether the step reads log-probabilities of a policy other than the parent."""
    return settings.kl_reference == "reference" and settings.kl_weight > 0


def policy_settings(context: Context) -> PolicySettings:
    """The policy step of this iteration in the forms of the profile.

    Learning rate and the clip's excess decay from iteration 1 on. Numbers are the configuration's, where a
    profile says whether there is a dual clip and not how wide it is, or those that the framework documents.
    """
    settings, conventions = context.config.train, PROFILES[context.config.credit.profile]
    base = configured_step(context)
    if settings.numbers == "documented":
        return gap_corrected(context, loss_settings(conventions, documented_numbers(conventions, base)))
    shaped = loss_settings(conventions, base)
    dual_clip = None if shaped.dual_clip is None else settings.dual_clip
    return gap_corrected(context, replace(shaped, dual_clip=dual_clip))


def gap_corrected(context: Context, settings: PolicySettings) -> PolicySettings:
    """Truncated importance sampling by token, where another engine spoke and the profile corrects nothing."""
    engine = context.config.engine
    if context.config.collect.engine == "transformers" or engine.gap == "none" or not settings.gap.is_off:
        return settings
    return replace(settings, gap=GapCorrection(weight="token", weight_high=engine.gap_limit))


def configured_step(context: Context) -> PolicySettings:
    """The section's choices and its numbers at this iteration, before a profile has its say."""
    settings, age = context.config.train, context.iteration - 1
    return PolicySettings(
        epochs=settings.epochs,
        minibatch_conversations=settings.minibatch,
        learning_rate=settings.learning_rate * settings.decay**age,
        clip_low=decayed(settings.clip_low, settings.clip_floor, decay=settings.decay, iteration=age),
        clip_high=decayed(settings.clip_high, settings.clip_floor, decay=settings.decay, iteration=age),
        dual_clip=settings.dual_clip,
        kl_weight=settings.kl_weight,
        entropy_weight=settings.entropy_weight,
        max_gradient_norm=settings.max_gradient_norm,
        seed=derive_seed(context.config.seed, "train", context.iteration),
        policy_loss=settings.policy_loss,
        aggregation=AGGREGATIONS[settings.aggregation],
        sequence=settings.sequence,
        norm_tokens=settings.norm_tokens,
        micro_batch=settings.micro_batch,
        dynamic_filter=settings.dynamic_filter,
        adaptive_kl=None
        if settings.target_kl is None
        else AdaptiveKl(target=settings.target_kl, horizon=settings.kl_horizon),
    )


def carried_on(context: Context, settings: PolicySettings, *, parent: Commit) -> PolicySettings:
    """An adaptive KL weight goes on where the parent's training left it, if that one was adaptive too."""
    before = json.loads(parent.inputs.get("train", "{}"))
    if settings.adaptive_kl is None or before.get("target_kl") is None:
        return settings
    return replace(settings, kl_weight=figures_of(context.store, parent)["train_policy/kl_weight_last"])


def register(context: Context, commit: Commit, *, parent: str | None) -> None:
    """Put the candidate into the registry; a version that is there already stays as it is."""
    registry.register_candidate(
        context.store,
        PolicyVersion(
            name=registry.version_name(context.experiment, context.iteration),
            experiment=context.experiment,
            iteration=context.iteration,
            parent=parent,
            commit_digest=commit.digest,
            commit_key=commit.key.text,
        ),
    )


def local_trainer(settings: Train) -> Trainer:
    """The trainer in this process, of whole weights or of an adapter."""
    from itpo_core.lora import LoraSettings
    from itpo_core.trainers.torch_local import TorchLocalTrainer

    lora = settings.lora
    return TorchLocalTrainer(None if lora is None else LoraSettings(lora.rank, lora.alpha, lora.targets))


def step_of(config: Config) -> PolicyStep:
    """The way to make a candidate that the configuration means."""
    return STEPS[config.train.trainer](config)


def _local_step(config: Config) -> PolicyStep:
    return LOCAL_STEPS.get(config.credit.algorithm.value, CREDITED)


def _openrlhf_step(config: Config) -> PolicyStep:
    return OPENRLHF_STEPS[way_in(cluster_of(config), config.credit)]


CREDITED = PolicyStep(credited_sources, ("train",), train_on_credit)
LOCAL_STEPS: dict[str, PolicyStep] = {
    "iterative_ppo": PolicyStep(improve.sources, ("improve", "sampling"), improve.train)
}
OPENRLHF_STEPS: dict[Way, PolicyStep] = {
    "committed": PolicyStep(
        no_sources, ("train", "openrlhf"), train_on_credit_by_openrlhf, openrlhf_training.tidy
    ),
    "iterative_ppo": PolicyStep(
        improve.sources, ("improve", "sampling", "openrlhf"), openrlhf_histories.train, openrlhf_training.tidy
    ),
    "online": PolicyStep(
        openrlhf_online.sources,
        ("train", "sampling", "openrlhf", "domain"),
        openrlhf_online.train,
        openrlhf_training.tidy,
    ),
}
STEPS: dict[str, Callable[[Config], PolicyStep]] = {
    "torch_local": _local_step,
    "openrlhf_ray": _openrlhf_step,
}
