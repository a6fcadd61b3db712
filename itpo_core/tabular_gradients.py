"""Expected updates of credit methods against the true policy gradient, on tables. Pure.

Axes: B conversations, K turns, S states, A acts. The policy is a softmax over logits theta[k, s, a], so that
d log pi(a | k, s) / d theta[k, s, .] is onehot(a) - pi(. | k, s). One conversation's update with advantages
A_k is sum_k A_k (onehot(a_k) - pi(. | k, s_k)): the gradient of the policy loss at ratio 1, before clipping.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from itpo_core.tabular import TabularMdp, evaluate, visits
from itpo_core.tabular_conversations import Conversations, cell_sums

ROUNDING = 1e-12


@dataclass(frozen=True, slots=True)
class Bias:
    """An expected update u beside the true gradient g.

    `cosine` is that of the angle between them; `scale` is u.g / g.g; `error` is |u - g| / |g| as it stands,
    and `rescaled_error` the same after the best positive factor, which a learning rate or a whitening
    absorbs: the sine of the angle, 1 where the angle is not acute. `turn_weights` tells, turn by turn,
    u_k.g_k / g_k.g_k over `scale`: (1, 1, 1) where all turns are weighed as they should be. `noise` is the
    root mean square distance of one conversation's update from u, over |u|; None where u is 0.
    """

    cosine: float
    scale: float
    error: float
    rescaled_error: float
    turn_weights: tuple[float, ...]
    noise: float | None

    def alignment(self, conversations: int) -> float:
        """E[u_n.g] / (|g| sqrt E|u_n|^2) of the mean update u_n of so many independent conversations.

        Bias and noise in one figure: the cosine over sqrt(1 + noise^2 / n). Noise rules small batches, bias
        the large ones.
        """
        return 0.0 if self.noise is None else self.cosine / (1 + self.noise**2 / conversations) ** 0.5


def true_gradient(mdp: TabularMdp, policy_KSA: Tensor) -> Tensor:
    """d success / d theta [K, S, A] = P(turn k in state s) pi(a | k, s) (Q - V)."""
    return visits(mdp, policy_KSA)[..., None] * policy_KSA * evaluate(mdp, policy_KSA).advantage_KSA


def expected_update(of: Conversations, advantages_BK: Tensor, *, policy_KSA: Tensor) -> Tensor:
    """Mean over the conversations' chances of sum_k A_k d log pi(a_k) / d theta, [K, S, A]."""
    _, states, acts = policy_KSA.shape
    weights_BK = torch.where(of.happened_BK, of.chance_B[:, None] * advantages_BK, 0)
    taken_KSA = cell_sums(of, weights_BK, states=states, acts=acts)
    return taken_KSA - policy_KSA * taken_KSA.sum(-1, keepdim=True)


def mean_square_update(of: Conversations, advantages_BK: Tensor, *, policy_KSA: Tensor) -> float:
    """E |u|^2 of one conversation. Turns touch different logits, so their squares add up."""
    turns_K = torch.arange(policy_KSA.shape[0])
    rows_BKA = policy_KSA[turns_K, of.states_BK]
    taken_BK = rows_BKA.gather(-1, of.acts_BK[..., None])[..., 0]
    length_BK = rows_BKA.square().sum(-1) - 2 * taken_BK + 1
    squares_BK = torch.where(of.happened_BK, advantages_BK.square() * length_BK, 0)
    return float(of.chance_B @ squares_BK.sum(1))


def bias(of: Conversations, advantages_BK: Tensor, *, mdp: TabularMdp, policy_KSA: Tensor) -> Bias:
    """What `Bias` says, for the advantages that a method gave to these conversations.

    An update of length 0 (to rounding) has no direction: cosine 0, scale 0 and no noise.
    """
    true_KSA = true_gradient(mdp, policy_KSA)
    update_KSA = expected_update(of, advantages_BK, policy_KSA=policy_KSA)
    length, true_length = float(update_KSA.norm()), float(true_KSA.norm())
    if length <= ROUNDING * true_length:
        return Bias(0.0, 0.0, 1.0, 1.0, turn_weights=(0.0,) * len(true_KSA), noise=None)
    along = float((update_KSA * true_KSA).sum())
    cosine = min(along / (length * true_length), 1.0)
    spread = mean_square_update(of, advantages_BK, policy_KSA=policy_KSA) - length**2
    return Bias(
        cosine=cosine,
        scale=along / true_length**2,
        error=float((update_KSA - true_KSA).norm()) / true_length,
        rescaled_error=_least_distance(update_KSA, true_KSA),
        turn_weights=_turn_weights(update_KSA, true_KSA, scale=along / true_length**2),
        noise=max(spread, 0.0) ** 0.5 / length,
    )


def _least_distance(update_KSA: Tensor, true_KSA: Tensor) -> float:
    factor = float((update_KSA * true_KSA).sum() / update_KSA.square().sum())
    return float((max(factor, 0.0) * update_KSA - true_KSA).norm() / true_KSA.norm())


def _turn_weights(update_KSA: Tensor, true_KSA: Tensor, *, scale: float) -> tuple[float, ...]:
    along_K = (update_KSA * true_KSA).sum((1, 2)) / true_KSA.square().sum((1, 2))
    return tuple((along_K / scale).tolist()) if scale != 0 else (0.0,) * len(along_K)
