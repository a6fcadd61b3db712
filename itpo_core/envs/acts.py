"""What an assistant does with a message that ends nothing: asks about one thing, about several, or chats."""

from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Question:
    """One thing is named that a user can be asked about: a slot, a quantity, a symptom."""

    slot: str


@dataclass(frozen=True, slots=True)
class SeveralQuestions:
    """Two or more are named, which no user answers."""


@dataclass(frozen=True, slots=True)
class SmallTalk:
    """None is named."""


Asking = Question | SeveralQuestions | SmallTalk


def asking_about(named: Collection[str]) -> Asking:
    """The act of a text that names these things, each counted once."""
    if len(named) > 1:
        return SeveralQuestions()
    return next((Question(name) for name in named), SmallTalk())
