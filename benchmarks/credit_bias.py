"""The bias of every credit method, and the bounds of an improvement step, exactly: tables of docs/method.md.

Run as `python -m benchmarks.credit_bias` (half a minute); it writes them between the marks on the page.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

from itpo_core.credit import CreditMethod
from itpo_core.tabular import collecting_policy, dialogue_mdp, evaluate, improvement_bound, regularised
from itpo_core.tabular_bias import (
    BiasCase,
    groups_of_two,
    large_group_scalars,
    large_groups,
    method_bias,
)
from itpo_core.tabular_gradients import Bias
from storage.paths import repository_root

PAGE = repository_root() / "docs" / "method.md"
SECTIONS = ("bias", "bound")
UNBIASED = 1e-3
SMALL, LARGE = 128, 2_048

Method = CreditMethod


@dataclass(frozen=True, slots=True)
class Row:
    """One line: the name in print and the method."""

    name: str
    method: CreditMethod


WITHOUT_SCORES = (
    Row("outcome, rloo", Method("outcome", "rloo")),
    Row("outcome, grpo", Method("outcome", "grpo")),
    Row("outcome, grpo, batch std", Method("outcome", "grpo", std="batch")),
    Row("outcome, reinforce_pp", Method("outcome", "reinforce_pp")),
    Row("outcome, ppo, exact V, λ = 0", Method("outcome", "ppo", gae_lambda=0.0)),
    Row("outcome, ppo, exact V, λ = 0.9", Method("outcome", "ppo", gae_lambda=0.9)),
    Row("outcome, ppo, exact V, λ = 1", Method("outcome", "ppo", gae_lambda=1.0)),
    Row("uniform, rloo", Method("uniform", "rloo")),
    Row("uniform, rloo, reward-to-go", Method("uniform", "rloo", to_go="reward_to_go")),
    Row("uniform, released baseline", Method("uniform", "rloo", profile="itpo_reference")),
    Row("dirichlet, rloo", Method("dirichlet", "rloo")),
    Row("prefix_value, exact V", Method("prefix_value", "rloo")),
    Row("oracle_pi", Method("oracle_pi", "rloo")),
    Row("oracle_star", Method("oracle_star", "rloo")),
    Row("dueling_advantage, rloo", Method("dueling_advantage", "rloo")),
    Row(
        "dueling log-ratio alone", Method("dueling_advantage", "rloo", outcome_weight=0.0, signal_weight=1.0)
    ),
)
WITH_SCORES = (
    Row("itpo, released baseline", Method("itpo", "rloo", profile="itpo_reference")),
    Row("itpo, rloo", Method("itpo", "rloo")),
    Row("norm_itpo, released baseline", Method("norm_itpo", "rloo", profile="itpo_reference")),
    Row("norm_itpo, rloo", Method("norm_itpo", "rloo")),
    Row("norm_itpo, grpo", Method("norm_itpo", "grpo")),
    Row("norm_itpo, ppo, λ = 1", Method("norm_itpo", "ppo", gae_lambda=1.0)),
    Row("norm_itpo_plain, rloo", Method("norm_itpo_plain", "rloo")),
    Row("norm_itpo_signed", Method("norm_itpo_signed", "rloo")),
    Row("norm_itpo_share 0.5, rloo", Method("norm_itpo_share", "rloo")),
    Row("norm_itpo_share 0.5, grpo", Method("norm_itpo_share", "grpo")),
    Row("norm_itpo_share 1.0, rloo", Method("norm_itpo_share", "rloo", share=1.0)),
    Row("dirichlet_matched, rloo", Method("dirichlet_matched", "rloo")),
    Row("itpo_plus_outcome, rloo", Method("itpo_plus_outcome", "rloo")),
    Row("immediate_plus_outcome, rloo", Method("immediate_plus_outcome", "rloo")),
    Row("prime_token, rloo", Method("prime_token", "rloo")),
)
OF_PAIRS = (
    Row("outcome, rloo", Method("outcome", "rloo")),
    Row("outcome, grpo", Method("outcome", "grpo")),
    Row("norm_itpo_share 0.5, grpo", Method("norm_itpo_share", "grpo")),
    Row("itpo, rloo", Method("itpo", "rloo")),
    Row("norm_itpo, rloo", Method("norm_itpo", "rloo")),
)
BETAS = (0.05, 0.2, 1.0, 5.0)
ERRORS, STEP_BETA = (0.0, 0.005, 0.02, 0.05, 0.1, 0.2), 0.1

# The large batches are the same for every row; each takes a second to make.
law = cache(large_groups)


def main() -> None:
    """Write the tables into the page, each between its marks."""
    text = PAGE.read_text(encoding="utf-8")
    for name, section in zip(SECTIONS, (bias_tables(), bound_table()), strict=True):
        text = replaced(text, name, section=section)
    PAGE.write_text(text, encoding="utf-8")


def replaced(text: str, name: str, *, section: str) -> str:
    """The page with one generated part replaced. Raises ValueError for a page without its marks."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    if begin not in text or end not in text:
        raise ValueError(f"the page lacks {begin} or {end}: put both on lines of their own")
    return text.split(begin)[0] + f"{begin}\n\n{section}\n{end}" + text.split(end)[1]


