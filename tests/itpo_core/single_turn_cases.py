"""A small improvement problem: random conversations, a random policy, and a phi that lies near it."""

import copy
from dataclasses import replace

import torch
from transformers import PreTrainedModel

from itpo_core.branch_values import q_action_values
from itpo_core.packing import run_packed, token_divergences
from itpo_core.q_models import new_q
from itpo_core.reward_model import ConversationTokens
from itpo_core.scored_branches import Problem, draw_and_score, speaking_rows
from itpo_core.single_turn_settings import SingleTurnSettings
from itpo_core.tiny_policy import create_policy
from tests.itpo_core.branching import END, conversations
from tests.itpo_core.policies import WORDS

# Three words and the end of turn: a random policy soon closes its turns.
SILENT = tuple(token for token in range(6 + len(WORDS)) if token not in (END, 6, 7, 8))
SETTINGS = SingleTurnSettings(
    passes=2, conversations_per_pass=8, conversations_per_step=4, max_new_tokens=6, abort_window=2
)


def policy() -> PreTrainedModel:
    """A fresh policy that hears the shared words and speaks three of them."""
    model = create_policy(WORDS, "xs", seed=0)[0]
    assert model.generation_config is not None
    model.generation_config.suppress_tokens = list(SILENT)
    return model


def near(model: PreTrainedModel, *, noise: float = 0.02, seed: int = 3) -> PreTrainedModel:
    """A copy with other weights, so that it speaks a little differently."""
    other, generator = copy.deepcopy(model), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(noise * torch.randn(parameter.shape, generator=generator))
    return other


def spoken_conversations() -> ConversationTokens:
    """Eight random conversations whose turns are words that the policy speaks."""
    of = conversations(rows=8)
    return replace(of, tokens_BT=torch.where(of.is_policy_BT, 6 + of.tokens_BT % 3, of.tokens_BT))


def problem(
    reference: PreTrainedModel,
    *phis: PreTrainedModel,
    kind: str = "dueling_logratio",
    outcomes: list[float] | None = None,
) -> Problem:
    """Improve on eight random conversations under Q-functions with these models."""
    of = spoken_conversations()
    qs = [new_q(kind, phi, suppressed_ids=SILENT) for phi in phis]
    return Problem(
        of,
        reference,
        q_action_values(qs, of, reference=reference),
        END,
        None if outcomes is None else torch.tensor(outcomes),
    )


def divergence(model: PreTrainedModel, other: PreTrainedModel) -> float:
    """KL(model || other) per response, on fresh responses of the model at every history."""
    of = problem(other, other)
    rows = speaking_rows(of.conversations.turn_BT)
    scored = draw_and_score(model, of, groups=[rows], settings=SETTINGS, root=17)
    with torch.no_grad():
        passes = [
            run_packed(each, scored.rows[0], suppressed_ids=SILENT, temperature=1.0)
            for each in (model, other)
        ]
    return float(token_divergences(*passes).sum(dim=1).mean())
