"""What all domains with a rule-based user do alike with scenarios and transcripts."""

from collections.abc import Iterable, Sequence
from typing import TypeVar

from itpo_core.identifiers import stable_id
from itpo_core.types import Message, Role, Scenario, Split

UNSEEN_SHARE = 0.2  # of all that can be drawn is held out
Facts = TypeVar("Facts", bound=tuple[str | int, ...])


def simulated_scenario(
    domain: str, preset: str, *, topic: str, split: Split, opening: str, latent_json: str
) -> Scenario:
    """A scenario whose id depends on domain, preset, hidden facts and opening alone; it shows the topic."""
    digest = stable_id(domain, preset, latent_json, opening)
    return Scenario(
        scenario_id=f"{domain}-{preset}-{topic}-{digest[:16]}",
        domain=domain,
        split=split,
        opening=(Message(Role.USER, opening),),
        latent_json=latent_json,
    )


def ranked_by_hash(domain: str, combinations: Iterable[Facts]) -> list[Facts]:
    """In the order of their hashes, which is the same everywhere, always: the first are held out."""
    return sorted(combinations, key=lambda each: stable_id(domain, *each))


def check_domain(scenario: Scenario, domain: str) -> None:
    """Raise ValueError when the scenario is of another domain."""
    if scenario.domain != domain:
        raise ValueError(
            f"scenario {scenario.scenario_id} is of the domain {scenario.domain!r}, not {domain!r}; "
            f"use the environment that made it"
        )


def assistant_places(scenario: Scenario, messages: Sequence[Message], *, limit: int) -> list[int]:
    """Where the assistant spoke. Raises ValueError when he did so more often than a conversation allows."""
    places = [place for place, message in enumerate(messages) if message.role is Role.ASSISTANT]
    if len(places) > limit:
        raise ValueError(
            f"scenario {scenario.scenario_id}: {len(places)} assistant messages, but a user "
            f"stays for at most {limit}; give the messages of one conversation of this domain"
        )
    return places
