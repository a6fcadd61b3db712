"""Warm start: logged conversations become policy version 0, with the copy accuracy that its gate asks for."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from itpo_core.identifiers import derive_seed
from itpo_core.streams import streams
from itpo_core.tiny_policy import create_policy, generation_ids, load_policy, save_policy, suppressed_ids
from itpo_core.tokens import ChatFormat
from itpo_core.trainers.warm_start import EncodedRows, WarmStartSettings, copy_accuracy, warm_start
from storage import commits, revisions, weights
from tasks import build, log_start, offline_credit, practice, template_check
from tasks.config import ConfigError
from tasks.context import Context, StageResult, finished
from tasks.from_logs import is_bare
from tasks.kept import KeptConversation, kept_conversations
from tasks.metrics import metrics_table
from tasks.train_policy import register

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Lessons:
    """What the start learns from: dialogues, and requests in which everything to copy is said at once.

    `exam` are requests that are not learnt from; copying is measured on them.
    """

    dialogues: Sequence[KeptConversation]
    requests: Sequence[KeptConversation]
    exam: Sequence[KeptConversation]


def run(context: Context, *, on_progress: Progress | None = None) -> StageResult:
    """Commit and register version 0."""
    curated = context.read("curated")
    parents = {"curated": curated.digest}
    inputs = {
        **context.config.section("domain", "model", "warm_start"),
        **(log_start.inputs(context.config) if is_bare(context.config) else offline_credit.inputs(context)),
        "seed": str(context.config.seed),
    }
    existing = context.find("policy")
    if existing is not None:
        commits.check_inputs(existing, parents=parents, inputs=inputs, store=context.store)
        register(context, existing, parent=None)
        return finished("warm_start", existing, resumed=True)
    begin = log_start.start if is_bare(context.config) else start
    figures, steps, folder = begin(context, on_progress=on_progress or (lambda done, total: None))
    artifacts = weights.put_folder(context.store, context.key("policy"), folder=folder)
    revisions.hold(context.store, curated.key, by=context.key("policy"))
    commit = commits.commit(
        context.store,
        context.key("policy"),
        tables={"metrics": metrics_table("warm_start", summary=figures, steps=steps)},
        parents=parents,
        inputs=inputs,
        artifacts=artifacts,
        attempt=context.attempt,
    )
    register(context, commit, parent=None)
    return finished("warm_start", commit, resumed=False, figures=figures)


def start(
    context: Context, *, on_progress: Progress
) -> tuple[dict[str, float], list[dict[str, float]], Path]:
    """Make the model, teach it, examine it, save it in a scratch folder."""
    model, tokenizer = fresh_policy(context)
    template_check.check(context.config.model, tokenizer, generation=generation_ids(model))
    chat = ChatFormat.from_tokenizer(tokenizer, suppressed_ids(model))
    logged = divided(context, kept_conversations(context, 0, chat=chat))
    check_words(context, logged.dialogues, chat=chat)
    lessons = practised(context, logged, chat=chat)
    result = warm_start(
        model,
        encoded(lessons.dialogues),
        requests=encoded(lessons.requests) if lessons.requests else None,
        settings=settings(context),
        on_step=on_progress,
    )
    offline = offline_credit.tune(context, model, dialogues=lessons.dialogues)
    examined = {"final_loss": result.final_loss, **offline, **exam(model, lessons, chat=chat)}
    folder = context.work_folder("policy")
    save_policy(model, tokenizer, folder=folder)
    return examined, [{"loss": loss} for loss in result.losses], folder


def fresh_policy(context: Context) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    """A given model folder, or a new small model over the domain's vocabulary."""
    chosen = context.config.model
    if chosen.folder is not None:
        return load_policy(Path(chosen.folder))
    words = build.domain(context.config).vocabulary
    if not words:
        raise ConfigError(
            f"domain {context.config.domain.name} has no closed vocabulary: give model.folder, "
            "a causal language model with a chat template"
        )
    return create_policy(words, chosen.size, seed=derive_seed(context.config.seed, "policy"))


def divided(context: Context, kept: Sequence[KeptConversation]) -> Lessons:
    """Dialogues and requests apart; requests of the held-out fold are the exam."""
    requests = [each for each in kept if each.persona_id in context.config.logs.supervised_only_personas]
    dialogues = [each for each in kept if each.persona_id not in context.config.logs.supervised_only_personas]
    if not dialogues:
        raise ConfigError("curation kept no logged conversation: there is nothing to start a policy from")
    return Lessons(
        dialogues=dialogues,
        requests=[each for each in requests if each.fold == "train"],
        exam=[each for each in requests if each.fold != "train"],
    )


def practised(context: Context, lessons: Lessons, *, chat: ChatFormat) -> Lessons:
    """With requests made of the dialogues, where that is asked for."""
    if context.config.warm_start.practice == "none":
        return lessons
    made = practice.folded_successes(context, lessons.dialogues, chat=chat)
    return replace(lessons, requests=[*lessons.requests, *made])


def check_words(context: Context, dialogues: Sequence[KeptConversation], *, chat: ChatFormat) -> None:
    """Raises ConfigError where the logged assistant used words that this policy can never say."""
    never = set(chat.suppressed_ids)
    strange = sum(any(never & set(turn.response_ids) for turn in each.turns) for each in dialogues)
    if strange:
        raise ConfigError(
            f"{strange} of {len(dialogues)} logged conversations hold words of the assistant that the "
            f"vocabulary of domain {context.config.domain.name} lacks: these logs are of another domain. No "
            "policy was started, and none can be tried out without users of their kind. `itpo fit-reward` "
            'fits a reward model to these logs as they are; domain.name = "logs" starts from them without '
            "a domain, imported again under another experiment name (configs/from_foreign_logs.toml)"
        )


def encoded(conversations: Sequence[KeptConversation]) -> EncodedRows:
    """As the supervised step takes them."""
    of = streams({each.conversation_id: each.turns for each in conversations})
    return EncodedRows(of.tokens_BT, of.is_policy_BT, of.lengths_B)


def settings(context: Context) -> WarmStartSettings:
    """The configured steps under the experiment's seed."""
    chosen = context.config.warm_start
    return WarmStartSettings(
        steps=chosen.steps,
        batch=chosen.batch,
        learning_rate=chosen.learning_rate,
        request_share=chosen.request_share,
        seed=derive_seed(context.config.seed, "warm-start"),
    )


def exam(model: "PreTrainedModel", lessons: Lessons, *, chat: ChatFormat) -> dict[str, float]:
    """Copy accuracy on requests that were not learnt from; no figure where the logs hold no requests."""
    if not lessons.exam:
        return {}
    facts = sorted({word for each in lessons.exam for word in _facts(each.latent_json)})
    ids = sorted({token for word in facts for token in chat.response_ids(word)[:-1]})
    return {
        "copy_accuracy": copy_accuracy(model, encoded(lessons.exam), value_token_ids=ids),
        "exam_conversations": float(len(lessons.exam)),
    }


def _facts(latent_json: str) -> list[str]:
    """What is to be copied, and where the domain says so, what is to be made of it."""
    latent = json.loads(latent_json or "{}")
    values = [str(value) for value in latent.get("values", {}).values()]
    return [*values, str(latent["answer"])] if "answer" in latent else values
