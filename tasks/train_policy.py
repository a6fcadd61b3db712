"""Train: credited turns and the parent's weights become a registered candidate. Blind to the algorithm."""

import shutil
from collections.abc import Callable, Mapping
from itertools import groupby
from typing import Any

from itpo_core.exploration import first_on_policy, from_turn
from itpo_core.identifiers import derive_seed
from itpo_core.policy_losses import decayed
from itpo_core.streams import TurnTokens, spread_over_tokens, streams
from itpo_core.trainers.base import PolicySettings, Trainer, TrainingBatch, TrainingResult
from storage import commits, registry, weights
from storage.commits import Commit
from storage.registry import PolicyVersion
from storage.warehouse import run_sql
from tasks.config import Train
from tasks.context import Context, StageResult, finished
from tasks.metrics import metrics_table

Progress = Callable[[int, int], None]


def run(context: Context, *, on_progress: Progress | None = None) -> StageResult:
    """Commit the candidate's weights with its metrics, and register it."""
    parent = parent_version(context)
    credit = context.read("credit")
    parents = {"credit": credit.digest, "policy": context.read("policy", parent.iteration).digest}
    inputs = {**context.config.section("train"), "seed": str(context.config.seed), "parent": parent.name}
    existing = context.find("policy")
    if existing is not None:
        commits.check_inputs(existing, parents=parents, inputs=inputs)
        register(context, existing, parent=parent.name)
        return finished("train_policy", existing, resumed=True)
    commit, result = train(
        context, credit, parent=parent, parents=parents, inputs=inputs, on_progress=on_progress
    )
    register(context, commit, parent=parent.name)
    return finished("train_policy", commit, resumed=False, figures=dict(result.summary))


def parent_version(context: Context) -> PolicyVersion:
    """The version that spoke this iteration's rollouts."""
    name = context.read("rollouts").inputs["policy_version"]
    return {version.name: version for version in registry.versions(context.store, context.experiment)}[name]


def train(
    context: Context,
    credit: Commit,
    *,
    parent: PolicyVersion,
    parents: dict[str, str],
    inputs: dict[str, str],
    on_progress: Progress | None,
) -> tuple[Commit, TrainingResult]:
    """Run the trainer in a scratch folder and commit what it wrote."""
    out_folder = context.work_folder("train", "policy")
    result = trainer(context.config.train).train(
        training_batch(context, credit),
        parent_version=parent.name,
        start_folder=context.policy_folder(parent),
        out_folder=out_folder,
        settings=policy_settings(context),
        on_step=on_progress or (lambda done, total: None),
    )
    commit = commits.commit(
        context.store,
        context.key("policy"),
        tables={"metrics": metrics_table("train_policy", summary=result.summary, steps=result.steps)},
        parents=parents,
        inputs=inputs,
        artifacts=weights.put_folder(context.store, context.key("policy"), folder=out_folder),
        attempt=context.attempt,
    )
    shutil.rmtree(context.work_folder("train"))
    return commit, result


def training_batch(context: Context, credit: Commit) -> TrainingBatch:
    """Every credited conversation as one stream of tokens with its turn advantages spread over its tokens."""
    rows = run_sql(
        "training_turns.sql",
        relations={
            "turns": commits.table_paths(context.store, context.read("rollouts"), table="turns"),
            "credits": commits.table_paths(context.store, credit, table="credits"),
        },
        parameters={},
    ).to_pylist()
    common = context.config.sampling.temperature
    by_conversation = {
        conversation: list(turns)
        for conversation, turns in groupby(rows, key=lambda row: row["conversation_id"])
    }
    # Turns up to the last explored one are heard, not trained on: see docs/decisions/0007.
    firsts = {
        name: first_on_policy([row["temperature"] for row in turns], common)
        for name, turns in by_conversation.items()
    }
    trained = {name: turns for name, turns in by_conversation.items() if firsts[name] < len(turns)}
    batch = streams(
        {name: from_turn([_tokens(row) for row in turns], firsts[name]) for name, turns in trained.items()}
    )
    advantages = [
        [float(row["advantage"]) for row in turns[firsts[name] :]] for name, turns in trained.items()
    ]
    return TrainingBatch(
        tokens_BT=batch.tokens_BT,
        is_policy_BT=batch.is_policy_BT,
        behaviour_logprobs_BT=batch.behaviour_logprobs_BT,
        advantages_BT=spread_over_tokens(advantages, batch),
        lengths_B=batch.lengths_B,
        policy_versions=frozenset(row["policy_version"] for row in rows),
        temperature=context.config.sampling.temperature or 1.0,
    )


def _tokens(row: Mapping[str, Any]) -> TurnTokens:  # Any: column values
    return TurnTokens(row["prompt_ids"], row["response_ids"], row["logprobs"])


def policy_settings(context: Context) -> PolicySettings:
    """The policy step of this iteration: learning rate and the clip's excess decay from iteration 1 on."""
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
    )


def trainer(settings: Train) -> Trainer:
    """The configured trainer."""
    return TRAINERS[settings.trainer]()


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


def _torch_local() -> Trainer:
    from itpo_core.trainers.torch_local import TorchLocalTrainer

    return TorchLocalTrainer()


TRAINERS: dict[str, Callable[[], Trainer]] = {"torch_local": _torch_local}
