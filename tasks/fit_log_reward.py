"""Fit reward on foreign logs: no policy of ours spoke them, so the fit brings its own reference."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from itpo_core.identifiers import derive_seed
from storage import commits, revisions
from storage.rows import Table, to_table
from tasks.config import Config, ConfigError
from tasks.context import Context, StageResult, finished
from tasks.from_logs import is_bare
from tasks.metrics import metrics_table
from tasks.records import messages_from_json

if TYPE_CHECKING:
    from itpo_core.log_reward import LoggedConversation, LogRewardResult, LogRewardSettings

Progress = Callable[[int, int], None]
REFERENCE = "language-model-of-the-logs"


def is_foreign(context: Context) -> bool:
    """Whether the iteration is an import of log files that no policy of this experiment was started from."""
    return "format" in context.read("rollouts").inputs and context.find("policy") is None


def run(context: Context, *, on_progress: Progress | None = None) -> StageResult:
    """Commit the scores of the held-out turns and the held-out figures; there are no weights to keep.

    Raises ConfigError for logs of no domain: a version 0 is coming, and its first step needs another fit.
    """
    from itpo_core.log_reward import fit_on_logs

    if is_bare(context.config):
        raise ConfigError(
            f"{context.experiment} has no version 0 yet, on which its first reward model is fitted: run "
            "`itpo warm-start` before; a reward model of the logs alone is for an experiment of its own, "
            "with another domain.name"
        )
    sources = {name: context.read(name) for name in ("rollouts", "curated")}
    parents = {name: commit.digest for name, commit in sources.items()}
    inputs = {**context.config.section("reward"), "seed": str(context.config.seed)}
    existing = context.find("reward")
    if existing is not None:
        commits.check_inputs(existing, parents=parents, inputs=inputs, store=context.store)
        return finished("fit_reward", existing, resumed=True)
    result = fit_on_logs(
        logged_conversations(context),
        settings=settings_of(context.config),
        on_progress=on_progress or (lambda done, total: None),
    )
    figures = figures_of(result)
    revisions.hold(context.store, sources["curated"].key, by=context.key("reward"))
    commit = commits.commit(
        context.store,
        context.key("reward"),
        tables={
            "turn_scores": score_table(context, result),
            "metrics": metrics_table("fit_reward", summary=figures),
        },
        parents=parents,
        inputs=inputs,
        attempt=context.attempt,
    )
    return finished("fit_reward", commit, resumed=False, figures=figures)


def settings_of(config: Config) -> "LogRewardSettings":
    """Where the configuration means the same for foreign logs, its values."""
    from itpo_core.log_reward import LogRewardSettings

    return LogRewardSettings(
        beta=config.reward.beta,
        learning_rate=config.reward.learning_rate,
        confidence=config.decide.confidence,
        draws=config.evaluate.bootstrap,
        seed=derive_seed(config.seed, "log-reward"),
    )


def logged_conversations(context: Context) -> "list[LoggedConversation]":
    """The kept conversations, all of which have an outcome. Raises ConfigError when there are none."""
    from itpo_core.log_reward import LoggedConversation

    curated = commits.read_table(context.store, context.read("curated"), table="curated").to_pylist()
    kept = {row["conversation_id"] for row in curated if row["kept"]}
    if not kept:
        raise ConfigError(
            f"{context.key('curated').text}: curation kept no conversation, so there is nothing to fit; "
            "`itpo sql` on curated says why (a log without outcomes cannot teach a reward)"
        )
    rows = commits.read_table(context.store, context.read("rollouts"), table="conversations").to_pylist()
    return [
        LoggedConversation(
            conversation_id=row["conversation_id"],
            group_id=row["group_id"],
            messages=messages_from_json(row["messages_json"]),
            outcome=row["outcome"],
        )
        for row in rows
        if row["conversation_id"] in kept
    ]


def figures_of(result: "LogRewardResult") -> Mapping[str, float]:
    """The held-out figures, the conversations that were too long to hold, and the reference's loss."""
    judged = result.judged
    interval = judged.auc
    ranking = {} if interval is None else {
        "heldout_auc": interval.mean,
        "heldout_auc_lower": interval.lower,
        "heldout_auc_upper": interval.upper,
        "heldout_groups": float(interval.clusters),
    }  # fmt: skip
    return {
        **ranking,
        "heldout_conversations": float(judged.conversations),
        "heldout_cross_entropy": judged.cross_entropy,
        "heldout_base_rate_entropy": judged.base_rate_entropy,
        "heldout_brier": judged.brier,
        "too_long": float(result.too_long),
        "longest_tokens": float(result.longest_tokens),
        "reference_loss": result.reference_loss,
    }


def score_table(context: Context, result: "LogRewardResult") -> Table:
    """One row per turn of the held-out conversations."""
    from itpo_core.streams import turn_token_counts

    tokens, scores = turn_token_counts(result.streams).tolist(), result.scores_BK.tolist()
    rows = [
        {
            "conversation_id": conversation,
            "turn_index": turn,
            "reward_version": f"{context.experiment}/r{context.iteration:04d}-fold{result.fold_B[row]}",
            "ref_version": REFERENCE,
            "score": scores[row][turn],
            "response_tokens": tokens[row][turn],
        }
        for row, conversation in enumerate(result.streams.ids)
        if result.is_judged_B[row]
        for turn in range(int(result.streams.turns_B[row]))
    ]
    return to_table("turn_scores", rows)
