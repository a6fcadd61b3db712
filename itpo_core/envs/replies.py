"""What rule-based users of every domain do alike: when they end, when they err, when they ramble.

Each function throws at most one die and picks at most one phrase; recorded seeds depend on the order.
"""

from collections.abc import Sequence
from random import Random
from typing import TypeVar

from itpo_core.envs.base import Reply
from itpo_core.envs.dice import pick
from itpo_core.types import Failure, FailureKind, Message, Role, StopReason

T = TypeVar("T")


def not_spoken_to(messages: Sequence[Message], *, who: str = "user") -> Failure | None:
    """The failure of a user who is to answer although the assistant has not spoken last; None otherwise."""
    if messages and messages[-1].role is Role.ASSISTANT:
        return None
    return Failure(FailureKind.USER_ERROR, f"a {who} answers an assistant, who has not spoken last")


def stop_after(
    messages: Sequence[Message], *, is_useless: bool, leaves: float, max_turns: int, random: Random
) -> Reply | None:
    """How the conversation ends at a message that completes nothing: he leaves, or that was the last turn.

    None where it goes on. Only a useless message is worth a throw of the dice.
    """
    if is_useless and random.random() < leaves:
        return Reply(None, StopReason.USER_LEFT)
    turns = sum(message.role is Role.ASSISTANT for message in messages)
    return Reply(None, StopReason.TURN_LIMIT) if turns >= max_turns else None


def said_value(true: T, options: Sequence[T], *, mistakes: float, random: Random) -> T:
    """The true one; with the chance of a mistake another of the options, all others alike."""
    if random.random() >= mistakes:
        return true
    return pick(random, [each for each in options if each != true])


def rambled(text: str, phrases: Sequence[str], *, chance: float, random: Random) -> str:
    """With this chance something beside the point is said before it."""
    return text if random.random() >= chance else f"{pick(random, phrases)} {text}"
