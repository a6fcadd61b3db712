"""One pass's material: turns drawn from the present policy, packed, and scored by the reference and by Q.

Axes: B conversations, T tokens, E members of Q, H histories, M draws, N branches, L tokens of a branch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from itpo_core.branch_values import ActionValues
from itpo_core.branches import (
    Branches,
    Drawing,
    Histories,
    branch_seeds,
    joined,
    logged_branches,
    sample_branches,
    visited_histories,
)
from itpo_core.logprobs import check_spoken
from itpo_core.packing import Packed, pack, run_packed
from itpo_core.q_ensemble import pessimistic
from itpo_core.reward_model import ConversationTokens
from itpo_core.single_turn_losses import (
    centred,
    logged_advantages,
    scaled_advantages,
    spread,
    without_profit_from_cuts,
)
from itpo_core.single_turn_settings import SingleTurnSettings
from itpo_core.tiny_policy import suppressed_ids


@dataclass(frozen=True, slots=True)
class Problem:
    """What a step improves on: logged conversations, the policy that spoke them, what turns are worth.

    `outcomes_B`, NaN where there is none, is read by the doubly robust step alone.
    """

    conversations: ConversationTokens
    reference: PreTrainedModel
    values: ActionValues
    end_of_turn_id: int
    outcomes_B: Tensor | None = None

    def drawing(self, settings: SingleTurnSettings) -> Drawing:
        """How turns are drawn: as the reference would speak them."""
        return Drawing(
            self.end_of_turn_id,
            suppressed_ids(self.reference),
            settings.max_new_tokens,
            settings.temperature,
        )


@dataclass(frozen=True, slots=True)
class ScoredBranches:
    """Branches on packed rows, log-probabilities under the reference, and what Q says of each (raw parts).

    The first `histories` x `draws` branches are sampled, those of a history side by side; logged ones follow.
    """

    branches: Branches
    rows: tuple[Packed, ...]
    reference_NL: Tensor
    parts_EN: Tensor
    histories: int
    draws: int
    drawing: Drawing

    @property
    def sampled(self) -> slice:
        """The sampled branches."""
        return slice(0, self.histories * self.draws)

    def by_history(self, values: Tensor) -> Tensor:
        """Values of branches (last axis) as [..., H, M], sampled ones only."""
        return values[..., self.sampled].unflatten(-1, (self.histories, self.draws))

    @property
    def drawn_NL(self) -> Tensor:
        """What ratios are taken to: the log-probability when drawn; of logged turns that of the reference."""
        logged_NL = self.reference_NL[self.histories * self.draws :]
        return torch.cat([self.branches.logprobs_NL[self.sampled], logged_NL])


@dataclass(frozen=True, slots=True)
class Advantages:
    """Of every branch, [N]; `reward_std` is what they were divided by, `reward_mean` what Q says on average.

    `reward_mean` is over all sampled turns as scored, before cut turns lose their profit.
    """

    advantages_N: Tensor
    reward_mean: float
    reward_std: float
    unclosed_share: float


def speaking_rows(turn_BT: Tensor) -> Tensor:
    """Conversations with at least one turn. Raises ValueError when there is none."""
    rows = (turn_BT >= 0).any(dim=1).nonzero()[:, 0]
    if len(rows) == 0:
        raise ValueError(
            f"none of {len(turn_BT)} conversations has a turn: there is no history to improve on"
        )
    return rows


def draw_and_score(
    speaker: PreTrainedModel,
    problem: Problem,
    *,
    groups: Sequence[Tensor],
    settings: SingleTurnSettings,
    root: int,
    with_logged: bool = False,
) -> ScoredBranches:
    """Draw at every history of the grouped conversations, and score; each group becomes one packed batch.

    What a branch says depends on `root`, its conversation, turn and number alone.
    """
    drawing, of = problem.drawing(settings), problem.conversations
    histories = _histories_of(of.turn_BT, torch.cat(list(groups)))
    seeds = branch_seeds(histories, range(len(of.lengths_B)), draws=settings.draws, root=root)
    branches = sample_branches(speaker, of, histories=histories, seeds_N=seeds, drawing=drawing)
    if with_logged:
        branches = joined(branches, _logged(problem, histories))
    rows = tuple(pack(of, branches, rows=g.tolist(), with_ends=problem.values.with_ends) for g in groups)
    scores = [_scored(packed, problem, drawing=drawing) for packed in rows]
    index_N = torch.cat([packed.index_N for packed in rows])
    reference_NL = torch.cat([reference for reference, _ in scores])
    parts_EN = torch.cat([parts for _, parts in scores], dim=1)
    back_N = index_N.argsort()
    return ScoredBranches(
        branches,
        rows,
        reference_NL[back_N],
        parts_EN[:, back_N],
        histories=len(histories.row_H),
        draws=settings.draws,
        drawing=drawing,
    )


def advantages_of(scored: ScoredBranches, problem: Problem, *, settings: SingleTurnSettings) -> Advantages:
    """Of sampled turns among those of their history, of logged ones against what Q says of them.

    The plain step takes raw rewards and divides by their spread; the doubly robust one takes both kinds on
    the scale of success and divides by the spread of the outcomes, so that they can be added. Raises
    ValueError for a reward that is not finite.
    """
    found_EN = (
        problem.values.of(scored.parts_EN, scored.branches) if settings.doubly_robust else scored.parts_EN
    )
    values_EHM = scored.by_history(found_EN)
    if not bool(values_EHM.isfinite().all()):
        raise ValueError(
            "Q gave a sampled turn a value that is not finite: refit it, or leave the member out"
        )
    is_closed_HM = scored.by_history(scored.branches.is_closed_N)
    # Centred member by member: what they think of the state is no disagreement about the turn.
    centred_EHM = torch.stack([centred(values_HM) for values_HM in values_EHM])
    rewards_HM = without_profit_from_cuts(
        pessimistic(centred_EHM, pessimism=settings.pessimism), is_closed_HM, margin=settings.unclosed_margin
    )
    scale = _outcome_spread(problem) if settings.doubly_robust else spread(rewards_HM)
    advantages_HM = scaled_advantages(rewards_HM, scale=scale, limit=settings.advantage_limit)
    logged_N = _logged_advantages(scored, problem, scale=scale)
    return Advantages(
        torch.cat([advantages_HM.flatten(), logged_N]),
        reward_mean=float(values_EHM.mean()),
        reward_std=scale,
        unclosed_share=float((~is_closed_HM).float().mean()),
    )


def _histories_of(turn_BT: Tensor, rows: Tensor) -> Histories:
    every = visited_histories(turn_BT)
    kept = torch.isin(every.row_H, rows)
    return Histories(every.row_H[kept], every.turn_H[kept], every.start_H[kept])


def _logged(problem: Problem, histories: Histories) -> Branches:
    """The logged turns of the histories' conversations, where the outcome is known."""
    outcomes_B, of = _outcomes(problem), problem.conversations
    check_spoken(of.tokens_BT, of.is_policy_BT, suppressed_ids=suppressed_ids(problem.reference))
    nobody_BT = torch.zeros(of.tokens_BT.shape)
    every = logged_branches(of, nobody_BT, end_of_turn_id=problem.end_of_turn_id)
    kept_N = torch.isin(every.row_N, histories.row_H) & ~outcomes_B[every.row_N].isnan()
    return every.of(kept_N.nonzero()[:, 0])


