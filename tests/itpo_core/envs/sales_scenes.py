"""Customers and transcripts written by hand, for the tests of the sales domain."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain

from itpo_core.envs.base import Reply
from itpo_core.envs.sales_customer import Customer
from itpo_core.envs.sales_need import Need, scenario_of
from itpo_core.envs.sales_shop import SHOPS, Habits, Shop
from itpo_core.types import Message, Role, Scenario

SMALL = SHOPS["small"]
# A laptop needs budget and use; size and color are known to the customer and do not matter.
LAPTOP = Need("laptop", {"budget": "cheap", "size": "large", "color": "red", "use": "work"})
PATIENT = Habits(evades=0.0, leaves=0.0)
IMPATIENT = Habits(evades=0.0, leaves=1.0)
EVASIVE = Habits(evades=1.0, leaves=0.0)


def laptop_scenario(opening: str = "hi i need a laptop .", shop: Shop = SMALL) -> Scenario:
    """Someone who needs a cheap laptop for work."""
    return scenario_of(LAPTOP, shop, opening=opening)


def said(*texts: str, opening: str = "hi i need a laptop .") -> list[Message]:
    """A transcript: the opening, then assistant and customer in turn."""
    roles = [Role.USER, Role.ASSISTANT]
    return [Message(roles[place % 2], text) for place, text in enumerate(chain([opening], texts))]


def reply_of(habits: Habits, *texts: str, seed: int = 0) -> Reply:
    """What the laptop customer with these habits answers to a transcript."""
    reply = Customer(LAPTOP, replace(SMALL, habits=habits), seed=seed).reply(said(*texts))
    assert isinstance(reply, Reply)
    return reply


def talk(
    customer: Customer, opening: Sequence[Message], *, speak: Callable[[Sequence[Message]], str]
) -> list[Message]:
    """Hold a conversation until the customer ends it."""
    messages = list(opening)
    while True:
        messages.append(Message(Role.ASSISTANT, speak(messages)))
        reply = customer.reply(messages)
        assert isinstance(reply, Reply)
        if reply.stop is not None:
            return messages
        messages.append(Message(Role.USER, reply.text or ""))
