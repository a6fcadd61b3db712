"""A scripted business person of the shop: sends a suggestion as it is, edits it, or writes his own answer."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from random import Random

from itpo_core.envs.acts import Question, SeveralQuestions, SmallTalk
from itpo_core.envs.base import Sent
from itpo_core.envs.dice import pick
from itpo_core.envs.sales_language import (
    ASSISTANT_PHRASES,
    Act,
    Recommendation,
    parse_in,
    told_values,
)
from itpo_core.envs.sales_need import Need, need_of
from itpo_core.envs.sales_shop import Shop, Slot, shop_of
from itpo_core.types import Acceptance, Message, Role, Scenario


@dataclass(frozen=True, slots=True)
class BusinessHabits:
    """Chances of sending a suggestion verbatim and of editing it; it is ignored otherwise.

    Raises ValueError for chances that are none, alone or together.
    """

    accepts: float = 0.6
    edits: float = 0.25

    def __post_init__(self) -> None:
        if min(self.accepts, self.edits) < 0 or self.accepts + self.edits > 1 + 1e-9:
            raise ValueError(
                f"accepts {self.accepts} and edits {self.edits}: use chances that are at most 1 together"
            )


class SalesBusinesses:
    """Business people of one preset, all with the same habits."""

    def __init__(self, preset: str, habits: BusinessHabits) -> None:
        self._shop = shop_of(preset)
        self._habits = habits
        definition = json.dumps([preset, asdict(habits), asdict(ASSISTANT_PHRASES)], sort_keys=True)
        self.digest = hashlib.sha256(definition.encode()).hexdigest()

    def person(self, scenario: Scenario, *, seed: int) -> "BusinessPerson":
        """See `Businesses.person`. Raises ValueError when the scenario is of another domain or preset."""
        return BusinessPerson(need_of(scenario, self._shop), self._shop, habits=self._habits, seed=seed)


class BusinessPerson:
    """One person in one conversation. Of the customer's need he uses the product and what has been told."""

    def __init__(self, need: Need, shop: Shop, *, habits: BusinessHabits, seed: int) -> None:
        self._need = need
        self._shop = shop
        self._habits = habits
        self._random = Random(seed)

    def send(self, messages: Sequence[Message], suggestion: str) -> Sent:
        """See `Business.send`."""
        told = told_values(messages, self._shop.slots)
        chance = self._random.random()
        if chance < self._habits.accepts:
            return Sent(suggestion, Acceptance.VERBATIM)
        if chance < self._habits.accepts + self._habits.edits:
            return Sent(self._edit(parse_in(self._shop, suggestion), told), Acceptance.EDITED)
        return Sent(self._own(messages, told), Acceptance.IGNORED)

    def _edit(self, act: Act, told: Mapping[str, str]) -> str:
        """The same act in his own words: of several questions one, of told facts those that were told."""
        match act:
            case Recommendation(words):
                return self._recommend(told, suggested=words)
            case Question(slot):
                return pick(self._random, ASSISTANT_PHRASES.question).format(slot=slot)
            case SeveralQuestions():
                return self._ask(told)
            case SmallTalk():
                return pick(self._random, ASSISTANT_PHRASES.small_talk)

    def _own(self, messages: Sequence[Message], told: Mapping[str, str]) -> str:
        """A question not yet answered; a recommendation once he knows enough or has one turn left."""
        needed = {slot.name for slot in self._shop.needs_of(self._need.product)}
        spoken = sum(message.role is Role.ASSISTANT for message in messages)
        if needed <= told.keys() or spoken == self._shop.habits.max_turns - 1:
            return self._recommend(told, suggested=frozenset())
        return self._ask(told)

    def _ask(self, told: Mapping[str, str]) -> str:
        names = [slot.name for slot in self._shop.slots if slot.name not in told]
        slot = pick(self._random, names or [slot.name for slot in self._shop.slots])
        return pick(self._random, ASSISTANT_PHRASES.question).format(slot=slot)

    def _recommend(self, told: Mapping[str, str], *, suggested: frozenset[str]) -> str:
        facts = [
            f"{slot.name} {self._value(slot, told, suggested=suggested)}"
            for slot in self._shop.needs_of(self._need.product)
        ]
        phrase = pick(self._random, ASSISTANT_PHRASES.recommendation)
        return phrase.format(product=self._need.product, facts=" ".join(facts))

    def _value(self, slot: Slot, told: Mapping[str, str], *, suggested: frozenset[str]) -> str:
        """What the customer told; else the one value that was suggested; else a guess."""
        if slot.name in told:
            return told[slot.name]
        named = [value for value in slot.values if value in suggested]
        return named[0] if len(named) == 1 else pick(self._random, slot.values)
