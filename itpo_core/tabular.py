"""A small dialogue that can be solved exactly, and the steps and bounds of Iterative PPO on its tables.

Axes: K turns, S states (here: facts that the assistant still misses), A acts of the assistant. Everything is
float64. A policy is a table of chances [K, S, A]; it may depend on how many turns are left.

The bounds. Let Q, V be exact for the policy pi, Q^ a table with |Q^ - Q| <= eps everywhere, and pi' a policy
whose rows come within delta(k, s) of the largest value of sum_a p(a) Q^_k(s, a) - beta KL(p || pi(.|s)) over
all p. Write d for the law of conversations under pi', T for its (random) number of turns, g for the discount.

1. Performance difference. Along pi', V'_1(s_1) - V_1(s_1) telescopes into
   E_d sum_{k<=T} g^{k-1} [ sum_a pi'(a|s_k) Q_k(s_k, a) - V_k(s_k) ],
   because sum_a pi'(a|s) [Q_k(s, a) - E V_{k+1}(s')] is the reward that pi' expects at once. A conversation
   that has ended adds nothing, so the sum runs over the turns that pi' really takes: at most K of them.
2. The row pi(. | k, s) is itself allowed and has KL 0, so
   sum pi' Q^ - beta KL(pi' || pi) >= sum pi Q^ - delta.
3. Going from Q^ to Q costs eps on each side: sum pi' Q - V >= sum pi' Q^ - sum pi Q^ - 2 eps.

   Together:  V' - V  >=  E_d sum_{k<=T} g^{k-1} [ beta KL(pi' || pi) - delta - 2 eps ].

For g < 1 and no limit of turns the weights g^{k-1} sum to at most 1 / (1 - g): Theorem 2 of Iterative PPO
(arXiv:2511.21638). With a limit they sum to at most K, also for g = 1, which the original form does not
cover.

Two sharper forms, derived here. In step 3 both sides weigh the same error table, so only the part of the
chance that moved can pay for it: 2 eps TV(pi', pi) instead of 2 eps, TV half the sum of |pi' - pi|. And for
the exact regularised row, pi' = pi exp(Q^ / beta) / z, log(pi' / pi) is Q^ / beta - log z, which gives sum
pi' Q^ - sum pi Q^ = beta [KL(pi' || pi) + KL(pi || pi')]: about twice what step 2 keeps.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

ASK, GUESS, CHAT = range(3)
StateValue = Callable[[int, Tensor], Tensor]  # (turn, q_SA) -> v_S


@dataclass(frozen=True, slots=True)
class TabularMdp:
    """Turn by turn: success at once, or on to another state, or (what is left of 1) failure.

    `timeout_S` is the chance of success when the turns are used up in a state; `start_S` the chance to start
    in it.
    """

    success_SA: Tensor
    moves_SAS: Tensor
    timeout_S: Tensor
    start_S: Tensor
    turns: int
    discount: float = 1.0


@dataclass(frozen=True, slots=True)
class Values:
    """Q [K, S, A] and V [K, S] of a policy, before each turn."""

    q_KSA: Tensor
    v_KS: Tensor

    @property
    def advantage_KSA(self) -> Tensor:
        """Q - V."""
        return self.q_KSA - self.v_KS[..., None]


@dataclass(frozen=True, slots=True)
class ImprovementBound:
    """Lower bounds of V' - V from every turn and state on [K, S], beside the change itself."""

    theorem_2_KS: Tensor
    moved_chance_KS: Tensor  # theorem 2 with 2 eps TV in place of 2 eps
    change_KS: Tensor


