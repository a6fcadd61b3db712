"""Exploration while collecting: which turns are sampled otherwise, and which turns may then train the policy.

Axis: K turns of one conversation.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from itpo_core.identifiers import derive_seed
from itpo_core.streams import TurnTokens


@dataclass(frozen=True, slots=True)
class Exploration:
    """A `share` of the conversations explores: each of its turns, with chance `epsilon`, at `temperature`."""

    share: float = 0.0
    epsilon: float = 0.2
    temperature: float = 2.0


def turn_schedule(exploration: Exploration, common: float, *, turns: int, seed: int) -> tuple[float, ...]:
    """The temperature of each turn of one conversation, from its own seed; empty where all are `common`."""
    random = Random(derive_seed(seed, "explore"))
    if random.random() >= exploration.share:
        return ()
    explores_K = [random.random() < exploration.epsilon for _ in range(turns)]
    if not any(explores_K):
        return ()
    return tuple(exploration.temperature if explores else common for explores in explores_K)


def first_on_policy(temperatures_K: Sequence[float], common: float) -> int:
    """The first turn from which on nothing was explored: K when the last turn was, 0 when none was.

    From there on the policy alone chose, so the outcome is a return of the policy; the return of an earlier
    turn is also the luck of an exploration that comes after it.
    """
    explored = [turn for turn, temperature in enumerate(temperatures_K) if temperature != common]
    return explored[-1] + 1 if explored else 0


def from_turn(turns_K: Sequence[TurnTokens], first: int) -> list[TurnTokens]:
    """The turns from `first` on; whatever was said before is part of what the first of them heard."""
    heard = [token for turn in turns_K[:first] for token in (*turn.prompt_ids, *turn.response_ids)]
    return [
        TurnTokens([*heard, *turn.prompt_ids], turn.response_ids, turn.logprobs) if index == 0 else turn
        for index, turn in enumerate(turns_K[first:])
    ]
