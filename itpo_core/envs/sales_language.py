"""What words mean in the shop: an assistant text becomes an act, customer texts become known facts.

Texts are split on spaces; a word counts only when it stands alone.
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from itpo_core.envs.acts import Asking, asking_about
from itpo_core.envs.sales_need import Need
from itpo_core.envs.sales_shop import Shop, Slot, shop_of
from itpo_core.types import Message, Role

RECOMMEND = "recommend"


@dataclass(frozen=True, slots=True)
class Recommendation:
    """The final act; `words` are those from "recommend" on."""

    words: frozenset[str]


Act = Recommendation | Asking


@dataclass(frozen=True, slots=True)
class AssistantPhrases:
    """What the scripted assistant says; `{slot}`, `{product}`, `{facts}` (slots, values) are filled in."""

    question: tuple[str, ...] = (
        "what {slot} do you want ?",
        "which {slot} do you prefer ?",
        "tell me about the {slot} please .",
    )
    small_talk: tuple[str, ...] = (
        "what a lovely day today !",
        "i love helping people like you .",
        "thanks for visiting our shop today .",
    )
    recommendation: tuple[str, ...] = ("i recommend a {product} with {facts} .",)


ASSISTANT_PHRASES = AssistantPhrases()


def parse(text: str, slots: Collection[str]) -> Act:
    """The act of an assistant text; the word "recommend" wins over every slot name."""
    words = text.split()
    if RECOMMEND in words:
        return Recommendation(frozenset(words[words.index(RECOMMEND) :]))
    return asking_about({word for word in words if word in slots})


def parse_in(shop: Shop, text: str) -> Act:
    """`parse` with the slots of a shop."""
    return parse(text, [slot.name for slot in shop.slots])


def told_slots(messages: Iterable[Message], slots: Sequence[Slot]) -> frozenset[str]:
    """Slots of which the customer has said a value."""
    said = {word for message in messages if message.role is Role.USER for word in message.content.split()}
    return frozenset(slot.name for slot in slots if said & set(slot.values))


def told_values(messages: Iterable[Message], slots: Sequence[Slot]) -> dict[str, str]:
    """The value that the customer said first, of every slot of which he said one."""
    said = [word for message in messages if message.role is Role.USER for word in message.content.split()]
    slot_of = {value: slot.name for slot in slots for value in slot.values}
    return {slot_of[word]: word for word in reversed(said) if word in slot_of}


def as_told(need: Need, messages: Iterable[Message], *, slots: Sequence[Slot]) -> Need:
    """The need with the values that the customer has told, which may be mistakes."""
    return replace(need, values={**need.values, **told_values(messages, slots)})


@dataclass(frozen=True, slots=True)
class Doubt:
    """Slots whose known value may be a mistake, each with the chance `mistakes`; usually none."""

    slots: frozenset[str] = frozenset()
    mistakes: float = 0.0


CERTAIN = Doubt()


def success_chance(
    recommendation: Recommendation,
    product: str,
    *,
    needs: Sequence[Slot],
    known: Mapping[str, str],
    doubt: Doubt = CERTAIN,
) -> float:
    """Chance that a recommendation is right, for someone who knows the values `known` by slot.

    The product must be named, and exactly one value of every needed slot: the known one, or any one of a slot
    still unknown, whose values are equally likely. Values of other slots do not matter. A known value that is
    in doubt is wrong with the chance of a mistake, and all others are then equally likely.
    """
    if product not in recommendation.words:
        return 0.0
    return math.prod(
        _slot_chance(
            recommendation.words,
            slot,
            known=known.get(slot.name),
            mistakes=doubt.mistakes if slot.name in doubt.slots else 0.0,
        )
        for slot in needs
    )


def _slot_chance(words: frozenset[str], slot: Slot, *, known: str | None, mistakes: float) -> float:
    named = words & set(slot.values)
    if len(named) != 1:
        return 0.0
    if known is None:
        return 1 / len(slot.values)
    return 1 - mistakes if known in named else mistakes / (len(slot.values) - 1)


def vocabulary(preset: str) -> tuple[str, ...]:
    """Every word that a customer or the scripted assistant of the preset can say, sorted."""
    shop = shop_of(preset)
    templates = [*_phrases(shop), *_assistant_phrases()]
    words = {word for template in templates for word in template.split() if not word.startswith("{")}
    words |= {product.name for product in shop.products}
    words |= {word for slot in shop.slots for word in (slot.name, *slot.values)}
    return tuple(sorted(words))


def _phrases(shop: Shop) -> tuple[str, ...]:
    said = shop.phrases
    return (
        *said.opening, *said.volunteered, *said.fact, *said.evasion,
        *said.told_before, *said.several, *said.small_talk,
    )  # fmt: skip


def _assistant_phrases() -> tuple[str, ...]:
    said = ASSISTANT_PHRASES
    return (*said.question, *said.small_talk, *said.recommendation)
