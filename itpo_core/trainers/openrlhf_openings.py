"""Which conversation our agent shall hold inside OpenRLHF, as the label of a prompt, and what was held."""

import json
import os
import socket
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from itpo_core.types import Conversation, Message, Role, Scenario, Scored, Split

HELD_VARIABLE = "ITPO_HELD_FOLDER"


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


def record(held: Conversation, values: Sequence[float], *, folder: Path) -> None:
    """Add the conversation to this process's file in the folder: one line, written at once."""
    line = {
        "scenario": held.scenario.scenario_id,
        "seed": held.seed,
        "outcome": held.outcome.value if isinstance(held.outcome, Scored) else None,
        "values": list(values),
        "messages": [{"role": each.role.value, "text": each.content} for each in held.messages],
    }
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / f"{socket.gethostname()}-{os.getpid()}.jsonl", "ab", buffering=0) as file:
        file.write(f"{json.dumps(line, sort_keys=True)}\n".encode())


def recorded(folder: Path) -> list[str]:
    """All lines of the folder, sorted; a line that a kill cut off is left out."""
    texts = [path.read_text(encoding="utf-8") for path in folder.glob("*.jsonl")]
    return sorted(line for text in texts for line in text.splitlines(keepends=True) if line.endswith("\n"))
