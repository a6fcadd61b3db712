"""The questions that a reader has first, each answered in a sentence from one iteration's facts. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from storage import registry
from tasks.config import Decide, Reward
from tasks.report_data import IterationFacts, Row, Rows
from tasks.report_offline import offline_better
from tasks.report_words import (
    FATES,
    METHODS,
    count,
    interval,
    nats,
    number,
    percent,
    signed,
    spoken,
)

Tone = Literal["good", "bad", "plain"]
TONES: Mapping[str, Tone] = {"promote": "good", "hold": "plain", "rollback": "bad"}
PLACEBO, SPARSE = "dirichlet", "outcome"


@dataclass(frozen=True, slots=True)
class Answer:
    """A question, its answer with the numbers, whether that is good news, and the section that shows more."""

    question: str
    text: str
    tone: Tone
    section: str


def answers(facts: IterationFacts, *, decide: Decide, reward: Reward) -> list[Answer]:
    """Every question that this iteration can answer, the most important first."""
    found = (
        better(facts),
        decided(facts),
        cost(facts),
        dropped(facts),
        credit(facts),
        drift(facts, decide),
        trusted(facts, reward),
    )
    return [answer for answer in found if answer is not None]


def better(facts: IterationFacts) -> Answer | None:
    """The paired gains of the candidate, on held-out scenarios; for version 0 its mean outcome."""
    evidence = {} if facts.decision is None else facts.decision.evidence
    total, last = interval(evidence, "gain_over_initial"), interval(evidence, "gain")
    question, unknown = "Did the policy get better?", offline_better(facts)
    if unknown is not None:
        return Answer(question, unknown, "plain", "decisions")
    if total is None or last is None:
        start = _arm(facts, "candidate")
        if start is None:
            return None
        level = percent(_of(start, "success"))
        text = f"This is where it starts: {level} is the mean outcome on unseen scenarios."
        return Answer(question, text, "plain", "success")
    candidate, initial = _arm(facts, "candidate"), _arm(facts, "initial")
    pairs = count(int(number(evidence["gain_over_initial_pairs"])), "pair")
    levels = (
        f" ({percent(_of(initial, 'success'))} → {percent(_of(candidate, 'success'))})"
        if candidate and initial
        else ""
    )
    text = (
        f"{total} points over version 0{levels}; {last} points over the incumbent; {pairs}, unseen scenarios."
    )
    return Answer(question, text, _tone(number(evidence["gain_over_initial_lower"])), "success")


def decided(facts: IterationFacts) -> Answer | None:
    """The decision and its reason in words."""
    if facts.decision is None:
        return None
    tone = TONES[facts.decision.action]
    who = registry.speaker_after(facts.decision) or "Nobody"
    text = f"{facts.decision.action}: {facts.decision.reason}. {who} speaks now."
    return Answer("What was decided, and why?", text, tone, "decisions")


def cost(facts: IterationFacts) -> Answer | None:
    """Tokens and turns of a conversation, beside those of version 0 on the same scenarios."""
    candidate, initial = _arm(facts, "candidate"), _arm(facts, "initial")
    if candidate is None:
        return None
    before = "" if initial is None else f"; version 0 took {_cost(initial)} on the same scenarios"
    return Answer("At what cost?", f"{_cost(candidate)} per conversation{before}.", "plain", "success")


def dropped(facts: IterationFacts) -> Answer | None:
    """How many conversations may not train, and why."""
    if not facts.drops.rows:
        return None
    total = sum(_count(row) for row in facts.drops.rows)
    lost = [row for row in facts.drops.rows if row["fate"] != "kept"]
    if not lost:
        text = f"None: all {count(total, 'conversation')} may train."
        return Answer("Where were conversations dropped?", text, "good", "drops")
    reasons = ", ".join(f"{spoken(str(row['fate']), FATES)} {_count(row):,}" for row in lost)
    share = percent(sum(_count(row) for row in lost) / total)
    text = f"{sum(_count(row) for row in lost):,} of {total:,} ({share}): {reasons}."
    return Answer("Where were conversations dropped?", text, "plain", "drops")


def credit(facts: IterationFacts) -> Answer | None:
    """For the algorithm that trained: the sign of its credit by kind of turn, and its rank correlation."""
    agreement = {str(row["method"]): row for row in facts.credited.agreement.rows}
    ranks = {str(row["method"]): row["spearman"] for row in facts.credited.ranks.rows}
    name = facts.algorithm
    if name is None or name not in agreement:
        return None
    row = agreement[name]
    text = (
        f"{spoken(name, METHODS)}: the sign of the truth on {row['agreeing_kinds']} of "
        f"{count(int(number(row['kinds'])), 'kind')} of turn "
        f"({percent(number(row['agreeing_share']))} of the turns), the opposite on {row['opposing_kinds']} "
        f"({percent(number(row['opposing_share']))}), the rest undecided"
    )
    names = dict.fromkeys((name, PLACEBO, SPARSE))
    known = [
        f"{spoken(key, METHODS)} {signed(number(ranks[key]))}" for key in names if ranks.get(key) is not None
    ]
    ranked = f". Rank correlation with the truth: {', '.join(known)}" if known else ""
    tone: Tone = "bad" if number(row["opposing_share"]) > number(row["agreeing_share"]) else "plain"
    return Answer("Does the credit agree with the truth?", f"{text}{ranked}.", tone, "credit")


def drift(facts: IterationFacts, limits: Decide) -> Answer | None:
    """KL and entropy against their limits, and turns that were cut."""
    evidence = {} if facts.decision is None else facts.decision.evidence
    kl, entropy = evidence.get("kl"), evidence.get("entropy")
    if kl is None or entropy is None:
        return None
    is_healthy = number(kl) <= limits.max_kl and number(entropy) >= limits.min_entropy
    text = (
        f"{'No limit was broken' if is_healthy else 'A limit was broken'}: KL to the parent "
        f"{nats(number(kl))} (at most {limits.max_kl:g}), "
        f"entropy {nats(number(entropy))} (at least {limits.min_entropy:g}), "
        f"{percent(cut_share(facts.said.endings.rows))} of the turns cut at the token limit."
    )
    return Answer("Did anything drift?", text, "good" if is_healthy else "bad", "drift")


def trusted(facts: IterationFacts, settings: Reward) -> Answer | None:
    """The reward model's held-out ranking with its interval, and whether its gate let it give credit."""
    figures = reward_figures(facts)
    question = "Is the reward model trustworthy?"
    if not figures:
        return None
    auc = interval(figures, "heldout_auc", write=lambda value: f"{value:.2f}")
    if auc is None:
        return Answer(question, "Unknown: no held-out conversations of different outcomes.", "bad", "reward")
    judged = count(int(figures["heldout_conversations"]), "conversation")
    gate, is_open = "", figures.get("gate_open") == 1.0
    if "gate_open" in figures:
        gate = f"; its gate is {'open' if is_open else 'closed'} (at least {settings.min_heldout_auc:g})"
    tone: Tone = "good" if is_open and figures["heldout_auc_lower"] > 0.5 else "plain"
    if "gate_open" in figures and not is_open:
        tone = "bad"
    text = (
        f"The better of two held-out conversations scores higher with chance {auc}, on {judged}"
        f" (0.5 is luck){gate}."
    )
    return Answer(question, text, tone, "reward")