@torch.no_grad()
def _scored(packed: Packed, problem: Problem, *, drawing: Drawing) -> tuple[Tensor, Tensor]:
    """Log-probabilities under the reference as drawn from, and Q's parts, of one packed batch."""
    never, temperature = drawing.suppressed_ids, drawing.temperature
    found = run_packed(problem.reference, packed, suppressed_ids=never, temperature=temperature)
    plain = found
    if temperature != 1.0:
        # Q was fitted to the policy itself, whatever the temperature at which turns are drawn.
        plain = run_packed(problem.reference, packed, suppressed_ids=never, temperature=1.0)
    return found.logprobs_NL, problem.values.parts(packed, plain.logprobs_NL)


def _logged_advantages(scored: ScoredBranches, problem: Problem, *, scale: float) -> Tensor:
    row_N = scored.branches.row_N[scored.sampled.stop :]
    if len(row_N) == 0:
        return torch.zeros(0)
    values_N = problem.values.of_logged(row_N, scored.branches.turn_N[scored.sampled.stop :])
    return logged_advantages(_outcomes(problem)[row_N], values_N, draws=scored.draws, scale=scale)


def _outcomes(problem: Problem) -> Tensor:
    if problem.outcomes_B is None:
        raise ValueError("the doubly robust step needs the outcomes of the logged conversations: outcomes_B")
    return problem.outcomes_B


def _outcome_spread(problem: Problem) -> float:
    known = _outcomes(problem)[~_outcomes(problem).isnan()]
    found = float(known.std(correction=0)) if len(known) else 0.0
    if found <= 0:
        raise ValueError(
            f"all {len(known)} known outcomes are alike: nothing to correct Q by; use the plain step"
        )
    return found
