"""Fit reward: outcomes become an implicit process reward model, which then scores every kept turn."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from itpo_core import reward_fit
from itpo_core.identifiers import derive_seed
from itpo_core.reward_facts import token_lists
from itpo_core.reward_fit import Judging, LabelledStreams, Referenced
from itpo_core.reward_model import FitSettings, ImplicitRewardModel, ScoredTurns, start_intercept
from itpo_core.streams import turn_token_counts
from itpo_core.tiny_policy import load_policy, save_policy, suppressed_ids
from itpo_core.tokens import ChatFormat
from storage import commits, registry, weights
from storage.commits import Commit
from storage.rows import Table, to_table
from tasks import fit_log_reward, from_logs
from tasks.context import Context, StageResult, finished
from tasks.fit_reward_figures import Versions, figures
from tasks.kept import fitting, kept_conversations, labelled
from tasks.metrics import metrics_table

if TYPE_CHECKING:
    from torch.nn import Parameter

Progress = Callable[[int, int], None]
INTERCEPT_FILE = "intercept.json"


@dataclass(frozen=True, slots=True)
class Fitted:
    """What one fit gave: figures, the score of every turn of this iteration, and where the weights lie."""

    figures: dict[str, float]
    turn_scores: Table
    folder: Path


def run(context: Context, *, on_progress: Progress | None = None) -> StageResult:
    """Commit the reward model's weights, its score of every kept turn, and its held-out figures.

    Imported logs from which no policy was started have no reference here; their fit brings its own.
    """
    if fit_log_reward.is_foreign(context):
        return fit_log_reward.run(context, on_progress=on_progress)
    sources = source_commits(context)
    parents = {role: commit.digest for role, commit in sources.items()}
    inputs = {**context.config.section("reward"), "seed": str(context.config.seed)}
    existing = context.find("reward")
    if existing is not None:
        commits.check_inputs(existing, parents=parents, inputs=inputs, store=context.store)
        return finished("fit_reward", existing, resumed=True)
    fitted = fit_and_score(context, sources, on_progress=on_progress or (lambda done, total: None))
    commit = commits.commit(
        context.store,
        context.key("reward"),
        tables={
            "turn_scores": fitted.turn_scores,
            "metrics": metrics_table("fit_reward", summary=fitted.figures),
        },
        parents=parents,
        inputs=inputs,
        artifacts=weights.put_folder(context.store, context.key("reward"), folder=fitted.folder),
        attempt=context.attempt,
    )
    return finished("fit_reward", commit, resumed=False, figures=fitted.figures)


def source_commits(context: Context) -> dict[str, Commit]:
    """What the fit reads: this and the replayed curations, the previous fit, the reference policy."""
    replayed = context.config.reward.replay_iterations
    window = from_logs.window(context.config, context.iteration, replayed=replayed)
    sources = {f"curated/{iteration:04d}": context.read("curated", iteration) for iteration in window}
    sources["reference"] = context.read("policy", reference_iteration(context))
    if context.iteration > 0:
        sources["previous"] = context.read("reward", from_logs.previous(context.config, context.iteration))
    return sources


def reference_iteration(context: Context) -> int:
    """Which version is the frozen reference: version 0, or the one that collected."""
    if context.iteration == 0 or context.config.reward.reference == "initial":
        return 0
    name = context.read("rollouts").inputs["policy_version"]
    versions = {version.name: version for version in registry.versions(context.store, context.experiment)}
    return versions[name].iteration


def fit_and_score(context: Context, sources: dict[str, Commit], *, on_progress: Progress) -> Fitted:
    """Load, fit on the training folds, score this iteration's turns, judge on its held-out fold, save."""
    reference, tokenizer = load_policy(context.artifact_folder(sources["reference"]))
    start = context.artifact_folder(sources.get("previous", sources["reference"]))
    model, _ = load_policy(start)
    chat = ChatFormat.from_tokenizer(tokenizer, suppressed_ids(reference))
    data = [read_data(context, iteration, chat=chat) for iteration in _window(sources)]
    sets = [reward_fit.referenced(reference, each, suppressed_ids=chat.suppressed_ids) for each in data]
    intercept = read_intercept(start, data) if context.config.reward.intercept else None
    prm = ImplicitRewardModel(model, context.config.reward.beta, chat.suppressed_ids, intercept)

    before = reward_fit.scored(prm, sets[-1])
    blind = blind_scores(context, prm, sets=sets, on_progress=on_progress)
    result = reward_fit.fit(prm, sets, settings=fit_settings(context), on_step=on_progress)
    after = reward_fit.scored(prm, sets[-1])
    used = blind or {"after_update": after, "before_update": before}[context.config.reward.score]
    judged = reward_fit.judge(blind or after, sets[-1], judging=judging(context))

    folder = context.work_folder("reward")
    save_policy(model, tokenizer, folder=folder)
    write_intercept(prm, folder)
    return Fitted(
        figures(
            result,
            judged,
            min_auc=context.config.reward.min_heldout_auc,
            scored=sets[-1],
            versions=Versions(before, after, used, prm.base_logit if prm.intercept is not None else None),
        ),
        score_table(context, used, of=sets[-1]),
        folder,
    )


