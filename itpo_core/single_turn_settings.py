"""The numbers of an improvement step of Iterative PPO, and why one may be given up."""

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class SingleTurnSettings:
    """One improvement step.

    `iteration` counts the loop's iterations from 0: the learning rate shrinks and the weight of the penalty
    grows with it, so that a late, noisy Q moves the policy less. `advantage_limit` bounds the sampled turns'
    advantages; `unclosed_margin` is in spreads of the rewards, `pessimism` in standard deviations between
    members. The step is given up when the mean divergence of the last `abort_window` steps passes
    `abort_divergence` (nats per token). `micro_batch` is conversations per forward (None: those of a step);
    it changes no number but the last bits.
    """

    passes: int = 4
    conversations_per_pass: int = 256
    conversations_per_step: int = 16
    draws: int = 4
    max_new_tokens: int = 16
    temperature: float = 1.0
    learning_rate: float = 7e-4
    learning_rate_decay: float = 0.75
    kl_weight: float = 0.6
    kl_growth: float = 1.25
    iteration: int = 0
    clip_low: float = 0.5
    clip_high: float = 0.5
    advantage_limit: float = 4.0
    unclosed_margin: float = 0.5
    pessimism: float = 0.0
    abort_divergence: float = 0.3
    abort_window: int = 10
    doubly_robust: bool = False
    max_gradient_norm: float = 1.0
    micro_batch: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Raises ValueError for a number that leaves nothing to compare or to do, naming it."""
        least = (
            ("passes", self.passes, 1),
            ("conversations_per_pass", self.conversations_per_pass, 1),
            ("conversations_per_step", self.conversations_per_step, 1),
            ("draws", self.draws, 2),
            ("max_new_tokens", self.max_new_tokens, 1),
            ("abort_window", self.abort_window, 1),
            ("micro_batch", self.micro_batch or 1, 1),
        )
        for name, value, lowest in least:
            if value < lowest:
                raise ValueError(f"{name} is {value}: a single-turn step needs at least {lowest}")

    @property
    def learning_rate_now(self) -> float:
        """Of this iteration."""
        return self.learning_rate * self.learning_rate_decay**self.iteration

    @property
    def kl_weight_now(self) -> float:
        """Of this iteration."""
        return self.kl_weight * self.kl_growth**self.iteration


class AbortReason(StrEnum):
    """Why an improvement step was given up before its last pass."""

    DIVERGENCE = "divergence"


@dataclass(frozen=True, slots=True)
class Abort:
    """The pass that was given up, whose weights are thrown away, and the figure that did it."""

    reason: AbortReason
    pass_index: int
    divergence: float
    limit: float
