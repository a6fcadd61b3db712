"""What an implicit reward model or a dueling Q says about a tabular dialogue when nothing is estimated.

Axes: B conversations, K turns, S states, A acts. Every table is [K, S, A], float64.
"""

import torch
from torch import Tensor

from itpo_core.tabular import Values
from itpo_core.tabular_conversations import Conversations, look_up


def soft_scores(values: Values, *, beta: float) -> Tensor:
    """S of the implicit reward model that holds the reward R itself, in closed form.

    A policy tilted by exp(R / beta) has the chances phi(a|h) = pi(a|h) E[exp(R / beta) | h, a] / E[exp(R /
    beta) | h], both means over pi's later turns and over the user. R is 0 or 1, so that with c = exp(1 /
    beta) - 1 the score S = beta log(phi / pi) is beta log((1 + c Q) / (1 + c V)), and the mean of exp(S /
    beta) under pi is 1 in every state. S goes to Q - V as beta grows: the soft value of a prefix becomes its
    mean. Along one conversation the scores do not add up to beta log of its own tilt: what the user did by
    chance drops out. Raises ValueError for a beta that is not above 0.
    Source: prefix values of implicit reward models, PRIME (arXiv:2502.01456); the user's part is own work.
    """
    if not beta > 0:
        raise ValueError(f"beta {beta} is not above 0: it is the unit of the reward")
    # Divided by c, so that a small beta cannot overflow: 1 / c is exp(-1 / beta) / (1 - exp(-1 / beta)).
    small = torch.exp(torch.tensor(-1 / beta, dtype=torch.float64))
    rest = small / (1 - small)
    return beta * ((rest + values.q_KSA).log() - (rest + values.v_KS).log()[..., None])


def fitted_scores(of: Conversations, policy_KSA: Tensor, *, beta: float, steps: int = 100) -> Tensor:
    """S of the implicit reward model that training on endless conversations ends in.

    Minimises the exact expectation of the cross-entropy between the outcome and sigmoid(sum_k S_k) over all
    tables phi, from phi = pi. Without an intercept, as published.
    """
    reference_KSA = policy_KSA.log()
    logits_KSA = reference_KSA.clone().requires_grad_()
    optimiser = torch.optim.LBFGS([logits_KSA], max_iter=steps, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        scores_KSA = beta * (logits_KSA.log_softmax(-1) - reference_KSA)
        total_B = look_up(of, scores_KSA).sum(1)
        lost_B = torch.nn.functional.binary_cross_entropy_with_logits(total_B, of.outcome_B, reduction="none")
        mean = of.chance_B @ lost_B
        mean.backward()
        return mean

    optimiser.step(loss)
    return beta * (logits_KSA.detach().log_softmax(-1) - reference_KSA)


def dueling_log_ratios(values: Values, policy_KSA: Tensor, *, beta: float) -> Tensor:
    """The log-ratio term of a dueling Q whose probabilities are exact: logit Q = v + beta log(phi / pi).

    phi has to be a distribution, which fixes v = beta log E_pi exp(logit Q / beta). The term is on the scale
    of logits: within a state it is logit Q less a constant, across states its unit differs by Q (1 - Q).
    """
    logits_KSA = torch.logit(values.q_KSA)
    state_values_KS = beta * torch.logsumexp(policy_KSA.log() + logits_KSA / beta, dim=-1)
    return logits_KSA - state_values_KS[..., None]
