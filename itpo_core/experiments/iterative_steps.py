"""One iteration of Iterative PPO: what was said before and after it, what was fitted; and all as a row."""

from dataclasses import asdict, dataclass

from itpo_core.certificate import Certificate
from itpo_core.decision import Gain
from itpo_core.experiments.batches import Collected
from itpo_core.experiments.branch_truths import BranchRanking
from itpo_core.experiments.paired import NORMAL_95, Evidence, change
from itpo_core.q_recipe import QResult
from itpo_core.single_turn import Improvement
from itpo_core.types import Conversation

Row = dict[str, float | int | str | None]


@dataclass(frozen=True, slots=True)
class Spoken:
    """Conversations of one policy: those that count, and as tensors."""

    conversations: tuple[Conversation, ...]
    batch: Collected
    broken: int

    @property
    def success(self) -> float:
        """Mean outcome."""
        return float(self.batch.turns.outcome_B.mean())

    @property
    def turns(self) -> float:
        """Mean number of turns."""
        return float(self.batch.turns.happened_BK.sum(dim=1).double().mean())


@dataclass(frozen=True, slots=True)
class IterativeStep:
    """One iteration. `before` and `after` are fresh collections of the policy before and after it; the parts
    from `improvement` on are None where the gate stayed closed."""

    iteration: int
    before: Spoken
    after: Spoken
    q: QResult
    improvement: Improvement | None
    certificate: Certificate | None
    evidence: Evidence | None
    ranking: BranchRanking | None
    cpu_seconds: float


def figures(step: IterativeStep) -> Row:
    """One iteration as a row; None where a figure does not exist."""
    gain = measured(step.before, step.after)
    return {
        "iteration": step.iteration,
        "conversations": len(step.before.conversations),
        "success": step.before.success,
        "turns": step.before.turns,
        "broken": step.before.broken,
        "success_after": step.after.success,
        "turns_after": step.after.turns,
        "change": gain.mean,
        "change_error": (gain.upper - gain.lower) / (2 * NORMAL_95),
        **_q_figures(step.q),
        **_step_figures(step.improvement),
        **_claims(step.certificate),
        **({} if step.evidence is None else asdict(step.evidence)),
        **({} if step.ranking is None else asdict(step.ranking)),
        "cpu_seconds": step.cpu_seconds,
    }


def measured(before: Spoken, after: Spoken) -> Gain:
    """Change of success from one collection to the next: different scenarios, so the errors add up."""
    return change(
        before.batch.turns.outcome_B,
        after.batch.turns.outcome_B,
        before_group_B=before.batch.turns.group_B,
        after_group_B=after.batch.turns.group_B,
    )


def _q_figures(q: QResult) -> Row:
    found: Row = {
        "gate_open": int(q.gate.open),
        "gate_reason": q.gate.reason,
        "q_best_epoch": q.fits[0].best_epoch,
    }
    if q.judged is None:
        return found
    auc = q.judged.auc
    return {
        **found,
        "held_out": q.judged.conversations,
        "cross_entropy": q.judged.cross_entropy,
        "base_rate_entropy": q.judged.base_rate_entropy,
        "auc": None if auc is None else auc.mean,
        "auc_lower": None if auc is None else auc.lower,
        "auc_upper": None if auc is None else auc.upper,
    }


def _step_figures(improvement: Improvement | None) -> Row:
    if improvement is None:
        return {"steps": 0}
    last = [step for step in improvement.steps if step["epoch"] == improvement.steps[-1]["epoch"]]
    taken = improvement.taken
    return {
        "steps": len(improvement.steps),
        "aborted": int(improvement.abort is not None),
        "divergence": sum(step["kl"] for step in last) / len(last),
        "kl_per_response": taken.movement.kl_per_response,
        "kl_largest_state": taken.movement.kl_largest_state,
        "q_gain_per_turn": taken.movement.q_gain_per_turn,
        "q_gain_logits": taken.q_gain_raw,
        "mean_q_logits": last[-1]["reward_mean"],
        "unclosed_share": taken.unclosed_share,
    }


def _claims(found: Certificate | None) -> Row:
    if found is None:
        return {}
    return {
        "promised": found.promised,
        "delivered": found.delivered,
        "bound": found.bound,
        "direct_bound": found.direct_bound,
        "vacuous": int(found.vacuous),
        "agreement": found.agreement.value,
        "verdict": found.verdict,
    }
