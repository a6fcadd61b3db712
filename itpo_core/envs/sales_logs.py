"""A scripted salesperson, decent but not good; a first policy starts from its conversations."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

from itpo_core.envs.base import Businesses
from itpo_core.envs.dice import pick
from itpo_core.envs.sales import SalesEnvironment
from itpo_core.envs.sales_language import ASSISTANT_PHRASES, as_told, told_slots
from itpo_core.envs.sales_need import Need, draw_need_of, need_of, scenario_of
from itpo_core.envs.sales_oracle import SalesOracle
from itpo_core.envs.sales_shop import Shop, Slot, shop_of
from itpo_core.envs.scripted_logs import ScriptedTalk, numbered, to_ask_about, told_at_once
from itpo_core.identifiers import derive_seed
from itpo_core.types import Conversation, Message, Role, Scenario, Split


@dataclass(frozen=True, slots=True)
class SalesHabits:
    """How the scripted assistant chooses; all are probabilities."""

    recommends: float = 0.9  # once it knows enough, or has one turn left
    recommends_early: float = 0.03  # before that, guessing what it does not know
    chats: float = 0.15  # otherwise
    remembers: float = 0.85  # asks only what it was not told, when it asks
    request_extra: float = 0.3  # of a direct request: one fact more than needed


class ScriptedSalesperson:
    """Logged conversations of one preset, over seen scenarios only.

    A conversation depends on the seed and its place alone. Those of one scenario share a group and are
    numbered by `sample_index` within the call. With `businesses` somebody stands between him and the customer
    in ordinary conversations, and what he says is a suggestion.
    """

    def __init__(
        self, preset: str, habits: SalesHabits | None = None, *, businesses: Businesses | None = None
    ) -> None:
        self._shop = shop_of(preset)
        self._habits = SalesHabits() if habits is None else habits
        self._talk = ScriptedTalk(SalesEnvironment(preset), SalesOracle(preset), businesses)

    def conversations(self, *, count: int, seed: int) -> list[Conversation]:
        """Ordinary ones: the assistant asks, chats and recommends, the customer evades and may leave."""
        return self._talk.conversations(self.speak, count=count, seed=seed)

    def direct_requests(self, *, count: int, seed: int) -> list[Conversation]:
        """Short ones: the customer says all that is needed at once, the assistant recommends rightly."""
        return numbered([self._request(derive_seed(seed, "request", index)) for index in range(count)])

    def speak(self, scenario: Scenario, messages: Sequence[Message], *, random: Random) -> str:
        """What he says next: he asks, chats or recommends."""
        need = as_told(need_of(scenario, self._shop), messages, slots=self._shop.slots)
        told = told_slots(messages, self._shop.slots)
        knows_all = {slot.name for slot in self._shop.needs_of(need.product)} <= told
        spoken = sum(message.role is Role.ASSISTANT for message in messages)
        is_time = knows_all or spoken == self._shop.habits.max_turns - 1
        if random.random() < (self._habits.recommends if is_time else self._habits.recommends_early):
            return recommendation(need, self._shop, random=random, told=told)
        if random.random() < self._habits.chats:
            return pick(random, ASSISTANT_PHRASES.small_talk)
        return question(self._shop.slots, random=random, told=told, remembers=self._habits.remembers)

    def _request(self, seed: int) -> Conversation:
        random = Random(derive_seed(seed, "customer"))
        need = draw_request(self._shop, random, extra=self._habits.request_extra)
        scenario = scenario_of(need, self._shop, opening=request_message(need, self._shop, random=random))
        answer = recommendation(need, self._shop, random=random, told=frozenset(need.volunteered))
        return self._talk.answered(scenario, answer, seed=seed)


def draw_request(shop: Shop, random: Random, *, extra: float) -> Need:
    """A seen need whose customer volunteers every needed slot, in any order, and sometimes one more."""
    need = draw_need_of(shop, Split.SEEN, random=random)
    needed = [slot.name for slot in shop.needs_of(need.product)]
    names = [slot.name for slot in shop.slots]
    return replace(need, volunteered=told_at_once(needed, names, extra=extra, random=random))


def request_message(need: Need, shop: Shop, *, random: Random) -> str:
    """One message with the product and every volunteered value."""
    facts = [pick(random, shop.phrases.fact).format(value=need.values[slot]) for slot in need.volunteered]
    return " ".join([pick(random, shop.phrases.opening).format(product=need.product), *facts])


def recommendation(need: Need, shop: Shop, *, random: Random, told: frozenset[str]) -> str:
    """A recommendation that names every needed slot before its value: the one told, or a guess."""
    facts = []
    for slot in shop.needs_of(need.product):
        value = need.values[slot.name] if slot.name in told else pick(random, slot.values)
        facts.append(f"{slot.name} {value}")
    return pick(random, ASSISTANT_PHRASES.recommendation).format(product=need.product, facts=" ".join(facts))


def question(slots: Sequence[Slot], *, random: Random, told: frozenset[str], remembers: float) -> str:
    """A question about one slot, needed or not: one not yet told, or (forgetful) any."""
    names = [slot.name for slot in slots]
    choices = to_ask_about(names, told=told, remembers=remembers, random=random)
    return pick(random, ASSISTANT_PHRASES.question).format(slot=pick(random, choices))