def dialogue_mdp(turns: int) -> TabularMdp:
    """A sale in which up to two facts are missing. All chances are eighths, so that batches can hold them
    exactly.

    ASK learns a missing fact in three of four cases; with nothing missing it annoys, and one user in four
    leaves. CHAT always annoys. GUESS ends the conversation and succeeds in 7, 3 or 1 of 8 cases with 0, 1 or
    2 facts missing. A user whose turns are used up decides alone, and rarely well.
    """
    stay_SS = torch.eye(3, dtype=torch.float64)
    learn_SS = torch.tensor([[0.75, 0, 0], [0.75, 0.25, 0], [0, 0.75, 0.25]], dtype=torch.float64)
    moves_SAS = torch.zeros(3, 3, 3, dtype=torch.float64)
    moves_SAS[:, ASK] = learn_SS
    moves_SAS[:, CHAT] = 0.75 * stay_SS
    success_SA = torch.zeros(3, 3, dtype=torch.float64)
    success_SA[:, GUESS] = torch.tensor([0.875, 0.375, 0.125], dtype=torch.float64)
    return TabularMdp(
        success_SA=success_SA,
        moves_SAS=moves_SAS,
        timeout_S=torch.tensor([0.25, 0.125, 0.125], dtype=torch.float64),
        start_S=torch.tensor([0, 0.5, 0.5], dtype=torch.float64),
        turns=turns,
    )


def collecting_policy(turns: int) -> Tensor:
    """A policy in quarters that asks and guesses in all states, not always where it should, [K, S, A]."""
    quarters_SA = torch.tensor([[1, 2, 1], [2, 1, 1], [1, 1, 2]], dtype=torch.float64)
    return (quarters_SA / 4).repeat(turns, 1, 1)


def evaluate(mdp: TabularMdp, policy_KSA: Tensor) -> Values:
    """Q and V of a policy, exactly, from the last turn backwards."""
    return _backwards(mdp, lambda k, q_SA: (policy_KSA[k] * q_SA).sum(1))


def solve(mdp: TabularMdp) -> Values:
    """Q* and V*: the best that any policy reaches."""
    return _backwards(mdp, lambda k, q_SA: q_SA.amax(1))


def success(mdp: TabularMdp, policy_KSA: Tensor) -> float:
    """Success of a policy over the start states."""
    return float(mdp.start_S @ evaluate(mdp, policy_KSA).v_KS[0])


def visits(mdp: TabularMdp, policy_KSA: Tensor) -> Tensor:
    """Chance that turn k is taken, in state s, [K, S]; undiscounted."""
    reached_S = mdp.start_S
    rows = []
    for policy_SA in policy_KSA:
        rows.append(reached_S)
        reached_S = torch.einsum("s,sa,sat->t", reached_S, policy_SA, mdp.moves_SAS)
    return torch.stack(rows)


def accumulate(mdp: TabularMdp, policy_KSA: Tensor, *, gains_KS: Tensor) -> Tensor:
    """Discounted sum of gains over the states that the policy visits from each turn and state on, [K, S]."""
    later_S = torch.zeros_like(mdp.start_S)
    rows = []
    for policy_SA, gain_S in zip(policy_KSA.flip(0), gains_KS.flip(0), strict=True):
        later_S = gain_S + mdp.discount * torch.einsum("sa,sat,t->s", policy_SA, mdp.moves_SAS, later_S)
        rows.append(later_S)
    return torch.stack(rows[::-1])


def greedy(q_KSA: Tensor) -> Tensor:
    """The single-turn solution without a penalty: the best act of every state, the first among equals."""
    return torch.nn.functional.one_hot(q_KSA.argmax(-1), q_KSA.shape[-1]).to(q_KSA.dtype)


def regularised(q_KSA: Tensor, policy_KSA: Tensor, *, beta: float) -> Tensor:
    """The single-turn solution under beta KL to `policy_KSA`: proportional to pi exp(Q / beta)."""
    return torch.softmax(policy_KSA.log() + q_KSA / beta, dim=-1)


def divergence(policy: Tensor, other: Tensor) -> Tensor:
    """KL(policy || other) over the last axis, in nats; chances of 0 add nothing."""
    return (torch.xlogy(policy, policy) - torch.xlogy(policy, other)).sum(-1)


