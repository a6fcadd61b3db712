"""Tabular conversations as the batch that credit is computed from, with everything that a method may ask for.

Axes: B conversations, K turns, T tokens, S states, A acts.
"""

from dataclasses import dataclass
from itertools import permutations

import torch
from torch import Tensor

from itpo_core.tabular import TabularMdp, evaluate, solve
from itpo_core.tabular_conversations import Conversations, look_up
from itpo_core.turn_batch import TurnBatch

# Policy tokens of ASK, GUESS and CHAT: of unequal length, as length normalisation has to see some.
TOKENS_OF_ACT = (3, 2, 4)
# The means of the smallest, middle and largest of three Exp(1) draws.
TYPICAL_DRAWS = (1 / 3, 5 / 6, 11 / 6)


@dataclass(frozen=True, slots=True)
class Tables:
    """What the models say, [K, S, A]: implicit scores, and a dueling Q's log-ratio term."""

    scores_KSA: Tensor
    log_ratios_KSA: Tensor


def turn_batch(
    of: Conversations, group_B: Tensor, *, mdp: TabularMdp, policy_KSA: Tensor, tables: Tables
) -> TurnBatch:
    """The conversations as one batch. Exact V before the turn, exact Q - V and Q* - V*, no token cost.

    A turn's first token is the one that decides, so that its token score is the turn's and the others' are 0;
    one user token stands after every turn. `draws_BK` are the same for all rows, see `in_every_order`.
    """
    values = evaluate(mdp, policy_KSA)
    tokens_BK = torch.where(of.happened_BK, torch.tensor(TOKENS_OF_ACT)[of.acts_BK], 0)
    scores_BK = look_up(of, tables.scores_KSA)
    turn_index_BT, first_BT = _token_layout(tokens_BK)
    return TurnBatch(
        group_B=group_B,
        valid_B=torch.ones_like(group_B, dtype=torch.bool),
        outcome_B=of.outcome_B,
        reward_B=of.outcome_B,
        advantage_B=torch.zeros_like(of.outcome_B),
        happened_BK=of.happened_BK,
        tokens_BK=tokens_BK,
        scores_BK=scores_BK,
        draws_BK=torch.ones_like(scores_BK),
        oracle_BK=look_up(of, values.advantage_KSA),
        values_BK=look_up(of, values.v_KS[..., None].expand_as(policy_KSA)),
        log_ratios_BK=look_up(of, tables.log_ratios_KSA),
        oracle_star_BK=look_up(of, solve(mdp).advantage_KSA),
        token_scores_BT=torch.where(first_BT, scores_BK.gather(1, turn_index_BT.clamp(min=0)), 0),
        turn_index_BT=turn_index_BT,
    )


def in_every_order(of: Conversations) -> tuple[Conversations, Tensor]:
    """Every conversation six times, with typical draws [6 B, 3] in every order: exact means of random splits.

    Raises ValueError for conversations of more than three turns.
    """
    if of.happened_BK.shape[1] != len(TYPICAL_DRAWS):
        raise ValueError(f"{of.happened_BK.shape[1]} turns: there are draws for {len(TYPICAL_DRAWS)}")
    orders_MK = torch.tensor(list(permutations(TYPICAL_DRAWS)), dtype=torch.float64)
    count = len(orders_MK)
    repeated = Conversations(
        states_BK=of.states_BK.repeat(count, 1),
        acts_BK=of.acts_BK.repeat(count, 1),
        happened_BK=of.happened_BK.repeat(count, 1),
        outcome_B=of.outcome_B.repeat(count),
        chance_B=of.chance_B.repeat(count) / count,
    )
    return repeated, orders_MK.repeat_interleave(len(of.outcome_B), dim=0)


def deciding_token_advantages(advantages_BT: Tensor, turns: TurnBatch) -> Tensor:
    """Of every turn, the advantage of its first token, the only one that is a choice, [B, K]."""
    starts_BK = (turns.tokens_BK + 1).cumsum(1) - turns.tokens_BK - 1
    return torch.where(turns.happened_BK, advantages_BT.gather(1, starts_BK * turns.happened_BK), 0)


def _token_layout(tokens_BK: Tensor) -> tuple[Tensor, Tensor]:
    """The turn of every token, -1 on user tokens and padding; and whether it is its turn's first."""
    spans_BK = tokens_BK + 1
    ends_BK = spans_BK.cumsum(1)
    places_T = torch.arange(int(ends_BK[:, -1].max()))
    turn_BT = (places_T[None, :, None] >= ends_BK[:, None]).sum(-1)
    inside_BT = turn_BT.clamp(max=tokens_BK.shape[1] - 1)
    offset_BT = places_T - (ends_BK - spans_BK).gather(1, inside_BT)
    speaks_BT = (turn_BT < tokens_BK.shape[1]) & (offset_BT < tokens_BK.gather(1, inside_BT))
    return torch.where(speaks_BT, turn_BT, -1), speaks_BT & (offset_BT == 0)
