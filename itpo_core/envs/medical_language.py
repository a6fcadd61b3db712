"""What words mean at the doctor's: a doctor's text becomes an act, a patient's texts become known facts.

Only lower-case letters count; everything else separates words, so that "Diagnosis: Lumitis." is read too.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise

from itpo_core.envs.acts import Asking, asking_about
from itpo_core.envs.medical_ward import Ward, ward_of
from itpo_core.types import Message, Role

DIAGNOSIS, RECOMMENDATION = "diagnosis", "recommendation"
ANSWERS = {"yes": True, "no": False}
JUDGE_SCALE = 10.0


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The final act: the diseases named before "recommendation" and the items named behind it."""

    diseases: frozenset[str]
    items: frozenset[str]


Act = Diagnosis | Asking


@dataclass(frozen=True, slots=True)
class DoctorPhrases:
    """What the scripted doctor says; `{symptom}`, `{disease}`, `{items}` are filled in."""

    question: tuple[str, ...] = (
        "do you have {symptom} ?",
        "is there any {symptom} ?",
        "tell me about {symptom} please .",
    )
    small_talk: tuple[str, ...] = (
        "what a lovely day today !",
        "i love helping people like you .",
        "thanks for visiting us today .",
    )
    diagnosis: tuple[str, ...] = ("diagnosis {disease} recommendation {items} .",)


DOCTOR_PHRASES = DoctorPhrases()


def words_of(text: str) -> list[str]:
    """The words of a text, lower case, without punctuation."""
    return re.findall("[a-z]+", text.lower())


def parse_in(ward: Ward, text: str) -> Act:
    """The act of a doctor's text; the word "diagnosis" wins over every symptom."""
    words = words_of(text)
    if DIAGNOSIS in words:
        return _diagnosis(words[words.index(DIAGNOSIS) + 1 :], ward)
    return asking_about({word for word in words if word in ward.symptoms})


def _diagnosis(words: list[str], ward: Ward) -> Diagnosis:
    border = words.index(RECOMMENDATION) if RECOMMENDATION in words else len(words)
    known = {disease.name for disease in ward.diseases}
    return Diagnosis(
        diseases=frozenset(words[:border]) & known,
        items=frozenset(words[border:]) & set(ward.items),
    )


def told_facts(messages: Iterable[Message], symptoms: Collection[str]) -> dict[str, bool]:
    """What the patient has told about each symptom: a name with "yes" or "no" right behind it."""
    said = [words_of(message.content) for message in messages if message.role is Role.USER]
    return {
        symptom: ANSWERS[answer]
        for words in said
        for symptom, answer in pairwise(words)
        if symptom in symptoms and answer in ANSWERS
    }


def is_right(act: Diagnosis, disease: str) -> bool:
    """Whether exactly one disease is named, and it is this one."""
    return act.diseases == {disease}


def overlap(named: Collection[str], right: Collection[str]) -> float:
    """Shared items over the longer of the two lists: neither naming everything nor leaving out pays."""
    return len(set(named) & set(right)) / max(len(named), len(right))


def scores(act: Diagnosis, disease: str, *, right: Collection[str]) -> Mapping[str, float]:
    """Half for the diagnosis, half for the recommendation, with both parts and the judge's scale of 0-10."""
    parts = {"diagnosis": float(is_right(act, disease)), "overlap": overlap(act.items, right)}
    value = 0.5 * parts["diagnosis"] + 0.5 * parts["overlap"]
    return {"score": value, **parts, "judge_scale": JUDGE_SCALE * value}


def vocabulary(preset: str) -> tuple[str, ...]:
    """Every word that a patient or the scripted doctor of the preset can say, sorted."""
    ward = ward_of(preset)
    templates = [*_patient_phrases(ward), *_doctor_phrases()]
    words = {word for template in templates for word in template.split() if not word.startswith("{")}
    words |= {disease.name for disease in ward.diseases} | set(ward.items) | set(ward.symptoms)
    return tuple(sorted(words | {age for age, _ in ward.ages}))


def _patient_phrases(ward: Ward) -> tuple[str, ...]:
    said = ward.phrases
    return (
        *said.opening, *said.yes, *said.no, *said.unsure,
        *said.told_before, *said.several, *said.small_talk, *said.ramble,
    )  # fmt: skip


def _doctor_phrases() -> tuple[str, ...]:
    said = DOCTOR_PHRASES
    return (*said.question, *said.small_talk, *said.diagnosis)