def moved_chance(policy: Tensor, other: Tensor) -> Tensor:
    """Total variation over the last axis, between 0 and 1."""
    return (policy - other).abs().sum(-1) / 2


def shortfall(policy: Tensor, other: Tensor, *, q: Tensor, beta: float) -> Tensor:
    """delta: how far `policy` is from the largest value of sum p Q - beta KL(p || other), per state.

    The largest value is beta log sum_a other exp(Q / beta); for beta 0 it is the best Q.
    """
    if beta == 0:
        return q.amax(-1) - (policy * q).sum(-1)
    largest = beta * torch.logsumexp(other.log() + q / beta, dim=-1)
    return largest - (policy * q).sum(-1) + beta * divergence(policy, other)


def improvement_bound(
    mdp: TabularMdp, policy_KSA: Tensor, *, other_KSA: Tensor, q_KSA: Tensor, beta: float, error: float
) -> ImprovementBound:
    """Both bounds for the step from `other_KSA` to `policy_KSA` on the table `q_KSA`, and what it really did.

    `error` is what the caller claims for the largest |Q^ - Q|; the bounds hold when the claim is true.
    """
    owed_KS = shortfall(policy_KSA, other_KSA, q=q_KSA, beta=beta)
    gained_KS = beta * divergence(policy_KSA, other_KSA) - owed_KS
    wrong_KS = 2 * error * moved_chance(policy_KSA, other_KSA)
    return ImprovementBound(
        theorem_2_KS=accumulate(mdp, policy_KSA, gains_KS=gained_KS - 2 * error),
        moved_chance_KS=accumulate(mdp, policy_KSA, gains_KS=gained_KS - wrong_KS),
        change_KS=evaluate(mdp, policy_KSA).v_KS - evaluate(mdp, other_KSA).v_KS,
    )


def evaluate_forever(mdp: TabularMdp, policy_SA: Tensor) -> Values:
    """Q and V (with K = 1) of a policy that may talk without a limit of turns.

    Raises ValueError for a discount of 1 or more, under which the sum need not end.
    """
    moves_SS = _chain(mdp, policy_SA)
    success_S = (policy_SA * mdp.success_SA).sum(1)
    v_S = torch.linalg.solve(torch.eye(len(success_S), dtype=torch.float64) - moves_SS, success_S)
    q_SA = mdp.success_SA + mdp.discount * mdp.moves_SAS @ v_S
    return Values(q_KSA=q_SA[None], v_KS=v_S[None])


def discounted_visits(mdp: TabularMdp, policy_SA: Tensor) -> Tensor:
    """(1 - g) sum_k g^{k-1} P(turn k is taken in state t), from every start state s, [S, S]; sums to at most
    1.

    Raises ValueError for a discount of 1 or more.
    """
    moves_SS = _chain(mdp, policy_SA)
    return (1 - mdp.discount) * torch.linalg.inv(torch.eye(len(moves_SS), dtype=torch.float64) - moves_SS)


def _chain(mdp: TabularMdp, policy_SA: Tensor) -> Tensor:
    if mdp.discount >= 1:
        raise ValueError(f"discount {mdp.discount} is not below 1: without a limit of turns it has to be")
    return mdp.discount * torch.einsum("sa,sat->st", policy_SA, mdp.moves_SAS)


def _backwards(mdp: TabularMdp, value_of: StateValue) -> Values:
    next_S = mdp.timeout_S
    rows: list[tuple[Tensor, Tensor]] = []
    for k in reversed(range(mdp.turns)):
        q_SA = mdp.success_SA + mdp.discount * mdp.moves_SAS @ next_S
        next_S = value_of(k, q_SA)
        rows.append((q_SA, next_S))
    rows.reverse()
    return Values(q_KSA=torch.stack([q for q, _ in rows]), v_KS=torch.stack([v for _, v in rows]))
