"""Credit: every turn reward side by side on the same conversations, and the advantages that will train."""

from collections.abc import Sequence
from typing import TypedDict

from itpo_core.envs.base import TurnOracle
from itpo_core.identifiers import derive_seed
from storage import commits
from storage.commits import Commit
from storage.rows import Table, to_table
from storage.warehouse import run_checks, run_sql, sql_digests
from tasks import build
from tasks.config import Algorithm
from tasks.context import Context, StageResult, finished
from tasks.metrics import figures_of
from tasks.records import truths_of

NEEDS_SCORES = frozenset({Algorithm.ITPO, Algorithm.NORM_ITPO, Algorithm.NORM_ITPO_SHARE})
ADVANTAGES = {"grpo": "advantages_grpo.sql", "rloo": "advantages_rloo.sql"}


class TurnInput(TypedDict):
    """What SQL cannot compute: a placebo draw, and the oracle's advantage where there is an oracle."""

    conversation_id: str
    turn_index: int
    dirichlet_draw: float
    oracle_advantage: float | None


def run(context: Context) -> StageResult:
    """Commit one row per kept turn with every method's credit and advantage."""
    sources = {name: context.read(name) for name in ("rollouts", "curated", "reward")}
    parents = {name: commit.digest for name, commit in sources.items()}
    inputs = {
        **context.config.section("credit"),
        **sql_digests(("turn_credits.sql", ADVANTAGES[context.config.credit.advantage], "credits.sql")),
        "seed": str(context.config.seed),
    }
    existing = context.find("credit")
    if existing is not None:
        commits.check_inputs(existing, parents=parents, inputs=inputs)
        return finished("credit", existing, resumed=True)
    algorithm = usable_algorithm(context, sources["reward"])
    credits = credit_table(context, sources, algorithm=algorithm)
    commit = commits.commit(
        context.store,
        context.key("credit"),
        tables={"credits": credits},
        parents=parents,
        inputs=inputs,
        attempt=context.attempt,
    )
    return finished(
        "credit", commit, resumed=False, figures={"turns": credits.num_rows, "algorithm": algorithm.value}
    )


def usable_algorithm(context: Context, reward: Commit) -> Algorithm:
    """The configured algorithm, or the sparse outcome while the reward model's gate is closed."""
    wanted = context.config.credit.algorithm
    return wanted if wanted not in NEEDS_SCORES or gate_is_open(context, reward) else Algorithm.OUTCOME


def gate_is_open(context: Context, reward: Commit) -> bool:
    """Whether the reward model ranks held-out conversations well enough to be listened to."""
    return figures_of(context.store, reward)["fit_reward/gate_open"] == 1.0


def credit_table(context: Context, sources: dict[str, Commit], *, algorithm: Algorithm) -> Table:
    """Run the credit SQL over the committed files, then its checks."""
    settings = context.config.credit
    relations = {
        "turns": commits.table_paths(context.store, sources["rollouts"], table="turns"),
        "curated": commits.table_paths(context.store, sources["curated"], table="curated"),
        "turn_scores": commits.table_paths(context.store, sources["reward"], table="turn_scores"),
        "turn_inputs": turn_inputs(context, sources["rollouts"]),
    }
    turn_credits = run_sql(
        "turn_credits.sql",
        relations=relations,
        parameters={
            "use_scores": gate_is_open(context, sources["reward"]),
            "temperature": settings.temperature,
            "share": settings.share,
        },
    )
    siblings = {"curated": relations["curated"], "turn_credits": turn_credits}
    floor = {"grpo": {"std_floor": settings.std_floor}, "rloo": {}}[settings.advantage]
    advantages = run_sql(ADVANTAGES[settings.advantage], relations=siblings, parameters=floor)
    credits = run_sql(
        "credits.sql",
        relations={"turn_credits": turn_credits, "advantages": advantages},
        parameters={"algorithm": algorithm.value},
    )
    run_checks({**relations, "credits": credits})
    return credits


def turn_inputs(context: Context, rollouts: Commit) -> Table:
    """The placebo draws and the oracle's advantages, one row per turn of the iteration."""
    rows = run_sql(
        "turn_truths.sql",
        relations={
            name: commits.table_paths(context.store, rollouts, table=name)
            for name in ("turns", "conversations")
        },
        parameters={},
    ).to_pylist()
    advantages = oracle_advantages(build.domain(context.config).oracle, rows)
    draws = exponential_draws(
        len(rows), seed=derive_seed(context.config.seed, "dirichlet", context.iteration)
    )
    return to_table(
        "turn_inputs",
        [
            TurnInput(
                conversation_id=row["conversation_id"],
                turn_index=row["turn_index"],
                dirichlet_draw=draw,
                oracle_advantage=advantage,
            )
            for row, draw, advantage in zip(rows, draws, advantages, strict=True)
        ],
    )


def oracle_advantages(oracle: TurnOracle | None, rows: Sequence[dict[str, object]]) -> list[float | None]:
    """Advantage of every turn under the policy that spoke, in row order; None where nobody knows it."""
    if oracle is None or any(row["turn_kind"] is None for row in rows):
        return [None] * len(rows)
    conversations: dict[object, list[dict[str, object]]] = {}
    for row in rows:
        conversations.setdefault(row["conversation_id"], []).append(row)
    nested = oracle.policy_advantages(
        [truths_of(turns) for turns in conversations.values()],
        personas=[str(turns[0]["persona_id"]) for turns in conversations.values()],
    )
    return [value for turns in nested for value in turns]


def exponential_draws(count: int, *, seed: int) -> list[float]:
    """Unit exponential draws, one per turn: their shares are uniform on the simplex."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    return (-torch.rand(count, generator=generator, dtype=torch.float64).clamp(min=1e-12).log()).tolist()
