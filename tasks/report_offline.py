"""What the report says of a policy that nobody has met: how it imitates the logs, and who is missing."""

from collections.abc import Mapping

from storage.registry import Decision
from tasks.report_data import IterationFacts
from tasks.report_words import interval, nats, number, signed

OfEvidence = Mapping[str, object]
INFORMATION = "for information: imitation promotes nothing"


def is_unjudged(decision: Decision | None) -> bool:
    """Whether the candidate was held because nobody was there to judge it."""
    return decision is not None and decision.evidence.get("hold_cause") == "no_users"


def offline_rows(found: OfEvidence) -> list[tuple[str, str | None, str]]:
    """Rows of the table of evidence: name, value where there is one, what it is held against."""
    return [
        ("users to judge the candidate", "none" if found.get("hold_cause") == "no_users" else None,
         "at least one, scripted or a language model"),
        ("held-out logged conversations", _known(found, "heldout_conversations", whole=True), INFORMATION),
        *[
            (f"{name} of {arm} on held-out {side}", _known(found, f"{role}_{column}"), INFORMATION)
            for role, arm in (("candidate", "the candidate"), ("incumbent", "its parent"))
            for name, column, side in (
                ("surprise", "success_nats", "successes"), ("surprise", "failure_nats", "failures"),
            )
        ],
        ("by how much likelier the candidate finds what was said (nats per token)",
         _interval(found, "likelier"), INFORMATION),
        ("chance that the better of two is the one that became likelier", _interval(found, "likelier_auc"),
         "0.5 is luck"),
        ("chance that the better of two is the likelier one", _interval(found, "likelihood_auc"),
         "0.5 is luck"),
        ("held-out ranking of the reward model", _interval(found, "reward_heldout_auc"), "0.5 is luck"),
        ("divergence of the candidate from the imitated assistant", _known(found, "behaviour_kl"),
         INFORMATION),
    ]  # fmt: skip


def offline_better(facts: IterationFacts) -> str | None:
    """The answer to whether it got better, where nobody was there to find out; None elsewhere."""
    if facts.decision is None or not is_unjudged(facts.decision):
        return None
    gained = _interval(facts.decision.evidence, "likelier")
    told = "" if gained is None else (
        f" It finds held-out logged conversations likelier than its parent by {gained} nats per token, "
        "which is imitation."
    )  # fmt: skip
    return f"Nobody knows: there are no users to try it on.{told}"


def _known(found: OfEvidence, name: str, *, whole: bool = False) -> str | None:
    if found.get(name) is None:
        return None
    value = number(found[name])
    return f"{int(value):,}" if whole else nats(value)


def _interval(found: OfEvidence, name: str) -> str | None:
    return interval(found, name, write=lambda value: signed(value) if name == "likelier" else f"{value:.3f}")
