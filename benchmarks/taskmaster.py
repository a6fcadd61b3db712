"""The reward triples of Taskmaster-3 and -4: a history, what the agent did next, and whether people liked it.

Every row has a conversation id of its own, although rows extend one another turn by turn. A split by that id
would put the beginning of a dialog on one side and its end on the other, so rows that open alike (the user's
first words, without case and punctuation) count as one conversation here.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from itpo_core.types import Message, Role

ROLES = {"agent": Role.ASSISTANT, "user": Role.USER, "api": Role.TOOL}


@dataclass(frozen=True, slots=True)
class RewardedTurn:
    """One triple; `group` names the conversation that it belongs to."""

    group: str
    history: tuple[Message, ...]
    action: str
    reward: float


@dataclass(frozen=True, slots=True)
class Read:
    """The turns of a set, and how many rows were left out: the same triple again, or with two rewards."""

    turns: tuple[RewardedTurn, ...]
    repeated: int
    contradictory: int


def read(folder: Path) -> Read:
    """All `reward_*.json` of a folder. Raises FileNotFoundError when there are none."""
    paths = sorted(folder.glob("reward_*.json"))
    if not paths:
        raise FileNotFoundError(f"{folder}: no reward_*.json; point ITPO_REAL_DATA at the folder of the sets")
    return settle([turn(row) for path in paths for row in json.loads(path.read_text(encoding="utf-8"))])


def settle(turns: Sequence[RewardedTurn]) -> Read:
    """Every history and action once; those that were judged both ways not at all."""
    rewards: dict[tuple[tuple[Message, ...], str], set[float]] = {}
    for each in turns:
        rewards.setdefault((each.history, each.action), set()).add(each.reward)
    first = {(each.history, each.action): each for each in reversed(turns)}
    kept = [first[key] for key in rewards if len(rewards[key]) == 1]
    torn = sum(len(rewards[each.history, each.action]) > 1 for each in turns)
    return Read(tuple(kept), repeated=len(turns) - torn - len(kept), contradictory=torn)


def turn(row: Mapping[str, object]) -> RewardedTurn:
    """One row. Raises ValueError for a reward other than 0 and 1."""
    reward = float(str(row["reward"]))
    if reward not in (0.0, 1.0):
        raise ValueError(f"row {row['conversation_id']}: reward {reward} is neither 0 nor 1; leave it out")
    history = tuple(_messages(json.loads(str(row["context"]))))
    (action,) = _messages([json.loads(str(row["generation"]))])
    return RewardedTurn(opening_of(history), history, action.content, reward)


def opening_of(history: Iterable[Message]) -> str:
    """The user's first words, lower case, without punctuation; empty when he has said nothing."""
    said = next((message.content for message in history if message.role is Role.USER), "")
    return " ".join(re.findall(r"[a-z0-9]+", said.lower()))


def _messages(said: Iterable[Mapping[str, object]]) -> Iterator[Message]:
    for each in said:
        # A call and its result are written out as the JSON that they are.
        content = each.get("text") or json.dumps(each.get("api") or each.get("response"), sort_keys=True)
        yield Message(ROLES[str(each["role"])], str(content))
