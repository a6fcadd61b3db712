"""CollabLLM multi-turn rows in their collapsed form: {prompt, ground_truth, extra_info}."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from itpo_core.types import Message, Role

Row = Mapping[str, Any]  # Any: JSON values, checked key by key


@dataclass(frozen=True, slots=True)
class Collapsed:
    """One row: the conversation so far, what its user is after, and the reference."""

    name: str
    goal: str
    task: str
    reference: str
    prompt: tuple[Message, ...]


def is_collapsed(row: Row) -> bool:
    """Whether a row has the keys of this form."""
    return "prompt" in row or "extra_info" in row


def collapsed(row: Row, *, where: str) -> Collapsed:
    """The row. Raises ValueError naming `where` and the key for what is missing, empty or of another type."""
    given = _mapping(_mapping(row, "extra_info", where=where), "interaction_kwargs", where=where)
    return Collapsed(
        name=text_of(given, "name", where=where),
        goal=text_of(given, "single_turn_prompt", where=where),
        task=text_of(given, "task_desc", where=where),
        reference=text_of(row, "ground_truth", where=where),
        prompt=_messages(row, where=where),
    )


def text_of(row: Row, key: str, *, where: str) -> str:
    """The text under a key, without space around it. Raises ValueError where there is none."""
    value = row.get(key)
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{where}, key {key!r}: {_shown(value)}; give a text that is not empty")
    return value.strip()


def _messages(row: Row, *, where: str) -> tuple[Message, ...]:
    prompt = row.get("prompt")
    if not isinstance(prompt, Sequence) or isinstance(prompt, str) or not prompt:
        raise ValueError(
            f"{where}, key 'prompt': {_shown(prompt)}; give a list of messages with role, content"
        )
    found = tuple(
        _message(each, where=f"{where}, key 'prompt', message {at}") for at, each in enumerate(prompt)
    )
    if found[-1].role is not Role.USER:
        raise ValueError(
            f"{where}, key 'prompt': the last message is the {found[-1].role.value}'s, not a user's"
        )
    return found


def _message(given: object, *, where: str) -> Message:
    if not isinstance(given, Mapping):
        raise ValueError(f"{where}: {_shown(given)}; give an object with role and content")
    role = text_of(given, "role", where=where)
    if role not in set(Role):
        raise ValueError(f"{where}, key 'role': {role!r}; use one of {', '.join(Role)}")
    return Message(Role(role), text_of(given, "content", where=where))


def _mapping(row: Row, key: str, *, where: str) -> Row:
    value = row.get(key)
    if not isinstance(value, Mapping):
        raise ValueError(f"{where}, key {key!r}: {_shown(value)}; give an object")
    return value


def _shown(value: object) -> str:
    return "it is missing or null" if value is None else f"{value!r:.60} is a {type(value).__name__}"
