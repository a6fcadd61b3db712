"""The reward file of OpenRLHF: asks our service at ITPO_REWARD_URL, within ITPO_REWARD_DEADLINE_S seconds.

OpenRLHF calls it with one sample at a time, in a thread of vLLM's process. What it raises is only logged
there, and the training then ends for want of a reward; the service keeps the count and the cause.
"""

import os
from collections.abc import Sequence

import torch

from itpo_core.rewards.answers import answer
from itpo_core.rewards.client import ask

DEADLINE_S = 120.0


def reward_func(queries: Sequence[str], prompts: Sequence[str], *labels: Sequence[str]) -> dict[str, object]:
    """Rewards as OpenRLHF wants them, the labels unread. Raises what `client.ask` raises."""
    url, deadline = os.environ["ITPO_REWARD_URL"], os.environ.get("ITPO_REWARD_DEADLINE_S", DEADLINE_S)
    rewards = torch.tensor(ask(url, queries, prompts=prompts, deadline_s=float(deadline)))
    return {**answer([]), "rewards": rewards, "scores": rewards, "extra_logs": {"q": rewards}}
