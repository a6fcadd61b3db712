"""Sections [evaluate] and [decide]: how a candidate is compared, and what it must show."""

from typing import Annotated

from pydantic import Field

from tasks.config_engine import EngineName
from tasks.config_parts import NonNegative, Positive, PositiveFloat, Section


class Evaluate(Section):
    """Held-out evaluation of candidate and incumbent on common scenarios and simulator seeds."""

    later = frozenset({"engine"})
    engine: EngineName | None = None  # None: that of [collect]
    unseen_scenarios: Positive = 1536
    seen_scenarios: Positive = 256
    bootstrap: Positive = 2000


class Decide(Section):
    """The promotion gate; thresholds in fractions of success and nats per token."""

    confidence: Annotated[float, Field(gt=0.5, lt=1.0)] = 0.95
    min_gain: float = 0.0
    rollback_loss: NonNegative = 0.05
    max_kl: PositiveFloat = 1.0
    min_entropy: NonNegative = 0.02
