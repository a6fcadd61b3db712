"""What one patient has and does not know: drawing it, writing it down, and which cases are held out."""

import json
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import compress, product
from random import Random

from itpo_core.envs.dice import pick
from itpo_core.envs.medical_belief import telling_symptoms
from itpo_core.envs.medical_ward import Ward
from itpo_core.envs.scenarios import UNSEEN_SHARE, check_domain, simulated_scenario
from itpo_core.identifiers import stable_id
from itpo_core.types import Scenario, Split

DOMAIN = "medical"
HASH_SPACE = 16.0**8
COUNTABLE = 10  # symptoms of which all combinations are counted


@dataclass(frozen=True, slots=True)
class Illness:
    """The hidden facts: a disease, the age group, the complaint, every symptom held (the complaint among
    them), and the symptoms told about at once."""

    disease: str
    age: str
    complaint: str
    symptoms: frozenset[str]
    volunteered: tuple[str, ...] = ()


def draw_illness(ward: Ward, random: Random) -> Illness:
    """Disease, age and complaint uniform, other symptoms noisy-or; sometimes a telling one is volunteered."""
    disease = pick(random, ward.diseases)
    age, _ = pick(random, ward.ages)
    complaint = pick(random, disease.complaints)
    shown = {each for each in ward.symptoms if random.random() < ward.chance(disease, each)}
    telling = sorted(telling_symptoms(ward, complaint))
    volunteered = (pick(random, telling),) if telling and random.random() < ward.volunteers else ()
    return Illness(disease.name, age, complaint, frozenset(shown | {complaint}), volunteered)


def draw_illness_of(ward: Ward, split: Split, *, random: Random) -> Illness:
    """An illness of the split: draws until one falls there."""
    while True:
        illness = draw_illness(ward, random)
        if split_of(illness, ward) is split:
            return illness


def split_of(illness: Illness, ward: Ward) -> Split:
    """Where the combination of disease, age and symptoms belongs; it is the same everywhere, always."""
    held_out = unseen_hashes(ward, illness.disease)
    place = _place(ward, illness.disease, illness.age, symptoms=illness.symptoms)
    if held_out is None:
        return Split.UNSEEN if int(place[:8], 16) < UNSEEN_SHARE * HASH_SPACE else Split.SEEN
    return Split.UNSEEN if place in held_out else Split.SEEN


@cache
def unseen_hashes(ward: Ward, disease: str) -> frozenset[str] | None:
    """Of one disease the fifth of all combinations whose hashes are the lowest.

    A share of each disease, so that holding out does not change how often it comes. None where there are too
    many combinations to count them: then whatever hashes into the lowest fifth is held out.
    """
    of = ward.disease(disease)
    uncertain = [each for each in ward.uncertain(of) if each not in of.complaints]
    if len(of.complaints) > 1 or len(uncertain) > COUNTABLE:
        return None
    certain = {*of.complaints, *(each for each in ward.symptoms if ward.chance(of, each) == 1.0)}
    places = sorted(
        _place(ward, disease, age, symptoms=frozenset({*certain, *compress(uncertain, held)}))
        for age, _ in ward.ages
        for held in product((True, False), repeat=len(uncertain))
    )
    return frozenset(places[: round(UNSEEN_SHARE * len(places))])


def _place(ward: Ward, disease: str, age: str, *, symptoms: frozenset[str]) -> str:
    return stable_id(DOMAIN, ward.preset, disease, age, *sorted(symptoms))


def fact_text(symptom: str, is_held: bool, *, ward: Ward, random: Random) -> str:
    """A symptom with "yes" or "no"."""
    phrases = ward.phrases.yes if is_held else ward.phrases.no
    return pick(random, phrases).format(symptom=symptom)


def first_message(illness: Illness, ward: Ward, *, random: Random) -> str:
    """The opening: age group, complaint, and what the patient volunteers."""
    opening = pick(random, ward.phrases.opening).format(age=illness.age, complaint=illness.complaint)
    facts = [
        fact_text(symptom, symptom in illness.symptoms, ward=ward, random=random)
        for symptom in illness.volunteered
    ]
    return " ".join([opening, *facts])


def scenario_of(illness: Illness, ward: Ward, *, opening: str) -> Scenario:
    """The scenario of an illness; its id depends on preset, illness and opening alone."""
    return simulated_scenario(
        DOMAIN,
        ward.preset,
        topic=illness.disease,
        split=split_of(illness, ward),
        opening=opening,
        latent_json=illness_to_json(illness, ward),
    )


def illness_to_json(illness: Illness, ward: Ward) -> str:
    """Canonical JSON: sorted keys, no spaces. `values` are what a right answer names."""
    right = ward.right_items(illness.disease, illness.age)
    latent = {
        "age": illness.age,
        "complaint": illness.complaint,
        "symptoms": sorted(illness.symptoms),
        "values": {"diagnosis": illness.disease, "recommendation": " ".join(right)},
        "volunteered": list(illness.volunteered),
    }
    return json.dumps(latent, sort_keys=True, separators=(",", ":"))


def illness_of(scenario: Scenario, ward: Ward) -> Illness:
    """The hidden facts of a scenario. Raises ValueError when they are not of this ward."""
    check_domain(scenario, DOMAIN)
    illness = _illness_from_json(scenario.latent_json)
    known = {disease.name for disease in ward.diseases}
    if illness.disease not in known or not illness.symptoms <= set(ward.symptoms):
        raise ValueError(
            f"scenario {scenario.scenario_id} is not of preset {ward.preset!r}: its patient has "
            f"{illness.disease!r} with {sorted(illness.symptoms)}; use the preset that made it"
        )
    return illness


@lru_cache(maxsize=4096)
def _illness_from_json(latent_json: str) -> Illness:
    """Siblings share a scenario, and each asks for its illness twice."""
    latent = json.loads(latent_json)
    if "complaint" not in latent:
        raise ValueError(
            f"a case without a simulated illness, but with {sorted(latent)}: real cases are for a patient "
            "played by a language model"
        )
    return Illness(
        disease=latent["values"]["diagnosis"],
        age=latent["age"],
        complaint=latent["complaint"],
        symptoms=frozenset(latent["symptoms"]),
        volunteered=tuple(latent["volunteered"]),
    )
