"""Conversations and replies that broke inside OpenRLHF: counted with their causes, and never a vote. Pure.

OpenRLHF wants one sample per call. A broken one goes on as a row without a single token of the policy, which
has no part in a loss or in what it is divided by, and with a reward that is no number: whoever forgets to
leave it out ends with a loss that is none. Axes: B samples, G prompts, N samples of each.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

BUDGET_VARIABLE = "ITPO_FAILURE_BUDGET"
BUDGET = 0.2
# Estimators that compare the samples of one prompt.
COMPARING = ("group_norm", "rloo", "dr_grpo", "reinforce_baseline")
STD_FLOOR = 1e-9


class BrokenBudgetError(RuntimeError):
    """Too much of a round broke to train on the rest; the message holds the causes with their counts."""


def broken_output(cause: str, *, prompt: str, logs: Mapping[str, float]) -> dict[str, object]:
    """What an executor gives in the place of a conversation; `logs` has the keys of a whole one's."""
    return {
        "prompt": prompt,
        "label": json.dumps({"broken": cause[:300]}),
        "images": None,
        "mm_train_inputs": None,
        "reward": float("nan"),
        "scores": float("nan"),
        # A forward wants two tokens, whichever.
        "observation_tokens": [0, 0],
        "action_ranges": [],
        "rollout_log_probs": [0.0, 0.0],
        "truncated": False,
        "extra_logs": {**logs, "broken": 1.0},
    }


def broken_cause(label: str) -> str | None:
    """Why the sample with this label is none; None for a whole one."""
    found = json.loads(label)
    return found.get("broken") if isinstance(found, dict) else None


def check_budget(causes: Sequence[str], *, asked: int, budget: float) -> None:
    """BrokenBudgetError when more than a share of `budget` broke, or all of it."""
    if not causes or (len(causes) < asked and len(causes) <= budget * asked):
        return
    counted = "; ".join(f"{count} times {cause}" for cause, count in Counter(causes).most_common(5))
    raise BrokenBudgetError(
        f"{len(causes)} of {asked} samples of this round broke, more than the share {budget} of"
        f" {BUDGET_VARIABLE}: {counted}"
    )


def filled(values_B: Tensor, is_whole_B: Tensor) -> Tensor:
    """Broken rows get the mean of the whole ones, which leaves every mean where it is; 0 without any."""
    mean = values_B[is_whole_B].float().mean() if bool(is_whole_B.any()) else torch.tensor(0.0)
    return torch.where(is_whole_B, values_B.float(), mean)


def compared(rewards_GN: Tensor, is_whole_GN: Tensor, *, estimator: str) -> Tensor:
    """OpenRLHF's comparison among the samples of a prompt, over those that are whole; 0 where broken.

    group_norm: (r - mean) / (std + 1e-9), std with n - 1; rloo: r less the mean of the others; else r - mean.
    A sample without a whole sibling is worth 0: it is compared with nothing.
    """
    whole_G1 = is_whole_GN.sum(dim=1, keepdim=True)
    rewards_GN = torch.where(is_whole_GN, rewards_GN, 0.0)
    mean_G1 = rewards_GN.sum(dim=1, keepdim=True) / whole_G1.clamp(min=1)
    centred_GN = torch.where(is_whole_GN, rewards_GN - mean_G1, 0.0)
    others_G1 = (whole_G1 - 1).clamp(min=1)
    if estimator == "group_norm":
        std_G1 = (centred_GN.square().sum(dim=1, keepdim=True) / others_G1).sqrt()
        return centred_GN / (std_G1 + STD_FLOOR)
    return centred_GN * whole_G1 / others_G1 if estimator == "rloo" else centred_GN