def reward_figures(facts: IterationFacts) -> dict[str, float]:
    """The reward model's figures under their short names."""
    return {name.removeprefix("fit_reward/"): value for name, value in facts.reward.items()}


def cut_share(endings: Rows) -> float:
    """Share of assistant turns that were cut at the token limit."""
    turns = [row for row in endings if row["level"] == "finish"]
    total = sum(int(number(row["occurrences"])) for row in turns)
    cut = sum(int(number(row["occurrences"])) for row in turns if row["reason"] == "length")
    return cut / total if total else 0.0


def arms_of(facts: IterationFacts, role: str, *, split: str) -> Sequence[Row]:
    """The row of this role's version among the arms: one, or none."""
    version = facts.evaluated.roles.get(role)
    rows = facts.evaluated.arms.rows
    return [row for row in rows if row["policy_version"] == version and row["split"] == split]


def _arm(facts: IterationFacts, role: str) -> Row | None:
    return next(iter(arms_of(facts, role, split="unseen")), None)


def _cost(arm: Row) -> str:
    return f"{number(arm['mean_tokens']):.1f} assistant tokens in {number(arm['mean_turns']):.2f} turns"


def _of(row: Row, name: str) -> float | None:
    return None if row[name] is None else number(row[name])


def _count(row: Row) -> int:
    return int(number(row["conversations"]))


def _tone(lower: float) -> Tone:
    return "good" if lower > 0 else "plain"
