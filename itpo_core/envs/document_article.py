"""The article that one user has in mind: drawing it, writing it down, wording it, and which are held out."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import product as product_of
from random import Random
from types import MappingProxyType

from itpo_core.envs.dice import pick
from itpo_core.envs.document_press import Press
from itpo_core.envs.scenarios import UNSEEN_SHARE, check_domain, ranked_by_hash, simulated_scenario
from itpo_core.types import Scenario, Split

DOMAIN = "document"


@dataclass(frozen=True, slots=True)
class Article:
    """The hidden facts: a topic, a value for every slot (told or not), the wording, what is told at once."""

    topic: str
    values: Mapping[str, str]
    wording: int
    volunteered: tuple[str, ...] = ()


def draw_article(press: Press, random: Random) -> Article:
    """Topic, values and wording uniform; with the press's chance one fact of the article is volunteered."""
    topic = pick(random, press.topics)
    values = {slot.name: pick(random, slot.values) for slot in press.slots}
    wording = pick(random, range(len(press.leads)))
    volunteered = (pick(random, topic.needs),) if random.random() < press.habits.volunteers else ()
    return Article(topic.name, MappingProxyType(values), wording, volunteered)


def draw_article_of(press: Press, split: Split, *, random: Random) -> Article:
    """An article of the split: draws until one falls there."""
    while True:
        article = draw_article(press, random)
        if split_of(article, press) is split:
            return article


def split_of(article: Article, press: Press) -> Split:
    """Where the article belongs: only what it tells decides, so no text is on both sides."""
    facts = tuple(article.values[slot.name] for slot in press.needs_of(article.topic))
    return Split.UNSEEN if (article.topic, *facts) in unseen_combinations(press) else Split.SEEN


@cache
def unseen_combinations(press: Press) -> frozenset[tuple[str, ...]]:
    """Of each topic the fifth of all combinations (topic, one value a fact) whose hashes are the lowest."""
    unseen: list[tuple[str, ...]] = []
    for topic in press.topics:
        facts = product_of(*(slot.values for slot in press.needs_of(topic.name)))
        ranked = ranked_by_hash(DOMAIN, ((topic.name, *each) for each in facts))
        unseen += ranked[: round(UNSEEN_SHARE * len(ranked))]
    return frozenset(unseen)


def rendered(press: Press, topic: str, *, values: Mapping[str, str], wording: int) -> str:
    """The text about a topic in one wording; a fact without a value is left out."""
    clauses = [
        slot.clauses[wording].format(value=values[slot.name])
        for slot in press.needs_of(topic)
        if slot.name in values
    ]
    return " ".join([press.leads[wording].format(topic=topic), *clauses])


def reference_of(article: Article, press: Press) -> str:
    """The text that the user has in mind."""
    return rendered(press, article.topic, values=article.values, wording=article.wording)


def first_message(article: Article, press: Press, *, random: Random) -> str:
    """The opening: the topic, and every volunteered fact."""
    facts = [pick(random, press.phrases.fact).format(value=article.values[it]) for it in article.volunteered]
    return " ".join([pick(random, press.phrases.opening).format(topic=article.topic), *facts])


def scenario_of(article: Article, press: Press, *, opening: str) -> Scenario:
    """The scenario of an article; its id depends on preset, article and opening alone."""
    return simulated_scenario(
        DOMAIN,
        press.preset,
        topic=article.topic,
        split=split_of(article, press),
        opening=opening,
        latent_json=article_to_json(article),
    )


def article_to_json(article: Article) -> str:
    """Canonical JSON: sorted keys, no spaces."""
    latent = {
        "topic": article.topic,
        "values": dict(article.values),
        "wording": article.wording,
        "volunteered": list(article.volunteered),
    }
    return json.dumps(latent, sort_keys=True, separators=(",", ":"))


def article_of(scenario: Scenario, press: Press) -> Article:
    """The hidden article of a scenario. Raises ValueError when it is not of this press."""
    check_domain(scenario, DOMAIN)
    article = _article_from_json(scenario.latent_json)
    topics, slots = {topic.name for topic in press.topics}, {slot.name for slot in press.slots}
    if article is None or article.topic not in topics or article.values.keys() != slots:
        raise ValueError(
            f"scenario {scenario.scenario_id} is not of preset {press.preset!r}: it holds "
            f"{scenario.latent_json[:200]}; use the preset that made it"
        )
    return article


@lru_cache(maxsize=4096)
def _article_from_json(latent_json: str) -> Article | None:
    """Siblings share a scenario, and each asks for its article twice; None for a scenario of real text."""
    latent = json.loads(latent_json)
    if "topic" not in latent:
        return None
    values = MappingProxyType(latent["values"])
    return Article(latent["topic"], values, latent["wording"], tuple(latent["volunteered"]))
