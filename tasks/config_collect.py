"""Section [collect]: one iteration's rollouts."""

from typing import Annotated

from pydantic import Field, model_validator

from tasks.config_engine import EngineName
from tasks.config_parts import Fraction, Positive, PositiveFloat, Section


class Collect(Section):
    """One iteration's rollouts."""

    later = frozenset(
        {"explore_share", "explore_epsilon", "explore_temperature", "personas", "unscored_budget", "imported"}
    )
    engine: EngineName = "transformers"  # others as [engine] says
    conversations: Positive = 2048
    group_size: Annotated[int, Field(ge=2)] = 8
    shards: Positive = 2
    batch: Positive = 256
    failure_budget: Fraction = 0.2
    unscored_budget: Fraction = 1.0  # of conversations that ended well and that nobody scored
    # Of this share of the conversations each turn is, with chance epsilon, sampled at another temperature.
    explore_share: Fraction = 0.0
    explore_epsilon: Fraction = 0.2
    explore_temperature: PositiveFloat = 2.0
    personas: Annotated[tuple[str, ...], Field(min_length=1)] = ("default",)  # users, dealt to the groups
    imported: str | None = None  # the experiment whose imported conversations stand in for collected ones

    @model_validator(mode="after")
    def _whole_groups(self) -> "Collect":
        if self.conversations % self.group_size:
            raise ValueError(
                f"collect.conversations {self.conversations} is not a multiple of "
                f"collect.group_size {self.group_size}"
            )
        return self
