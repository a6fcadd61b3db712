"""The fidelity of simulated users as sentences and rows with names for people. Pure."""

from collections.abc import Sequence

from itpo_core.fidelity import Fidelity, Finding
from tasks.fidelity import KEEP_CALLS, Comparison
from tasks.report_answers import Answer
from tasks.report_tables import Cells
from tasks.report_words import UNKNOWN

QUESTION = "Do simulated users behave like logged ones?"


def fidelity_rows(comparison: Comparison) -> Cells:
    """One row per feature, the worst first; features of which too little was seen at the end."""
    if comparison.found is None:
        return []
    judged = [_row(each) for each in comparison.found.findings]
    return judged + [
        {**dict.fromkeys(("logged", "simulated", "distance", "limit", "scale"), UNKNOWN),
         "feature": each.title, "verdict": f"not judged: {each.reason}"}
        for each in comparison.found.unjudged
    ]  # fmt: skip


def fidelity_sentence(comparison: Comparison) -> str:
    """The index, what is wrong by name, and the worst feature; or why there is no index."""
    if comparison.found is None:
        return f"not compared: {comparison.reason}"
    found = comparison.found
    within = sum(each.fault is None for each in found.findings)
    parts = [
        f"{within} of {len(found.findings)} features ({100 * found.index:.0f} %) lie within what two halves "
        "of the logs differ by",
        faults(found.faults),
        f"furthest out: {found.worst.title}, {found.worst.distance:.3f} where the halves stay within "
        f"{found.worst.limit:.3f}",
    ]
    if comparison.failed:
        parts.append(f"{comparison.failed} answers failed and are left out, {KEEP_CALLS}")
    return "; ".join(parts)


def fidelity_answer(comparison: Comparison) -> Answer:
    """The same as an answer of the page."""
    if comparison.found is None:
        return Answer(QUESTION, f"{fidelity_sentence(comparison)}.", "plain", "fidelity")
    tone = "bad" if comparison.found.faults else "good"
    return Answer(QUESTION, f"{fidelity_sentence(comparison)}.", tone, "fidelity")


def faults(names: Sequence[str]) -> str:
    """`the simulated user never stops; …`, or that nothing is wrong."""
    return "no fault is named" if not names else f"the simulated user: {', '.join(names)}"


def source_line(comparison: Comparison, found: Fidelity) -> str:
    """What stands under the table."""
    sizes = f"{found.logged} logged and {found.simulated} simulated conversations"
    return f"simulated users {comparison.how}; {sizes}"


def _row(finding: Finding) -> dict[str, str]:
    return {
        "feature": finding.title,
        "logged": UNKNOWN if finding.logged is None else f"{finding.logged:.3f}",
        "simulated": UNKNOWN if finding.simulated is None else f"{finding.simulated:.3f}",
        "distance": f"{finding.distance:.3f} [{finding.lower:.3f}, {finding.upper:.3f}]",
        "limit": f"{finding.limit:.3f}",
        "scale": finding.scale.value,
        "verdict": "within" if finding.fault is None else finding.fault,
    }
