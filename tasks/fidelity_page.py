"""What the terminal shows of simulated users against logged ones."""

from rich.table import Table

from tasks.console import OUT
from tasks.context import Context
from tasks.fidelity import Comparison, in_iteration, in_their_place
from tasks.fidelity_remedies import remedies
from tasks.plain_text import one_line, plain, print_table
from tasks.report_fidelity import fidelity_rows, fidelity_sentence, source_line

COLUMNS = ("feature", "logged", "simulated", "distance", "limit", "scale", "verdict")


def comparison_of(context: Context, iteration: int | None, *, conversations: int) -> Comparison:
    """In the logged users' place, or in the rollouts of an iteration."""
    if iteration is None:
        return in_their_place(context, conversations=conversations)
    return in_iteration(context, conversations=conversations)


def show(comparison: Comparison, *, users: str) -> None:
    """The table, the worst feature first, then the sentence, and what to do for users of this kind."""
    rows = fidelity_rows(comparison)
    if rows and comparison.found is not None:
        table = Table(*COLUMNS, title="simulated users against logged ones")
        for row in rows:
            table.add_row(*(plain(row[name]) for name in COLUMNS))
        print_table(table, out=OUT)
        OUT.print(one_line(source_line(comparison, comparison.found)), soft_wrap=True, markup=False)
    OUT.print(one_line(fidelity_sentence(comparison)), soft_wrap=True, markup=False)
    if comparison.found is not None:
        for line in remedies(comparison.found.faults, users=users):
            OUT.print(one_line(f"- {line}"), soft_wrap=True, markup=False)
