"""What sampled turns are worth: a fitted Q (or an ensemble) read on packed rows.

Axes: E members, B conversations, K turns, N branches, L tokens of a branch.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from itpo_core.branches import Branches
from itpo_core.packing import Packed, run_packed
from itpo_core.q_models import QModel
from itpo_core.reward_model import ConversationTokens, reference_logprobs

# packed rows and the reference's log-probabilities of their branches [N, L] (temperature 1) -> parts [E, N]
BranchParts = Callable[[Packed, Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class ActionValues:
    """Q of a branch is `success(base + part)`, on the scale of success, the mean over members.

    `parts` is what tells the turns of one history apart, on the raw scale (logits of a Q fitted to chances):
    beta times the log-ratio to the reference, or a head's output at the last token, which `with_ends` asks
    for. bases_EBK is what all turns of a history share, 0 where nothing is known; logged_EBK is the raw Q of
    the logged turns, None where it is not known.
    """

    parts: BranchParts
    bases_EBK: Tensor
    logged_EBK: Tensor | None = None
    success: Callable[[Tensor], Tensor] = torch.sigmoid
    with_ends: bool = False

    def of(self, parts_EN: Tensor, branches: Branches) -> Tensor:
        """Every member's Q of each branch, on the scale of success, [E, N]."""
        return self.success(self.bases_EBK[:, branches.row_N, branches.turn_N] + parts_EN)

    def of_logged(self, row_N: Tensor, turn_N: Tensor) -> Tensor:
        """Q of logged turns, the mean over members, [N]. Raises ValueError where it is not known."""
        if self.logged_EBK is None:
            raise ValueError("the doubly robust step needs Q of the logged turns: give logged_EBK")
        return self.success(self.logged_EBK[:, row_N, turn_N]).mean(dim=0)


def q_action_values(
    qs: Sequence[QModel],
    conversations: ConversationTokens,
    *,
    reference: PreTrainedModel,
    success: Callable[[Tensor], Tensor] = torch.sigmoid,
) -> ActionValues:
    """Q-functions that were fitted on the conversations of `reference`, as values of fresh turns.

    `success` takes raw outputs to the scale of success: the logistic function for a Q fitted to chances,
    `torch.nn.Identity()` for one fitted to returns. Raises ValueError without members, and for a kind that
    tells no turns apart.
    """
    for q in qs:
        if q.kind not in _PARTS:
            raise ValueError(f"q kind {q.kind!r} says nothing about turns: use one of {', '.join(_PARTS)}")
    if not qs:
        raise ValueError("no Q-function: a single-turn step needs at least one")
    turns = max(int(conversations.turn_BT.max()) + 1, 1)
    known_BT = reference_logprobs(reference, conversations, suppressed_ids=qs[0].suppressed_ids)
    scores = [q.score(conversations, reference_logprobs_BT=known_BT, turns=turns) for q in qs]
    blank_BK = torch.zeros(len(conversations.lengths_B), turns)
    return ActionValues(
        parts=lambda packed, reference_NL: torch.stack(
            [branch_parts(q, packed, reference_NL=reference_NL) for q in qs]
        ),
        bases_EBK=torch.stack([blank_BK if each.values_BK is None else each.values_BK for each in scores]),
        logged_EBK=torch.stack([each.logits_BK for each in scores]),
        success=success,
        with_ends=any(not q.compares for q in qs),
    )


@torch.no_grad()
def branch_parts(q: QModel, packed: Packed, *, reference_NL: Tensor) -> Tensor:
    """What one Q-function says of each branch, [N]; with phi = reference every ratio is exactly 0."""
    return _PARTS[q.kind](q, packed, reference_NL)


def _log_ratios(q: QModel, packed: Packed, reference_NL: Tensor) -> Tensor:
    found = run_packed(q.model, packed, suppressed_ids=q.suppressed_ids, temperature=1.0)
    return q.beta * (found.logprobs_NL - reference_NL).sum(dim=1)


def _heads(q: QModel, packed: Packed, reference_NL: Tensor) -> Tensor:
    found = run_packed(q.model, packed, suppressed_ids=q.suppressed_ids, temperature=1.0)
    if found.ends_NH is None:
        raise ValueError("a head reads at the branch's last token: pack with_ends=True")
    return q.head(found.ends_NH)[:, 0]


_PARTS = {"dueling_logratio": _log_ratios, "implicit_prm": _log_ratios, "scalar_head": _heads}
