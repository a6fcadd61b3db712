"""Fit reward: outcomes become an implicit process reward model, which then scores every kept turn."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from itpo_core import reward_fit
from itpo_core.identifiers import derive_seed
from itpo_core.reward_fit import Judging, Referenced
from itpo_core.reward_model import FitResult, FitSettings, HeldOut, ImplicitRewardModel
from itpo_core.streams import turn_token_counts
from itpo_core.tiny_policy import load_policy, save_policy, suppressed_ids
from itpo_core.tokens import ChatFormat
from storage import commits, registry, weights
from storage.commits import Commit
from storage.rows import Table, to_table
from tasks import fit_log_reward
from tasks.context import Context, StageResult, finished
from tasks.kept import fitting, kept_conversations, labelled
from tasks.metrics import metrics_table

Progress = Callable[[int, int], None]
Scores = list[list[float]]


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
        commits.check_inputs(existing, parents=parents, inputs=inputs)
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
    oldest = max(0, context.iteration - context.config.reward.replay_iterations)
    window = range(oldest, context.iteration + 1)
    sources = {f"curated/{iteration:04d}": context.read("curated", iteration) for iteration in window}
    sources["reference"] = context.read("policy", reference_iteration(context))
    if context.iteration > 0:
        sources["previous"] = context.read("reward", context.iteration - 1)
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
    model, _ = load_policy(context.artifact_folder(sources.get("previous", sources["reference"])))
    chat = ChatFormat.from_tokenizer(tokenizer, suppressed_ids(reference))
    prm = ImplicitRewardModel(model, context.config.reward.beta, chat.suppressed_ids)
    data = [read_data(context, iteration, chat=chat) for iteration in _window(sources)]
    sets = [reward_fit.referenced(reference, each, suppressed_ids=chat.suppressed_ids) for each in data]

    before = reward_fit.scores(prm, sets[-1])
    result = reward_fit.fit(prm, sets, settings=fit_settings(context), on_step=on_progress)
    after = reward_fit.scores(prm, sets[-1])
    judged = reward_fit.judge(after, sets[-1], judging=judging(context))

    used = {"after_update": after, "before_update": before}[context.config.reward.score].tolist()
    folder = context.work_folder("reward")
    save_policy(model, tokenizer, folder=folder)
    return Fitted(
        figures(result, judged, min_auc=context.config.reward.min_heldout_auc),
        score_table(context, used, scored=sets[-1]),
        folder,
    )


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


def figures(result: FitResult, judged: HeldOut | None, *, min_auc: float) -> dict[str, float]:
    """The named figures; `gate_open` says whether held-out ranking is good enough to give credit by."""
    fitted = {
        "first_epoch_loss": result.losses[0],
        "last_epoch_loss": result.losses[-1],
        "labelled": float(result.labelled),
        "unlabelled": float(result.unlabelled),
    }
    if judged is None:
        return {**fitted, "gate_open": 0.0, "heldout_conversations": 0.0}
    interval = judged.auc
    passed = interval is not None and interval.mean >= min_auc
    return {
        **fitted,
        **heldout_figures(judged),
        "gate_open": float(passed),
    }


def heldout_figures(judged: HeldOut) -> dict[str, float]:
    """Ranking, fit and calibration on held-out conversations; no AUC when all ended alike."""
    interval = judged.auc
    ranking = {} if interval is None else {
        "heldout_auc": interval.mean,
        "heldout_auc_lower": interval.lower,
        "heldout_auc_upper": interval.upper,
    }  # fmt: skip
    calibration = {
        f"observed_minus_predicted_turn_{each.turn_index}": each.observed - each.predicted
        for each in judged.by_turn
    }
    return {
        **ranking,
        **calibration,
        "heldout_conversations": float(judged.conversations),
        "heldout_cross_entropy": judged.cross_entropy,
        "heldout_base_rate_entropy": judged.base_rate_entropy,
        "heldout_brier": judged.brier,
    }


def score_table(context: Context, scores: Scores, *, scored: Referenced) -> Table:
    """One row per scored turn of this iteration."""
    of = scored.data.streams
    tokens = turn_token_counts(of).tolist()
    reference = registry.version_name(context.experiment, reference_iteration(context))
    rows = [
        {
            "conversation_id": conversation,
            "turn_index": turn,
            "reward_version": f"{context.experiment}/r{context.iteration:04d}",
            "ref_version": reference,
            "score": scores[row][turn],
            "response_tokens": tokens[row][turn],
        }
        for row, conversation in enumerate(of.ids)
        for turn in range(int(of.turns_B[row]))
    ]
    return to_table("turn_scores", rows)


def _window(sources: dict[str, Commit]) -> list[int]:
    return sorted(commit.key.iteration for role, commit in sources.items() if role.startswith("curated/"))
