"""A simulated customer: answers proper questions, evades some, and may leave when his time is wasted."""

from collections.abc import Sequence
from random import Random

from itpo_core.envs.acts import Question, SeveralQuestions, SmallTalk
from itpo_core.envs.base import Reply
from itpo_core.envs.dice import pick
from itpo_core.envs.replies import not_spoken_to, said_value, stop_after
from itpo_core.envs.sales_language import (
    Act,
    Recommendation,
    parse_in,
    told_slots,
)
from itpo_core.envs.sales_need import Need
from itpo_core.envs.sales_shop import Shop
from itpo_core.types import Failure, Message, StopReason


class Customer:
    """One customer of one conversation, with random numbers of his own.

    What he has told already he reads off the transcript, so only the dice are state.
    """

    def __init__(self, need: Need, shop: Shop, *, seed: int) -> None:
        self._need = need
        self._shop = shop
        self._needed = {slot.name for slot in shop.needs_of(need.product)}
        self._random = Random(seed)

    def reply(self, messages: Sequence[Message]) -> Reply | Failure:
        """Answer the last message, which must be the assistant's; otherwise a Failure says so."""
        failure = not_spoken_to(messages, who="customer")
        if failure is not None:
            return failure
        act = parse_in(self._shop, messages[-1].content)
        if isinstance(act, Recommendation):
            return Reply(None, StopReason.COMPLETED)
        told = told_slots(messages, self._shop.slots)
        text = self._beside_the_point() + self._answer(act, told)
        stop = stop_after(
            messages,
            is_useless=self._is_useless(act, told),
            leaves=self._shop.habits.leaves,
            max_turns=self._shop.habits.max_turns,
            random=self._random,
        )
        return Reply(text) if stop is None else stop

    def _is_useless(self, act: Act, told: frozenset[str]) -> bool:
        return not (isinstance(act, Question) and act.slot in self._needed - told)

    def _answer(self, act: Act, told: frozenset[str]) -> str:
        phrases = self._shop.phrases
        match act:
            case Question(slot) if slot in told:
                return pick(self._random, phrases.told_before)
            case Question(slot):
                return self._fact_or_evasion(slot)
            case SeveralQuestions():
                return pick(self._random, phrases.several)
            case SmallTalk() | Recommendation():
                return pick(self._random, phrases.small_talk)

    def _beside_the_point(self) -> str:
        """What he says first, if he rambles; others throw no dice for it, so that old seeds last."""
        rambles = self._shop.habits.rambles
        if rambles == 0 or self._random.random() >= rambles:
            return ""
        return pick(self._random, self._shop.phrases.small_talk) + " "

    def _fact_or_evasion(self, slot: str) -> str:
        if self._random.random() < self._shop.habits.evades:
            return pick(self._random, self._shop.phrases.evasion)
        return pick(self._random, self._shop.phrases.fact).format(value=self._value(slot))

    def _value(self, slot: str) -> str:
        """The one that he needs; by mistake another of the slot."""
        needed, mistakes = self._need.values[slot], self._shop.habits.mistakes
        if mistakes == 0:
            return needed
        (values,) = (each.values for each in self._shop.slots if each.name == slot)
        return said_value(needed, values, mistakes=mistakes, random=self._random)
