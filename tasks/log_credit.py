"""Credit of logged turns: how often each is repeated by the first policy step, as a weight.

Who spoke them did not say with what chance, so there is no ratio of chances to correct by (decision 0041).
"""

from collections.abc import Mapping, Sequence

from storage import commits
from storage.commits import Commit
from storage.rows import Table, to_table
from tasks.config import ConfigError
from tasks.context import Context, Figures, StageResult, finished
from tasks.metrics import figures_of, metrics_table

Row = Mapping[str, object]
SOURCES = ("rollouts", "curated", "reward")


def run(context: Context) -> StageResult:
    """Commit one row per logged turn that may train, its weight as the advantage."""
    sources = {name: context.read(name, 0) for name in SOURCES}
    parents = {role: commit.digest for role, commit in sources.items()}
    inputs = {**context.config.section("offline"), "seed": str(context.config.seed)}
    existing = context.find("credit")
    if existing is not None:
        commits.check_inputs(existing, parents=parents, inputs=inputs, store=context.store)
        return finished("credit", existing, resumed=True)
    kind = usable_credit(context, sources["reward"])
    fell_back = float(kind != context.config.offline.credit)
    table, figures = credited(context, sources, kind=kind)
    commit = commits.commit(
        context.store,
        context.key("credit"),
        tables={
            "credits": table,
            "metrics": metrics_table("credit", summary={**figures, "fell_back": fell_back}),
        },
        parents=parents,
        inputs=inputs,
        attempt=context.attempt,
    )
    said: Figures = {"algorithm": f"offline_{kind}", **figures, "fell_back": fell_back}
    return finished("credit", commit, resumed=False, figures=said)


def usable_credit(context: Context, reward: Commit) -> str:
    """The configured credit; that of outcomes alone while the reward model's gate is closed."""
    chosen = context.config.offline.credit
    is_open = figures_of(context.store, reward)["fit_reward/gate_open"] == 1.0
    return "filtered" if chosen == "turn_weighted" and not is_open else chosen


def credited(context: Context, sources: Mapping[str, Commit], *, kind: str) -> tuple[Table, dict[str, float]]:
    """The rows of `credits`, and how many turns count for how much. ConfigError where none does."""
    turns = scored_turns(context, sources)
    weights = weights_of(turns, kind=kind, sharpness=context.config.offline.sharpness)
    rows = [
        {**turn, "credit": turn["score"], "advantage": weight, "algorithm": f"offline_{kind}"}
        for turn, weight in zip(turns, weights, strict=True)
    ]
    counted = [weight for weight in weights if weight > 0]
    figures = {
        "turns": float(len(turns)),
        "turns_with_weight": float(len(counted)),
        # How many equally weighed turns would teach as much: (sum w)^2 / sum w^2.
        "effective_turns": sum(counted) ** 2 / sum(weight**2 for weight in counted),
        "largest_weight": max(counted),
    }
    return to_table("credits", [_without_outcome(row) for row in rows]), figures


def scored_turns(context: Context, sources: Mapping[str, Commit]) -> list[dict[str, object]]:
    """The turns of training conversations that the reward model scored, in order, with what is known."""
    curated = commits.read_table(context.store, sources["curated"], table="curated").to_pylist()
    may_train = {row["conversation_id"]: row for row in curated if row["kept"] and row["fold"] == "train"}
    scores = commits.read_table(context.store, sources["reward"], table="turn_scores").to_pylist()
    return [
        {
            "conversation_id": row["conversation_id"],
            "turn_index": row["turn_index"],
            "group_id": may_train[row["conversation_id"]]["group_id"],
            "policy_version": may_train[row["conversation_id"]]["policy_version"],
            "response_tokens": row["response_tokens"],
            "score": row["score"],
            "outcome": may_train[row["conversation_id"]]["outcome"],
        }
        for row in sorted(scores, key=lambda row: (row["conversation_id"], row["turn_index"]))
        if row["conversation_id"] in may_train
    ]


def weights_of(turns: Sequence[Row], *, kind: str, sharpness: float) -> list[float]:
    """A weight per turn, mean 1; ConfigError where no turn has any."""
    import torch

    from itpo_core.trainers.weighted_tuning import turn_weights

    scores_N = torch.tensor([float(str(turn["score"])) for turn in turns], dtype=torch.float64)
    outcomes_N = torch.tensor([float(str(turn["outcome"])) for turn in turns], dtype=torch.float64)
    weights_N = torch.ones_like(scores_N) if kind == "continued" else outcomes_N
    if kind == "turn_weighted":
        happened_1N = torch.ones(1, len(turns), dtype=torch.bool)
        weights_N = weights_N * turn_weights(scores_N[None], happened_1N, sharpness=sharpness)[0]
    if not bool((weights_N > 0).any()):
        raise ConfigError(
            f"offline.credit {kind!r}: none of {len(turns)} logged turns that may train belongs to a "
            "success; bring logs with outcomes above 0"
        )
    return (weights_N / weights_N.mean()).tolist()


def _without_outcome(row: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in row.items() if name != "outcome"}
