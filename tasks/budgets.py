"""How many conversations may break, or stay without an outcome, before an iteration stops."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from storage.rows import Table
from storage.warehouse import run_sql
from tasks.config import Config
from tasks.context import Context, Figures
from tasks.refusals import FailureBudgetError

Counts = Mapping[str, int | str | None]
BUDGETS = MappingProxyType({"failed": "failure_budget", "unscored": "unscored_budget"})
ANEW = "Nothing of it was kept: mend what is named here and run the same again, which asks anew, or raise"
OLD = "An earlier program kept its shards, and none is made twice: take another experiment name, or raise"


def check_rollouts(context: Context, conversations: Sequence[Path] | Table, *, shard: int | None) -> None:
    """Raises FailureBudgetError where a shard, or all of them (None), are over a budget of [collect].

    A shard is checked before it is published: a published one is never made again, so that an iteration with
    one over the budget could be neither sealed nor asked for anew. Shards within a budget are within it
    together; all of them are checked again for those that an earlier program published.
    """
    settings, whole = context.config.collect, context.key("rollouts").text
    place, remedy = (whole, OLD) if shard is None else (f"{whole}, shard {shard}", ANEW)
    for row in _counted(context, conversations):
        for what, budget in (("failed", settings.failure_budget), ("unscored", settings.unscored_budget)):
            _check(row, what, budget, key=f"collect.{BUDGETS[what]}", place=place, remedy=remedy)


def check_evaluation(context: Context, conversations: Table) -> None:
    """Raises FailureBudgetError where an arm has more failures than the evaluation may have.

    What was never scored is left to the decision, which holds a candidate for it.
    """
    budget, place = evaluation_budget(context.config), context.key("evaluation").text
    for row in _counted(context, conversations):
        arm = f"{place}, {row['policy_version']}"
        _check(row, "failed", budget, key="evaluate.failure_budget", place=arm, remedy=ANEW)


def evaluation_budget(config: Config) -> float:
    """The share of an arm's conversations that may break."""
    own = config.evaluate.failure_budget
    return config.collect.failure_budget if own is None else own


def call_figures(context: Context, calls: Sequence[Path] | Table | None) -> Figures:
    """What the calls of language models came to, summed over an iteration; nothing where none were made.

    `cost_usd` is of the calls whose price is known, and absent where none is; `price_unknown` counts the
    others.
    """
    if calls is None:
        return {}
    rows = run_sql(
        "report/calls_by_who.sql", relations={"calls": calls}, parameters={}, settings=context.duck
    ).to_pylist()
    summed = ("calls", "tries", "prompt_tokens", "completion_tokens", "price_unknown")
    figures: dict[str, float | int | str] = {
        f"{row['who']}_{name}": int(row[name]) for row in rows for name in summed
    }
    known = [float(row["cost_usd"]) for row in rows if row["cost_usd"] is not None]
    return {**figures, "cost_usd": sum(known)} if known else figures


def _counted(context: Context, conversations: Sequence[Path] | Table) -> list[Counts]:
    relations = {"conversations": conversations}
    return run_sql("failures.sql", relations=relations, parameters={}, settings=context.duck).to_pylist()


def _check(row: Counts, what: str, budget: float, *, key: str, place: str, remedy: str) -> None:
    count, total = int(str(row[what])), int(str(row["conversations"]))
    if count > budget * total:
        words, whys = ("failed", "causes") if what == "failed" else ("have no outcome", "reasons")
        raise FailureBudgetError(
            f"{place}: {count} of {total} conversations {words}, over {key} = {budget:.0%} ({row[whys]}). "
            f"{remedy} {key}"
        )
