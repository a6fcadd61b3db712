"""Version 0 of an experiment that is its log files: it imitates the logged assistant, good and bad."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from itpo_core.identifiers import derive_seed
from itpo_core.log_policy import create_log_policy
from itpo_core.log_reward import pieces
from itpo_core.tiny_policy import generation_ids, load_policy, save_policy, suppressed_ids
from itpo_core.tokens import ChatFormat
from itpo_core.trainers.warm_start import WarmStartSettings, warm_start
from storage import commits
from tasks import template_check
from tasks.config import Config, ConfigError, canonical_json
from tasks.context import Context
from tasks.from_logs import has_users
from tasks.kept import KeptConversation, fitting, kept_conversations, kept_messages, labelled
from tasks.log_users import check_enough

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

TRAIN = "train"


def inputs(config: Config) -> dict[str, str]:
    """What else decides version 0."""
    return {"offline_reading": canonical_json(config.offline.reading())}


def start(
    context: Context, *, on_progress: Callable[[int, int], None]
) -> tuple[dict[str, float], list[dict[str, float]], Path]:
    """Make the model, teach it the training conversations of the file, save it in a scratch folder.

    Held-out conversations are not read at all, not even by the tokenizer. Raises ConfigError for a file that
    has nothing to learn from, before anything is trained.
    """
    check_lessons(context)
    if has_users(context.config):
        check_enough(context.config)
    model, tokenizer = fresh_policy(context)
    template_check.check(context.config.model, tokenizer, generation=generation_ids(model))
    chat = ChatFormat.from_tokenizer(tokenizer, suppressed_ids(model))
    kept = kept_conversations(context, 0, chat=chat)
    lessons = short_enough(context, [each for each in kept if each.fold == TRAIN])
    result = warm_start(
        model,
        pieces(labelled(lessons).tokens, context.config.offline.piece_tokens),
        requests=None,
        settings=settings(context.config),
        on_step=on_progress,
    )
    folder = context.work_folder("policy")
    save_policy(model, tokenizer, folder=folder)
    figures = {
        "final_loss": result.final_loss,
        "imitated": float(len(lessons)),
        "too_long": float(sum(each.fold == TRAIN for each in kept) - len(lessons)),
        "vocabulary": float(len(tokenizer)),
    }
    return figures, [{"loss": loss} for loss in result.losses], folder


def check_lessons(context: Context) -> None:
    """Raises ConfigError where the file lacks outcomes, or where all that may train ended alike."""
    rows = commits.read_table(context.store, context.read("curated"), table="curated").to_pylist()
    kept = [row for row in rows if row["kept"]]
    if not kept:
        raise ConfigError(
            f"none of {len(rows)} logged conversations may train: a conversation teaches nothing without an "
            "outcome; name where the file holds it in logs.outcome_column (`itpo sql` on curated says why "
            "each was dropped)"
        )
    outcomes = {row["outcome"] for row in kept if row["fold"] == TRAIN}
    if len(outcomes) < 2:
        raise ConfigError(
            f"all {len(kept)} logged conversations that may train ended alike, outcome "
            f"{', '.join(map(str, outcomes)) or 'none: all are held out'}: nothing tells a good turn from a "
            "bad one; bring logs of successes and failures"
        )


def fresh_policy(context: Context) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    """A given model folder, or a new small model with a tokenizer of the training conversations."""
    chosen = context.config.model
    if chosen.folder is not None:
        return load_policy(Path(chosen.folder))
    return create_log_policy(
        training_texts(context),
        chosen.size,
        vocabulary_size=context.config.offline.vocabulary_size,
        max_tokens=chosen.max_context_tokens,
        seed=derive_seed(context.config.seed, "policy"),
    )


def training_texts(context: Context) -> list[str]:
    """All that was said in the training conversations, tool calls included."""
    curated = commits.read_table(context.store, context.read("curated"), table="curated").to_pylist()
    train = {row["conversation_id"] for row in curated if row["kept"] and row["fold"] == TRAIN}
    return [
        text
        for conversation, messages in kept_messages(context, 0).items()
        if conversation in train
        for message in messages
        for text in (message.content, message.tool_calls or "")
    ]


def short_enough(context: Context, kept: Sequence[KeptConversation]) -> list[KeptConversation]:
    """Those that fit the context; ConfigError where none does."""
    limit = context.config.model.max_context_tokens
    fit = fitting(kept, max_tokens=limit)
    if not fit:
        raise ConfigError(
            f"none of {len(kept)} logged conversations fits model.max_context_tokens {limit}: raise it; "
            "nothing is cut"
        )
    return fit


def settings(config: Config) -> WarmStartSettings:
    """The configured steps under the experiment's seed; there are no direct requests."""
    chosen = config.warm_start
    return WarmStartSettings(
        steps=chosen.steps,
        batch=chosen.batch,
        learning_rate=chosen.learning_rate,
        seed=derive_seed(config.seed, "warm-start"),
    )
