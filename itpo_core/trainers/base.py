"""What can be swapped about training: credited turns and start weights in, weights and metrics out.

Axes: B conversations, T tokens (right-padded). The trainer is blind to the algorithm: it sees numbers.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from torch import Tensor


@dataclass(frozen=True, slots=True)
class TrainingBatch:
    """Every conversation that trains, as one stream of tokens a row.

    tokens_BT int64; is_policy_BT bool, true on the policy's own tokens; behaviour_logprobs_BT float32 and
    advantages_BT float32, both zero where is_policy_BT is false; lengths_B int64. `policy_versions` are the
    versions that spoke the rows: a trainer refuses a batch that its parent did not speak alone.
    """

    tokens_BT: Tensor
    is_policy_BT: Tensor
    behaviour_logprobs_BT: Tensor
    advantages_BT: Tensor
    lengths_B: Tensor
    policy_versions: frozenset[str]
    temperature: float = 1.0


@dataclass(frozen=True, slots=True)
class PolicySettings:
    """The policy step. Clip is asymmetric: the ratio is kept in [1 - clip_low, 1 + clip_high]."""

    epochs: int = 3
    minibatch_conversations: int = 96
    learning_rate: float = 1e-3
    clip_low: float = 0.6
    clip_high: float = 1.5
    dual_clip: float = 3.0
    kl_weight: float = 0.005
    entropy_weight: float = 0.0
    max_gradient_norm: float = 1.0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """`steps` holds one row of named figures per optimiser step; `summary` their means and the extremes."""

    steps: tuple[Mapping[str, float], ...]
    summary: Mapping[str, float]


class Trainer(Protocol):
    """Turns credited conversations and start weights into new weights."""

    def train(
        self,
        batch: TrainingBatch,
        *,
        parent_version: str,
        start_folder: Path,
        out_folder: Path,
        settings: PolicySettings,
        on_step: Callable[[int, int], None],
    ) -> TrainingResult:
        """Write the candidate's folder to `out_folder`; a killed call, repeated, resumes and ends the same.

        `on_step(done, total)` is called after every optimiser step. Raises ValueError when the batch was not
        spoken by `parent_version` alone.
        """
        ...
