"""What can be swapped about training: credited turns and start weights in, weights and metrics out.

Axes: B conversations, T tokens (right-padded). The trainer is blind to the algorithm: it sees numbers.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from torch import Tensor

from itpo_core.kl import AdaptiveKl
from itpo_core.rollout_gap import NO_CORRECTION, GapCorrection


@dataclass(frozen=True, slots=True)
class TrainingBatch:
    """Every conversation that trains, as one stream of tokens a row.

    tokens_BT int64; is_policy_BT bool, true on the policy's own tokens; behaviour_logprobs_BT float32 and
    advantages_BT float32, both zero where is_policy_BT is false; lengths_B int64. `policy_versions` are the
    versions that spoke the rows: a trainer refuses a batch that its parent did not speak alone.

    The rest is needed by some settings only: turn_BT int64, the turn of every policy token, -1 elsewhere;
    group_B int64 and reward_B float, the scenario and the reward of every conversation;
    reference_logprobs_BT float32, log-probabilities under a reference that is not the parent.
    """

    tokens_BT: Tensor
    is_policy_BT: Tensor
    behaviour_logprobs_BT: Tensor
    advantages_BT: Tensor
    lengths_B: Tensor
    policy_versions: frozenset[str]
    temperature: float = 1.0
    turn_BT: Tensor | None = None
    group_B: Tensor | None = None
    reward_B: Tensor | None = None
    reference_logprobs_BT: Tensor | None = None


@dataclass(frozen=True, slots=True)
class PolicySettings:
    """The policy step. Clip is asymmetric: the ratio is kept in [1 - clip_low, 1 + clip_high].

    - `policy_loss`, `aggregation`, `sequence` (what "sequence" means in both): names in `policy_losses`,
      `loss_aggregation`, `sequences`. `norm_tokens` is the constant length that two aggregations divide by;
      `penalty_aggregation` is that of KL and entropy (None: the same). `dual_clip` None: none.
    - `kl_estimator`, its limits: see `kl`. `kl_reference`: the weights the training starts from, or the
      batch's reference. `kl_place`: in the loss, or as a reward to go in the advantages. `adaptive_kl`:
      `kl_weight` is then where it starts, and a step's `kl_weight_next` where the next one goes on.
    - `gap`: the correction of the gap between the sampler's and the trainer's log-probabilities.
    - `micro_batch`: conversations per forward (None: the whole minibatch); it changes no number but the last
      bits. `dynamic_filter`: leave out groups whose rewards do not differ. `bad_rows`: refuse a batch with a
      conversation that cannot train, or leave that one out; either way it is told which, or how many.
    """

    epochs: int = 3
    minibatch_conversations: int = 96
    learning_rate: float = 1e-3
    clip_low: float = 0.6
    clip_high: float = 1.5
    dual_clip: float | None = 3.0
    kl_weight: float = 0.005
    entropy_weight: float = 0.0
    max_gradient_norm: float = 1.0
    seed: int = 0
    policy_loss: str = "ppo"
    aggregation: str = "token_mean"
    penalty_aggregation: str | None = None
    sequence: str = "conversation"
    norm_tokens: int | None = None
    kl_estimator: str = "k3"
    kl_input_limit: float | None = 5.0
    kl_output_limit: float | None = None
    kl_reference: Literal["start", "reference"] = "start"
    kl_place: Literal["loss", "reward"] = "loss"
    adaptive_kl: AdaptiveKl | None = None
    gap: GapCorrection = NO_CORRECTION
    micro_batch: int | None = None
    dynamic_filter: bool = False
    bad_rows: Literal["refuse", "exclude"] = "refuse"


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
