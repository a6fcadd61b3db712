"""Small conversations and Q-functions for the tests of what fits and judges them."""

import copy

import torch
from torch import Tensor

from itpo_core.q_fit import QData, QFitSettings
from itpo_core.q_models import QModel, new_q, turn_places
from itpo_core.q_targets import monte_carlo_targets
from itpo_core.reward_model import ConversationTokens, reference_logprobs
from tests.itpo_core.tiny_models import NEVER, streams, tiny_model

GOOD, BAD = 6, 7
TURNS = 2
SETTINGS = QFitSettings(learning_rate=3e-3, head_learning_rate=1e-2, epochs=3, minibatch=16, warmup_steps=2)


def spoken(rows: int, *, seed: int = 0) -> tuple[ConversationTokens, Tensor]:
    """Half of the conversations open their second turn with GOOD and succeed; the others say BAD and fail."""
    tokens_BT, turn_BT, lengths_B = streams([7 + row % 3 for row in range(rows)], seed=seed)
    outcome_B = (torch.arange(rows) % 2).float()
    tokens_BT[:, 5] = torch.where(outcome_B == 1, GOOD, BAD)
    return ConversationTokens(tokens_BT, turn_BT, lengths_B), outcome_B


def fresh_q(kind: str = "dueling_logratio", *, beta: float = 1.0) -> QModel:
    """One that has learnt nothing, on the tiny model."""
    return new_q(kind, tiny_model(), beta=beta, suppressed_ids=NEVER)


def random_q(kind: str, *, seed: int = 3) -> QModel:
    """One whose trunk differs from the reference and whose head says something."""
    q = new_q(kind, tiny_model(seed=seed), beta=0.5, suppressed_ids=NEVER)
    with torch.no_grad():
        generator = torch.Generator().manual_seed(seed)
        q.head.bias.fill_(0.3)
        if q.head.weight.requires_grad:
            q.head.weight.copy_(torch.randn(q.head.weight.shape, generator=generator))
    return q


def reference_of(conversations: ConversationTokens) -> Tensor:
    """Log-probabilities under the tiny model."""
    return reference_logprobs(tiny_model(), conversations, suppressed_ids=NEVER)


def data_of(conversations: ConversationTokens, outcome_B: Tensor) -> QData:
    """Monte-Carlo targets and the tiny model as reference."""
    happened_BK = turn_places(conversations.turn_BT, turns=TURNS).happened_BK
    targets_BK = monte_carlo_targets(outcome_B, happened_BK, gamma=1.0)
    return QData(conversations, targets_BK, reference_of(conversations))


def weights_of(q: QModel) -> dict[str, Tensor]:
    """A copy of trunk and head."""
    return copy.deepcopy({**q.model.state_dict(), **q.head.state_dict()})
