"""What one customer wants and keeps to himself: drawing it, writing it down, and which needs are held out."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import product as product_of
from random import Random
from types import MappingProxyType

from itpo_core.envs.dice import pick
from itpo_core.envs.sales_shop import Shop
from itpo_core.envs.scenarios import UNSEEN_SHARE, check_domain, ranked_by_hash, simulated_scenario
from itpo_core.types import Scenario, Split

DOMAIN = "sales"


@dataclass(frozen=True, slots=True)
class Need:
    """The hidden facts: a product, a value for every slot (needed or not), the slots told at once."""

    product: str
    values: Mapping[str, str]
    volunteered: tuple[str, ...] = ()


def draw_need(shop: Shop, random: Random) -> Need:
    """Product and all values uniform; with the shop's probability one needed slot is volunteered."""
    product = pick(random, shop.products)
    values = {slot.name: pick(random, slot.values) for slot in shop.slots}
    volunteered = (pick(random, product.needs),) if random.random() < shop.habits.volunteers else ()
    return Need(product.name, MappingProxyType(values), volunteered)


def draw_need_of(shop: Shop, split: Split, *, random: Random) -> Need:
    """A need of the split: draws until one falls there."""
    while True:
        need = draw_need(shop, random)
        if split_of(need, shop) is split:
            return need


def split_of(need: Need, shop: Shop) -> Split:
    """Where the combination of product and values belongs; it is the same everywhere, always."""
    values = tuple(need.values[slot.name] for slot in shop.slots)
    return Split.UNSEEN if (need.product, *values) in unseen_combinations(shop) else Split.SEEN


@cache
def unseen_combinations(shop: Shop) -> frozenset[tuple[str, ...]]:
    """Of each product the fifth of all combinations (product, one value a slot) whose hashes are the lowest.

    A share of each product, so that holding out does not change how often a product is asked for.
    """
    unseen: list[tuple[str, ...]] = []
    for product in shop.products:
        values = product_of(*(slot.values for slot in shop.slots))
        ranked = ranked_by_hash(DOMAIN, ((product.name, *each) for each in values))
        unseen += ranked[: round(UNSEEN_SHARE * len(ranked))]
    return frozenset(unseen)


def first_message(need: Need, shop: Shop, *, random: Random) -> str:
    """The opening of an ordinary customer, with what he volunteers."""
    sentences = [pick(random, shop.phrases.opening).format(product=need.product)]
    for slot in need.volunteered:
        sentences.append(pick(random, shop.phrases.volunteered).format(value=need.values[slot]))
    return " ".join(sentences)


def scenario_of(need: Need, shop: Shop, *, opening: str) -> Scenario:
    """The scenario of a need; its id depends on preset, need and opening alone."""
    return simulated_scenario(
        DOMAIN,
        shop.preset,
        topic=need.product,
        split=split_of(need, shop),
        opening=opening,
        latent_json=need_to_json(need),
    )


def need_to_json(need: Need) -> str:
    """Canonical JSON: sorted keys, no spaces."""
    latent = {
        "product": need.product,
        "values": dict(need.values),
        "volunteered": list(need.volunteered),
    }
    return json.dumps(latent, sort_keys=True, separators=(",", ":"))


def need_of(scenario: Scenario, shop: Shop) -> Need:
    """The hidden facts of a scenario. Raises ValueError when they are not of this shop."""
    check_domain(scenario, DOMAIN)
    need = _need_from_json(scenario.latent_json)
    _check(need, shop, scenario_id=scenario.scenario_id)
    return need


@lru_cache(maxsize=4096)
def _need_from_json(latent_json: str) -> Need:
    """Siblings share a scenario, and each asks for its need twice."""
    latent = json.loads(latent_json)
    return Need(latent["product"], MappingProxyType(latent["values"]), tuple(latent["volunteered"]))


def _check(need: Need, shop: Shop, *, scenario_id: str) -> None:
    sold = {product.name for product in shop.products}
    slots = {slot.name for slot in shop.slots}
    if need.product not in sold or need.values.keys() != slots:
        raise ValueError(
            f"scenario {scenario_id} is not of preset {shop.preset!r}: it wants {need.product!r} "
            f"with values for {sorted(need.values)}; use the preset that made it"
        )