def blind_scores(
    context: Context, prm: ImplicitRewardModel, *, sets: Sequence[Referenced], on_progress: Progress
) -> ScoredTurns | None:
    """Scores by models that have not learnt the conversation that they score; None with a single fold."""
    if context.config.reward.folds == 1:
        return None
    return reward_fit.cross_fitted(prm, sets, settings=fit_settings(context), on_step=on_progress)


def read_intercept(folder: Path, data: Sequence[LabelledStreams]) -> "Parameter":
    """The intercept that the previous version learnt, or the base rate of what this one learns from."""
    import torch

    path = folder / INTERCEPT_FILE
    if path.is_file():
        return torch.nn.Parameter(torch.tensor(json.loads(path.read_text(encoding="utf-8"))["intercept"]))
    return start_intercept(torch.cat([each.labels_B[each.train_B] for each in data]))


def write_intercept(prm: ImplicitRewardModel, folder: Path) -> None:
    """Beside the weights, when there is one; a scratch folder may hold that of an earlier attempt."""
    path = folder / INTERCEPT_FILE
    path.unlink(missing_ok=True)
    if prm.intercept is not None:
        path.write_text(json.dumps({"intercept": prm.base_logit}) + "\n", encoding="utf-8")


def read_data(context: Context, iteration: int, *, chat: ChatFormat) -> reward_fit.LabelledStreams:
    """The iteration's kept conversations that the reward model may see and that fit its context."""
    kept = [
        each
        for each in kept_conversations(context, iteration, chat=chat)
        if each.persona_id not in context.config.logs.supervised_only_personas
    ]
    return labelled(fitting(kept, max_tokens=context.config.model.max_context_tokens))


def fit_settings(context: Context) -> FitSettings:
    """More passes for the first fit, which starts from nothing."""
    settings = context.config.reward
    return FitSettings(
        learning_rate=settings.learning_rate,
        epochs=settings.first_epochs if context.iteration == 0 else settings.epochs,
        minibatch=settings.minibatch,
        seed=derive_seed(context.config.seed, "reward", context.iteration),
    )


def judging(context: Context) -> Judging:
    """The held-out AUC's interval, at the confidence of the decision."""
    return Judging(
        confidence=context.config.decide.confidence,
        draws=context.config.evaluate.bootstrap,
        seed=derive_seed(context.config.seed, "reward-interval", context.iteration),
    )


def score_table(context: Context, used: ScoredTurns, *, of: Referenced) -> Table:
    """One row per scored turn of this iteration, with the terms of its score."""
    spoken = of.data.streams
    tokens, scores = turn_token_counts(spoken).tolist(), used.scores_BK.tolist()
    terms = token_lists(used.token_scores_BT, spoken.turn_BT, turns_B=spoken.turns_B.tolist())
    reference = registry.version_name(context.experiment, reference_iteration(context))
    rows = [
        {
            "conversation_id": conversation,
            "turn_index": turn,
            "reward_version": f"{context.experiment}/r{context.iteration:04d}",
            "ref_version": reference,
            "score": scores[row][turn],
            "response_tokens": tokens[row][turn],
            "token_scores": terms[row][turn],
        }
        for row, conversation in enumerate(spoken.ids)
        for turn in range(int(spoken.turns_B[row]))
    ]
    return to_table("turn_scores", rows)


def _window(sources: dict[str, Commit]) -> list[int]:
    return sorted(commit.key.iteration for role, commit in sources.items() if role.startswith("curated/"))
