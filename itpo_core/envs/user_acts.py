"""The kinds of messages that a domain's users send, read off their words; by domain.

A message that tells a fact is of that kind, whatever else it says; else the first kind of phrase that stands
in it counts, in the order in which the domain lists its phrases; else it is `other`.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict

from itpo_core.envs.document_language import told_facts
from itpo_core.envs.document_press import UserPhrases as WriterPhrases
from itpo_core.envs.document_press import press_of
from itpo_core.envs.math_language import told_numbers
from itpo_core.envs.math_school import UserPhrases as PupilPhrases
from itpo_core.envs.math_school import school_of
from itpo_core.envs.medical_language import told_facts as told_symptoms
from itpo_core.envs.medical_ward import PatientPhrases, ward_of
from itpo_core.envs.sales_language import told_slots
from itpo_core.envs.sales_shop import CustomerPhrases, shop_of
from itpo_core.types import Message, Role

Acts = Callable[[str], str]
Phrases = CustomerPhrases | WriterPhrases | PupilPhrases | PatientPhrases
FACT, HAS, HAS_NOT, OTHER = "fact", "has", "has_not", "other"
# Kinds by which somebody does not do what he was asked to, or denies.
REFUSING = frozenset({"evasion", "unsure", "told_before", "not_there", "several", "wrong_step", HAS_NOT})
# Phrases that no answer is known by: they begin the talk, tell a fact, or come before any other.
NO_KINDS = frozenset({"opening", "volunteered", "fact", "yes", "no", "ramble", "rambling"})


def sales_acts(preset: str) -> Acts:
    """Of a customer of this preset; a value of any slot is a fact."""
    shop = shop_of(preset)
    return _acts(shop.phrases, lambda heard: FACT if told_slots(heard, shop.slots) else None)


def document_acts(preset: str) -> Acts:
    """Of somebody with an article of this preset in mind; a value of any slot is a fact."""
    press = press_of(preset)
    return _acts(press.phrases, lambda heard: FACT if told_facts(heard, press) else None)


def math_acts(preset: str) -> Acts:
    """Of somebody with a problem of this preset; a number of any quantity is a fact."""
    school = school_of(preset)
    return _acts(school.phrases, lambda heard: FACT if told_numbers(heard, school.names) else None)


def medical_acts(preset: str) -> Acts:
    """Of a patient of this preset; a symptom that he has is one kind, one that he has not another."""
    ward = ward_of(preset)

    def fact(heard: Sequence[Message]) -> str | None:
        told = told_symptoms(heard, ward.symptoms).values()
        return (HAS if any(told) else HAS_NOT) if told else None

    return _acts(ward.phrases, fact)


def _acts(phrases: Phrases, fact: Callable[[Sequence[Message]], str | None]) -> Acts:
    """By the fact that a message tells, if any, then by the phrases that no fact is told with."""
    kinds = {name: said for name, said in asdict(phrases).items() if name not in NO_KINDS}

    def act(text: str) -> str:
        found = (kind for kind, said in kinds.items() if any(_fixed_words(each) in text for each in said))
        return fact((Message(Role.USER, text),)) or next(found, OTHER)

    return act


def _fixed_words(phrase: str) -> str:
    """Without what is filled in at its beginning."""
    return phrase.rpartition("}")[2].strip()


USER_ACTS: dict[str, Callable[[str], Acts]] = {
    "sales": sales_acts,
    "document": document_acts,
    "math": math_acts,
    "medical": medical_acts,
}
