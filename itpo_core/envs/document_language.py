"""What words mean at the press: an assistant text becomes an act, user texts become told facts.

Texts are split on spaces; a slot's name counts only when it stands alone, a value only when it is whole.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from itpo_core.envs.acts import Asking, asking_about
from itpo_core.envs.document_drafts import assembled, has_draft
from itpo_core.envs.document_press import Press, press_of
from itpo_core.types import Message, Role


@dataclass(frozen=True, slots=True)
class Draft:
    """A marked draft; `text` is the document, without markers."""

    text: str


Act = Draft | Asking


@dataclass(frozen=True, slots=True)
class AssistantPhrases:
    """What the scripted assistant says; `{slot}` and `{text}` are filled in."""

    question: tuple[str, ...] = (
        "what {slot} should i write ?",
        "which {slot} is it ?",
        "tell me the {slot} please .",
    )
    small_talk: tuple[str, ...] = (
        "what a lovely day today !",
        "i love to write with you .",
        "thanks for asking me again .",
    )
    draft: tuple[str, ...] = ("draft : {text}",)


ASSISTANT_PHRASES = AssistantPhrases()


def parse(press: Press, text: str) -> Act:
    """The act of an assistant text; a marked draft wins over every slot name."""
    if has_draft(text):
        return Draft(assembled([text]))
    words = set(text.split())
    return asking_about([slot.name for slot in press.slots if slot.name in words])


def told_facts(messages: Iterable[Message], press: Press) -> dict[str, str]:
    """By slot the value that the user has said, be it right or wrong; of several of one slot the last."""
    told: dict[str, str] = {}
    for message in messages:
        if message.role is Role.USER:
            text = f" {message.content} "
            told |= {slot: value for slot, value in _values(press) if f" {value} " in text}
    return told


def _values(press: Press) -> list[tuple[str, str]]:
    return [(slot.name, value) for slot in press.slots for value in slot.values]


def vocabulary(preset: str) -> tuple[str, ...]:
    """Every word that a user or the scripted assistant of the preset can say, or that an article holds."""
    press = press_of(preset)
    clauses = [clause for slot in press.slots for clause in slot.clauses[: len(press.leads)]]
    templates = [*_phrases(press), *_assistant_phrases(), *press.leads, *clauses]
    words = {word for template in templates for word in template.split() if not word.startswith("{")}
    words |= {topic.name for topic in press.topics}
    words |= {slot.name for slot in press.slots}
    words |= {word for slot in press.slots for value in slot.values for word in value.split()}
    return tuple(sorted(words))


def _phrases(press: Press) -> tuple[str, ...]:
    said = press.phrases
    return (
        *said.opening, *said.fact, *said.evasion, *said.told_before, *said.several, *said.small_talk,
        *said.rambling,
    )  # fmt: skip


def _assistant_phrases() -> tuple[str, ...]:
    said = ASSISTANT_PHRASES
    return (*said.question, *said.small_talk, *said.draft)
