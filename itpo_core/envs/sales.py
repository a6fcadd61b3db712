"""The sales domain: an assistant finds out what a customer needs, and recommends once."""

from collections.abc import Sequence
from random import Random

from itpo_core.envs.sales_customer import Customer
from itpo_core.envs.sales_language import Recommendation, parse_in, success_chance
from itpo_core.envs.sales_need import DOMAIN, draw_need_of, first_message, need_of, scenario_of
from itpo_core.envs.sales_shop import VERSION, Shop, definition_digest, shop_for, shop_of
from itpo_core.identifiers import derive_seed
from itpo_core.types import Message, Outcome, Role, Scenario, Scored, Split, Unscored


class SalesEnvironment:
    """Scenarios, customers and the outcome rule of one preset ("small" or "hard")."""

    def __init__(self, preset: str) -> None:
        shop = shop_of(preset)
        self.name = DOMAIN
        self.version = VERSION
        self.digest = definition_digest(shop)
        self.max_turns = shop.habits.max_turns
        self._shop = shop

    def scenarios(self, split: Split, *, count: int, seed: int) -> list[Scenario]:
        """`count` scenarios of the split; a longer list from the same seed begins with the shorter one."""
        return [
            draw_scenario(self._shop, split, seed=derive_seed(seed, "scenario", index))
            for index in range(count)
        ]

    def user(self, scenario: Scenario, *, seed: int) -> Customer:
        """A fresh customer. Raises ValueError when the scenario is of another domain or preset."""
        shop = shop_for(self._shop, scenario.persona_id)
        return Customer(need_of(scenario, shop), shop, seed=derive_seed(seed, "customer"))

    def outcome(self, scenario: Scenario, messages: Sequence[Message]) -> Outcome:
        """1 when the first recommendation within the turn limit is right; 0 when wrong, or none was made."""
        need = need_of(scenario, self._shop)
        spoken = [message.content for message in messages if message.role is Role.ASSISTANT]
        if not spoken:
            return Unscored("the assistant said nothing")
        for text in spoken[: self.max_turns]:
            act = parse_in(self._shop, text)
            if isinstance(act, Recommendation):
                needs = self._shop.needs_of(need.product)
                return Scored(success_chance(act, need.product, needs=needs, known=need.values))
        return Scored(0.0)


def draw_scenario(shop: Shop, split: Split, *, seed: int) -> Scenario:
    """One scenario of the split, from its own seed."""
    random = Random(seed)
    need = draw_need_of(shop, split, random=random)
    return scenario_of(need, shop, opening=first_message(need, shop, random=random))
