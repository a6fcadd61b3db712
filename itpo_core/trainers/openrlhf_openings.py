"""Which conversation our agent shall hold inside OpenRLHF, as the label of a prompt."""

import json
from dataclasses import asdict, dataclass
from typing import Self

from itpo_core.types import Message, Role, Scenario, Split


@dataclass(frozen=True, slots=True)
class OpeningLabel:
    """Which conversation to hold: domain and preset, the scenario, the root of the user's draws, limits.

    `turn_tokens` is the most of one turn. `suppressed_ids` are the tokens that the policy never speaks.
    """

    domain: str
    preset: str
    scenario: Scenario
    seed: int
    turn_tokens: int
    suppressed_ids: tuple[int, ...] = ()

    def label(self) -> str:
        """As a prompt's label."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def read(cls, label: str) -> Self:
        """What `label` wrote. Raises ValueError for another text."""
        try:
            found = json.loads(label)
            scenario = found.pop("scenario")
            opening = tuple(Message(**{**one, "role": Role(one["role"])}) for one in scenario.pop("opening"))
            split = Split(scenario.pop("split"))
            suppressed = tuple(found.pop("suppressed_ids"))
            return cls(
                scenario=Scenario(opening=opening, split=split, **scenario),
                suppressed_ids=suppressed,
                **found,
            )
        except (KeyError, TypeError, json.JSONDecodeError) as error:
            raise ValueError(f"label {label[:80]!r} names no conversation to hold: {error!r}") from None
