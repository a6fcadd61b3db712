"""The bias of any credit method on the three-turn dialogue, by the functions that the product trains with.

Two batches: `large_groups` holds every conversation in exact proportion, so that all means are those of the
law; `groups_of_two` holds every pair of conversations with its chance, which shows what small groups do by
themselves.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import torch
from torch import Tensor

from itpo_core.credit import CreditMethod, credit
from itpo_core.tabular import TabularMdp, collecting_policy, dialogue_mdp, evaluate
from itpo_core.tabular_batch import Tables, deciding_token_advantages, in_every_order, turn_batch
from itpo_core.tabular_conversations import Conversations, enumerate_all, in_proportion, pairs
from itpo_core.tabular_gradients import Bias, bias
from itpo_core.tabular_scores import dueling_log_ratios, fitted_scores, soft_scores
from itpo_core.turn_batch import BatchScalars, TurnBatch
from itpo_core.turn_rewards import batch_scalars

TURNS = 3
BETA = 0.2
RANDOM_SPLITS = frozenset({"dirichlet", "dirichlet_matched"})


@dataclass(frozen=True, slots=True)
class BiasCase:
    """A dialogue, a policy, its conversations and the batch that holds them."""

    mdp: TabularMdp
    policy_KSA: Tensor
    conversations: Conversations
    tables: Tables
    turns: TurnBatch


def _soft(mdp: TabularMdp, policy_KSA: Tensor, beta: float) -> Tensor:
    return soft_scores(evaluate(mdp, policy_KSA), beta=beta)


def _fitted(mdp: TabularMdp, policy_KSA: Tensor, beta: float) -> Tensor:
    return fitted_scores(enumerate_all(mdp, policy_KSA), policy_KSA, beta=beta)


def _uninformed(mdp: TabularMdp, policy_KSA: Tensor, beta: float) -> Tensor:
    return torch.zeros_like(policy_KSA)


def _logits(mdp: TabularMdp, policy_KSA: Tensor) -> Tensor:
    return dueling_log_ratios(evaluate(mdp, policy_KSA), policy_KSA, beta=1.0)


def _chances(mdp: TabularMdp, policy_KSA: Tensor) -> Tensor:
    return evaluate(mdp, policy_KSA).advantage_KSA


SCORES: Mapping[str, Callable[[TabularMdp, Tensor, float], Tensor]] = MappingProxyType(
    {"soft": _soft, "fitted": _fitted, "none": _uninformed}
)
LOG_RATIOS: Mapping[str, Callable[[TabularMdp, Tensor], Tensor]] = MappingProxyType(
    {"logits": _logits, "chances": _chances}
)


def large_groups(scores: str = "soft", *, beta: float = BETA, log_ratios: str = "logits") -> BiasCase:
    """All conversations of one start state are one group, 65,536 rows in all.

    `scores` names what the implicit reward model knows: "soft" the outcome, in closed form; "fitted" what
    endless training on outcomes ends in; "none" nothing. `log_ratios` names the dueling Q's term: "logits" as
    it is fitted, "chances" for Q - V itself.
    """
    mdp, policy_KSA = dialogue_mdp(TURNS), collecting_policy(TURNS)
    tables = _tables(mdp, policy_KSA, scores=scores, beta=beta, log_ratios=log_ratios)
    all_of = in_proportion(enumerate_all(mdp, policy_KSA))
    return _case(mdp, policy_KSA, conversations=all_of, group_B=all_of.start_B, tables=tables)


def groups_of_two(scores: str = "soft", *, beta: float = BETA) -> BiasCase:
    """Every pair of conversations with the same start state is one group, with its chance.

    Whatever is taken over the whole batch (whitening, Norm-ITPO's scalars) would count rare pairs like
    frequent ones: methods that whiten are not meant for it, and Norm-ITPO needs `large_group_scalars`.
    """
    mdp, policy_KSA = dialogue_mdp(TURNS), collecting_policy(TURNS)
    tables = _tables(mdp, policy_KSA, scores=scores, beta=beta, log_ratios="logits")
    both, group_B = pairs(enumerate_all(mdp, policy_KSA))
    return _case(mdp, policy_KSA, conversations=both, group_B=group_B, tables=tables)


def large_group_scalars(scores: str = "soft", *, beta: float = BETA) -> BatchScalars:
    """Norm-ITPO's two scalars of the law: mean turn length and the largest return of scores."""
    turns = large_groups(scores, beta=beta).turns
    return batch_scalars(turns.scores_BK, turns.tokens_BK, happened_BK=turns.happened_BK)


def method_bias(case: BiasCase, method: CreditMethod) -> Bias:
    """The expected update of a credit method, by `credit` itself, against the true gradient.

    A random split is taken over draws in every order. Raises ValueError as `credit` does.
    """
    case = _in_every_order(case) if method.algorithm in RANDOM_SPLITS else case
    credited = credit(case.turns, method)
    advantages_BK = credited.advantages_BK
    if credited.token_advantages_BT is not None:
        advantages_BK = deciding_token_advantages(credited.token_advantages_BT, case.turns)
    return bias(case.conversations, advantages_BK, mdp=case.mdp, policy_KSA=case.policy_KSA)


def _tables(mdp: TabularMdp, policy_KSA: Tensor, *, scores: str, beta: float, log_ratios: str) -> Tables:
    if scores not in SCORES or log_ratios not in LOG_RATIOS:
        raise ValueError(
            f"scores {scores!r}, log_ratios {log_ratios!r}: choose from {', '.join(SCORES)} and"
            f" {', '.join(LOG_RATIOS)}"
        )
    return Tables(
        scores_KSA=SCORES[scores](mdp, policy_KSA, beta),
        log_ratios_KSA=LOG_RATIOS[log_ratios](mdp, policy_KSA),
    )


def _case(
    mdp: TabularMdp, policy_KSA: Tensor, *, conversations: Conversations, group_B: Tensor, tables: Tables
) -> BiasCase:
    turns = turn_batch(conversations, group_B, mdp=mdp, policy_KSA=policy_KSA, tables=tables)
    return BiasCase(mdp, policy_KSA, conversations, tables, turns)


def _in_every_order(case: BiasCase) -> BiasCase:
    ordered, draws_BK = in_every_order(case.conversations)
    copies = len(draws_BK) // len(case.turns.group_B)
    apart = int(case.turns.group_B.max()) + 1
    group_B = torch.cat([case.turns.group_B + copy * apart for copy in range(copies)])
    found = _case(case.mdp, case.policy_KSA, conversations=ordered, group_B=group_B, tables=case.tables)
    return replace(found, turns=replace(found.turns, draws_BK=draws_BK))
