"""Credit lab: the same stored rollouts scored with every credit method, as a dataset and a page."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from storage import commits
from storage.commits import Commit
from storage.digests import file_sha256
from storage.manifests import canonical_json
from storage.rows import Table, to_table
from storage.warehouse import sql_digests
from tasks.config import ConfigError, Credit
from tasks.context import Context, StageResult, finished
from tasks.credit import batch_relations
from tasks.credit_choice import method_of
from tasks.credit_lab_data import QUERY, LabBatch, lab_batch

if TYPE_CHECKING:
    from itpo_core.credit import CreditMethod
    from itpo_core.credit_lab import Comparison, Given, Method
    from itpo_core.turn_batch import TurnBatch

SOURCES = ("rollouts", "curated", "reward")
DEEPEST = 12  # turns from here on share one column
Row = dict[str, object]


def run(context: Context) -> StageResult:
    """Compare every method by the settings of [credit], and commit the table; write the page anew.

    One commit per choice of settings: trying another temperature takes nothing from the lake. Raises
    MissingCommit for an iteration that has not been scored, and ConfigError for one without kept turns.
    """
    from tasks.credit_lab_page import write_page

    sources = {name: context.read(name) for name in SOURCES}
    values = context.find("q")
    sources |= {} if values is None else {"q": values}
    parents = {name: commit.digest for name, commit in sources.items()}
    inputs = {
        **context.config.section("credit", "domain"),
        **sql_digests((QUERY,)),
        "seed": str(context.config.seed),
    }
    kind = f"lab-{file_sha256(canonical_json({**parents, **inputs}))[:12]}"
    existing = context.find(kind)
    commit = existing or commits.commit(
        context.store,
        context.key(kind),
        tables={"lab": lab_table(context, sources)},
        parents=parents,
        inputs=inputs,
        attempt=context.attempt,
    )
    rows = commits.read_table(context.store, commit, table="lab").to_pylist()
    figures = {"page": str(write_page(context, commit, rows=rows)), "methods": _count(rows)}
    return finished("credit_lab", commit, resumed=existing is not None, figures=figures)


def lab_table(context: Context, sources: Mapping[str, Commit]) -> Table:
    """Everything that the lab finds out about the iteration, one row per figure."""
    batch = lab_batch(batch_relations(context, sources), settings=context.duck)
    chosen = chosen_method(context.config.credit)
    return to_table("lab", [*rows_of(batch, compared(batch, chosen)), *bias_rows(chosen)])


def chosen_method(settings: Credit) -> "CreditMethod":
    """The estimator and the scalars that the configuration trains with; the turn reward is varied."""
    return method_of(settings)


def compared(batch: LabBatch, chosen: "CreditMethod") -> "Comparison":
    """Every turn reward there is, under the estimator and the scalars of the chosen method.

    Raises ConfigError when that estimator cannot even score the sparse outcome, as one without its critic.
    """
    from itpo_core.credit_lab import compare

    try:
        return compare(batch.turns, methods(batch, chosen), has_oracle=batch.has_oracle, deepest=DEEPEST)
    except ValueError as reason:
        raise ConfigError(f"credit lab with [credit] advantage {chosen.advantage!r}: {reason}") from reason


def methods(batch: LabBatch, chosen: "CreditMethod") -> "dict[str, Method]":
    """By the name of the turn reward; the oracles refuse where the environment knows none."""
    from itpo_core.turn_rewards import TURN_REWARDS

    return {
        name: _unknown_oracle if name == "oracle_pi" and not batch.has_oracle else _method(chosen, name)
        for name in TURN_REWARDS
    }


def rows_of(batch: LabBatch, found: "Comparison") -> list[Row]:
    """The comparison as rows of the `lab` dataset, and what was compared under the method `all`."""
    sizes = {
        "conversations": float(batch.turns.valid_B.sum()),
        "unscored_conversations": float(batch.unscored),
        "groups": float(len(batch.turns.group_B.unique())),
        "turns": float(batch.turns.happened_BK.sum()),
    }
    return [
        *(_row(figure, "all", value) for figure, value in sizes.items()),
        *(
            _row(figure, name, value)
            for name, each in found.figures.items()
            for figure, value in each.items()
        ),
        *(_row("agreement", one, value, against=two) for (one, two), value in found.agreement.items()),
        *(
            _row(figure, name, value, turn_index=depth.turn_index)
            for name, each in found.depths.items()
            for depth in each
            for figure, value in (("gradient_weight", depth.weight), ("gradient_part", depth.part))
        ),
        *({**_row("refused", name, None), "reason": reason} for name, reason in found.refused.items()),
    ]


def bias_rows(chosen: "CreditMethod") -> list[Row]:
    """The expected update of every method beside the true gradient, on a dialogue that is solved exactly.

    It depends on the estimator and the scalars, and on no rollout. A method that needs what the dialogue has
    not, a judge, has no row.
    """
    from itpo_core.tabular_bias import large_groups, method_bias
    from itpo_core.turn_rewards import TURN_REWARDS

    case = large_groups()
    rows: list[Row] = []
    for name in TURN_REWARDS:
        try:
            found = method_bias(case, replace(chosen, algorithm=name, scalars=None))
        except ValueError:
            continue
        rows += [
            _row("bias_cosine", name, found.cosine),
            _row("bias_rescaled_error", name, found.rescaled_error),
            *([] if found.noise is None else [_row("bias_noise", name, found.noise)]),
        ]
    return rows


def _row(figure: str, method: str, value: float | None, *, against: str = "", turn_index: int = -1) -> Row:
    return {
        "figure": figure,
        "method": method,
        "against": against,
        "turn_index": turn_index,
        "value": value,
    }


def _count(rows: list[Row]) -> int:
    return sum(row["figure"] == "variance" for row in rows)


def _method(chosen: "CreditMethod", name: str) -> "Method":
    from itpo_core.credit import credit
    from itpo_core.credit_lab import Given

    wanted = replace(chosen, algorithm=name, scalars=None)

    def scored(turns: "TurnBatch") -> Given:
        given = credit(turns, wanted)
        return Given(given.rewards_BK, given.advantages_BK)

    return scored


def _unknown_oracle(turns: "TurnBatch") -> "Given":
    raise ValueError("this environment does not know what its turns are worth")