def bound_table() -> str:
    """One regularised step on the five-turn dialogue, on a Q that is wrong where it does most harm."""
    mdp = dialogue_mdp(turns=5)
    old_KSA = collecting_policy(5)
    values = evaluate(mdp, old_KSA)
    rows = []
    for error in ERRORS:
        q_KSA = values.q_KSA - error * values.advantage_KSA.sign()
        new_KSA = regularised(q_KSA, old_KSA, beta=STEP_BETA)
        found = improvement_bound(mdp, new_KSA, other_KSA=old_KSA, q_KSA=q_KSA, beta=STEP_BETA, error=error)
        parts = (found.change_KS, found.theorem_2_KS, found.moved_chance_KS)
        rows.append([f"{error}", *(f"{float(mdp.start_S @ part[0]):+.3f}" for part in parts)])
    return table(["largest error", "change of success", "Theorem 2", "with moved chance"], rows) + "\n"


def bias_tables() -> str:
    """All four tables of bias in Markdown."""
    parts = (
        "**Methods that use no implicit score.**",
        table(["method", *FIGURES], [_line(row, unscored(row)) for row in WITHOUT_SCORES]),
        "The dueling term as a difference of chances, Q - V, instead of logits: "
        f"{_words(method_bias(law(log_ratios='chances'), WITHOUT_SCORES[-1].method))}.",
        "**Methods that use implicit scores.** The first columns are cosines with scores in closed form,\n"
        "fitted, and of nothing; the other columns belong to the fitted ones.",
        table(SCORED_HEAD, [_scored_line(row) for row in WITH_SCORES]),
        "**Groups of two**, every pair enumerated, scores in closed form.",
        table(["method", *FIGURES[:4]], [_line(row, of_pair(row))[:5] for row in OF_PAIRS]),
        "**The soft score as an advantage by itself**: the larger β, the nearer it comes to Q - V.",
        table(["β", *map(str, BETAS)], [["cosine", *(f"{_alone(beta).cosine:.3f}" for beta in BETAS)]]),
    )
    return "\n\n".join(parts) + "\n"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    rule = ["---"] * len(head)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, rule, *rows))


def unscored(row: Row) -> Bias:
    """A method's bias where no score is read."""
    return method_bias(law(), row.method)


def of_pair(row: Row) -> Bias:
    """A method's bias in groups of two."""
    return method_bias(_pairs(), _with_scalars(row.method))


def scored(row: Row) -> Mapping[str, Bias]:
    """A method's bias with each source of scores."""
    return {source: method_bias(law(source), row.method) for source in ("soft", "fitted", "none")}


def figures(found: Bias) -> list[str]:
    """The columns of one bias."""
    late = " ".join(f"{weight:.2f}" for weight in found.turn_weights)
    noise = "-" if found.noise is None else f"{found.noise:.1f}"
    return [
        "yes" if found.rescaled_error < UNBIASED else "no",
        f"{found.cosine:.3f}",
        f"{found.rescaled_error:.3f}",
        late,
        noise,
        f"{found.alignment(SMALL):.2f}",
        f"{found.alignment(LARGE):.2f}",
    ]


FIGURES = ["unbiased", "cosine", "error", "turns", "noise", "at 128", "at 2,048"]
SCORED_HEAD = ["method", "closed form", "fitted", "nothing", *FIGURES[2:]]


def _line(row: Row, found: Bias) -> list[str]:
    return [f"`{row.name}`", *figures(found)]


def _scored_line(row: Row) -> list[str]:
    found = scored(row)
    cosines = [f"{one.cosine:.3f}" if one.noise is not None else "no update" for one in found.values()]
    return [f"`{row.name}`", *cosines, *figures(found["fitted"])[2:]]


def _words(found: Bias) -> str:
    aligned = f"alignment {found.alignment(SMALL):.2f} at {SMALL}"
    return f"cosine {found.cosine:.3f}, noise {found.noise:.1f}, {aligned}"


def _alone(beta: float) -> Bias:
    return method_bias(
        large_groups(beta=beta),
        Method("immediate_plus_outcome", "rloo", outcome_weight=0.0, signal_weight=1.0),
    )


@cache
def _pairs() -> BiasCase:
    return groups_of_two()


def _with_scalars(method: CreditMethod) -> CreditMethod:
    return replace(method, scalars=large_group_scalars()) if method.algorithm == "norm_itpo" else method


if __name__ == "__main__":
    main()
