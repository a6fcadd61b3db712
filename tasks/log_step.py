"""The first policy step on a log file: version 0 goes on imitating, each turn by what it was worth."""

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from itpo_core.identifiers import derive_seed
from itpo_core.log_policy import moved
from itpo_core.tiny_policy import load_policy, save_policy, suppressed_ids
from itpo_core.tokens import ChatFormat
from itpo_core.trainers.base import TrainingResult
from itpo_core.trainers.weighted_tuning import TuningSettings, tune_on_turns
from storage import commits, registry
from storage.commits import Commit
from storage.errors import MissingPolicy
from storage.registry import PolicyVersion
from tasks.config import Config
from tasks.context import Context, StageResult
from tasks.kept import kept_conversations, labelled
from tasks.metrics import figures_of
from tasks.train_policy import PolicyStep, make, no_sources
from tasks.training import Job, Progress

if TYPE_CHECKING:
    from torch import Tensor

    from itpo_core.streams import Streams

Weights = Mapping[tuple[str, int], float]


def run(context: Context, *, on_progress: Progress | None = None) -> StageResult:
    """Commit the candidate's weights with its metrics, and register it as a child of version 0."""
    step = PolicyStep(no_sources, ("offline",), train)
    return make(context, step, parent=version_zero(context), inputs={}, on_progress=on_progress)


def version_zero(context: Context) -> PolicyVersion:
    """The version that imitates the logs."""
    name = registry.version_name(context.experiment, 0)
    for version in registry.versions(context.store, context.experiment):
        if version.name == name:
            return version
    raise MissingPolicy(f"{name} is not registered: run `itpo warm-start`, then train again")


def train(context: Context, job: Job) -> TrainingResult:
    """Weighted likelihood of the credited turns; written into the job's folder, with how far it moved."""
    before, tokenizer = load_policy(context.policy_folder(job.parent))
    chat = ChatFormat.from_tokenizer(tokenizer, suppressed_ids(before))
    weights = turn_weights_of(context, job.sources["credit"])
    taught = {conversation for conversation, _ in weights}
    kept = kept_conversations(context, 0, chat=chat)
    logs = labelled([each for each in kept if each.conversation_id in taught])
    after = copy.deepcopy(before)
    losses = tune_on_turns(
        after,
        logs.tokens,
        weights_BK=laid_out(weights, logs.streams),
        settings=settings(context.config),
        on_step=job.on_progress,
    )
    after.eval()
    save_policy(after, tokenizer, folder=job.out_folder)
    far = moved(before, after, conversations=logs.tokens)
    return TrainingResult(
        steps=tuple({"loss": loss} for loss in losses),
        summary=summary_of(
            losses,
            steps=len(losses) * -(-len(taught) // context.config.offline.minibatch),
            kl=far.kl,
            entropy=far.entropy,
            fell_back=figures_of(context.store, job.sources["credit"])["credit/fell_back"],
        ),
    )


def summary_of(
    losses: Sequence[float], *, steps: int, kl: float, entropy: float, fell_back: float
) -> dict[str, float]:
    """The step's figures, divergence and entropy under the names that every policy step has for them."""
    return {
        "steps": float(steps),
        "fell_back": fell_back,
        "first_loss": losses[0],
        "last_loss": losses[-1],
        "final_kl": kl,
        "final_entropy": entropy,
    }


def turn_weights_of(context: Context, credit: Commit) -> Weights:
    """The weight of every credited turn, by conversation and index."""
    rows = commits.read_table(context.store, credit, table="credits").to_pylist()
    return {(str(row["conversation_id"]), int(row["turn_index"])): float(row["advantage"]) for row in rows}


def laid_out(weights: Weights, of: "Streams") -> "Tensor":
    """The weights by conversation and turn, [B, K], 0 where no turn is."""
    import torch

    weights_BK = torch.zeros(len(of.ids), int(of.turns_B.max()))
    row_of = {conversation: row for row, conversation in enumerate(of.ids)}
    for (conversation, turn), weight in weights.items():
        weights_BK[row_of[conversation], turn] = weight
    return weights_BK


def settings(config: Config) -> TuningSettings:
    """The configured passes under the experiment's seed."""
    chosen = config.offline
    return TuningSettings(
        epochs=chosen.epochs,
        learning_rate=chosen.learning_rate,
        minibatch=chosen.minibatch,
        seed=derive_seed(config.seed, "offline-step"),
    )
