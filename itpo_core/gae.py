"""Returns and generalised advantage estimation, by token and by turn. Pure: tensors in, tensors out.

Axes: B conversations, K turns, T tokens (both right-padded). Recursions run from the end of a row:

    delta_t = reward_t + gamma * V_next - V_t,  A_t = delta_t + gamma * lam * A_next,  return_t = A_t + V_t

Source: GAE (arXiv:1506.02438), eq. 16. What a token is that the policy did not speak:
- "skip": no time step. V_next and A_next pass it by; a reward on it is refused, for nobody would get it;
- "count": a time step with its reward and its value like any other;
- "silent": a time step whose reward and value are 0;
- "reset" (returns alone): the return starts anew behind it: an earlier turn never sees a later reward.
Results are 0 on tokens that the policy did not speak. At turn level, turns that did not happen are skipped.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Gae:
    """Advantages, not whitened, and the returns that the critic is fitted to; shapes as the rewards."""

    advantages: Tensor
    returns: Tensor


def gae_tokens(
    rewards_BT: Tensor,
    values_BT: Tensor,
    *,
    is_policy_BT: Tensor,
    gamma: float,
    lam: float,
    user_tokens: str = "skip",
) -> Gae:
    """GAE over tokens, V_t being the value before token t. Raises ValueError by the module's head."""
    if user_tokens not in ("skip", "count", "silent"):
        raise ValueError(f"user_tokens {user_tokens!r}: GAE knows skip, count and silent")
    if user_tokens == "skip":
        _refuse_user_rewards(rewards_BT, is_policy_BT)
    stands_BT = is_policy_BT if user_tokens == "skip" else torch.ones_like(is_policy_BT)
    if user_tokens != "count":
        rewards_BT, values_BT = rewards_BT * is_policy_BT, values_BT.masked_fill(~is_policy_BT, 0)
    found = _recursion(rewards_BT, values_BT, stands=stands_BT, gamma=gamma, lam=lam)
    return Gae(
        advantages=torch.where(is_policy_BT, found.advantages, 0),
        returns=torch.where(is_policy_BT, found.returns, 0),
    )


def gae_turns(rewards_BK: Tensor, values_BK: Tensor, *, happened_BK: Tensor, gamma: float, lam: float) -> Gae:
    """GAE over turns, V_k being the value before turn k; gamma and lam apply once a turn, however long."""
    kept_BK = torch.where(happened_BK, rewards_BK, 0)
    values_BK = values_BK.to(kept_BK.dtype).masked_fill(~happened_BK, 0)
    return _recursion(kept_BK, values_BK, stands=happened_BK, gamma=gamma, lam=lam)


def token_returns(
    rewards_BT: Tensor, *, is_policy_BT: Tensor, gamma: float = 1.0, user_tokens: str = "skip"
) -> Tensor:
    """REINFORCE++'s return of every policy token, 0 elsewhere; source: arXiv:2501.03262."""
    if user_tokens not in RETURN_RULES:
        raise ValueError(f"user_tokens {user_tokens!r}: returns know {', '.join(RETURN_RULES)}")
    if user_tokens == "skip":
        _refuse_user_rewards(rewards_BT, is_policy_BT)
    keeps_reward, counts_time, keeps_return = RETURN_RULES[user_tokens]
    running_B = torch.zeros_like(rewards_BT[:, 0])
    returns_BT = torch.zeros_like(rewards_BT)
    for step in reversed(range(rewards_BT.shape[1])):
        policy_B = is_policy_BT[:, step]
        reward_B = rewards_BT[:, step] if keeps_reward else torch.where(policy_B, rewards_BT[:, step], 0)
        next_B = reward_B + gamma * running_B
        returns_BT[:, step] = torch.where(policy_B, next_B, 0)
        passed_B = next_B if counts_time else running_B
        running_B = torch.where(policy_B, next_B, passed_B if keeps_return else 0)
    return returns_BT


# user tokens: (their reward counts, they are a time step, a return passes over them)
RETURN_RULES = {
    "skip": (False, False, True),
    "count": (True, True, True),
    "silent": (False, True, True),
    "reset": (True, True, False),
}


def at_turn_ends(rewards_BK: Tensor, turn_index_BT: Tensor) -> Tensor:
    """The turn's reward on the last token of the turn, 0 on every other token, [B, T]."""
    following_BT = torch.nn.functional.pad(turn_index_BT[:, 1:], (0, 1), value=-2)
    last_BT = (turn_index_BT >= 0) & (turn_index_BT != following_BT)
    return torch.where(last_BT, rewards_BK.gather(1, turn_index_BT.clamp(min=0)), 0)


def _recursion(rewards: Tensor, values: Tensor, *, stands: Tensor, gamma: float, lam: float) -> Gae:
    next_value_B = torch.zeros_like(rewards[:, 0])
    next_advantage_B = torch.zeros_like(next_value_B)
    advantages = torch.zeros_like(rewards)
    for step in reversed(range(rewards.shape[1])):
        stands_B, value_B = stands[:, step], values[:, step]
        delta_B = rewards[:, step] + gamma * next_value_B - value_B
        advantage_B = delta_B + gamma * lam * next_advantage_B
        advantages[:, step] = torch.where(stands_B, advantage_B, 0)
        next_value_B = torch.where(stands_B, value_B, next_value_B)
        next_advantage_B = torch.where(stands_B, advantage_B, next_advantage_B)
    return Gae(advantages=advantages, returns=torch.where(stands, advantages + values, 0))


def _refuse_user_rewards(rewards_BT: Tensor, is_policy_BT: Tensor) -> None:
    stray_BT = ~is_policy_BT & (rewards_BT != 0)
    if bool(stray_BT.any()):
        row, token = (int(index) for index in stray_BT.nonzero()[0])
        raise ValueError(
            f"row {row}, token {token}: a reward of {float(rewards_BT[row, token])} on a token that the"
            " policy did not speak would be lost; move it to the turn before, or use user_tokens='count'"
        )
