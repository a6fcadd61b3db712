"""Bayes and look-ahead by hand: uniform diseases, so chances are shares of the diseases left."""

from collections.abc import Iterator
from functools import cache

import numpy as np
import pytest

from itpo_core.envs.medical_belief import Known, Outlook, chances, telling_symptoms
from itpo_core.envs.medical_language import Diagnosis, parse_in
from itpo_core.envs.personas import Persona
from tests.itpo_core.envs.medical_scenes import CANDID, HARD, RIGHT, SMALL

COUGH = Known("cough")
FEVER = COUGH.with_answer("fever", True)
ALL = FEVER.with_answer("fatigue", False)
OUTLOOK = Outlook(SMALL, CANDID)
# Half the chance of the diagnosis; of three items one is that of the age group, two are the disease's.
BLIND = 0.5 / 4 + 0.5 * (1 + 2 / 4) / 3
ONE_MISSING = 0.5 / 2 + 0.5 * (1 + 2 / 2) / 3


def final(text: str) -> Diagnosis:
    act = parse_in(SMALL, text)
    assert isinstance(act, Diagnosis)
    return act


def test_a_complaint_leaves_four_diseases_and_answers_leave_one() -> None:
    names = [disease.name for disease in SMALL.diseases]

    assert OUTLOOK.shares(COUGH).tolist() == [0.25] * 4 + [0.0] * 4
    assert OUTLOOK.shares(ALL)[names.index("moritis")] == 1.0


def test_mistaken_answers_weigh_less_and_volunteered_ones_do_not() -> None:
    outlook = Outlook(SMALL, Persona(mistakes=0.25))
    certain = Known("cough", FEVER.told, certain=frozenset({"fever"}))

    assert outlook.shares(FEVER)[:4].tolist() == pytest.approx([0.125, 0.375, 0.125, 0.375])
    assert outlook.shares(certain)[:4].tolist() == [0.0, 0.5, 0.0, 0.5]


def test_a_diagnosis_at_once_is_worth_a_guess() -> None:
    assert OUTLOOK.value(COUGH, 1) == pytest.approx(BLIND)
    assert OUTLOOK.diagnosis_value(COUGH, final(RIGHT), age="adult") == pytest.approx(BLIND)
    assert OUTLOOK.value(FEVER, 1) == pytest.approx(ONE_MISSING)
    assert OUTLOOK.value(ALL, 1) == pytest.approx(1.0)


def test_a_diagnosis_is_worth_what_of_it_can_be_right() -> None:
    wrong_age = final("diagnosis moritis recommendation honey steam syrup .")
    nothing = final("diagnosis lumosia recommendation ointment bandage .")

    assert OUTLOOK.diagnosis_value(ALL, final(RIGHT), age="adult") == pytest.approx(1.0)
    assert OUTLOOK.diagnosis_value(ALL, wrong_age, age="adult") == pytest.approx(0.5 + 0.5 * 2 / 3)
    assert OUTLOOK.diagnosis_value(ALL, nothing, age="adult") == 0.0


def test_a_candid_patient_is_worth_a_question_per_missing_answer() -> None:
    assert OUTLOOK.value(COUGH, 2) == pytest.approx(ONE_MISSING)
    assert OUTLOOK.value(COUGH, 3) == pytest.approx(1.0)
    assert OUTLOOK.question_value(COUGH, "fever", turns_left=2) == pytest.approx(ONE_MISSING)
    assert OUTLOOK.question_value(COUGH, "itching", turns_left=2) == pytest.approx(BLIND)


def test_evasion_and_departure_cost_their_chance() -> None:
    outlook = Outlook(SMALL, Persona(evades=0.2, leaves=0.1))

    assert outlook.value(FEVER, 2) == pytest.approx(0.8 * 1.0 + 0.2 * ONE_MISSING)
    assert outlook.idle_value(FEVER, 2) == pytest.approx(0.9 * ONE_MISSING)


def test_the_last_turn_is_lost_on_anything_but_a_diagnosis() -> None:
    assert OUTLOOK.question_value(COUGH, "fever", turns_left=1) == 0.0
    assert OUTLOOK.idle_value(COUGH, 1) == 0.0


@pytest.mark.parametrize("turns_left", [3, 4, 5])
def test_looking_ahead_by_arrays_is_what_recursion_finds(turns_left: int) -> None:
    outlook = Outlook(SMALL, Persona(mistakes=0.15))

    by_recursion = outlook.value(COUGH, turns_left)

    assert by_recursion == pytest.approx(_recursive(outlook, COUGH, turns_left))


@cache
def _recursive(outlook: Outlook, known: Known, turns_left: int) -> float:
    """The textbook expectimax: what each answer's chance is, and the best turn after it."""
    now = outlook.value(known, 1)
    if turns_left == 1:
        return now
    questions = (
        _question(outlook, known, symptom, turns_left=turns_left)
        for symptom in ("fever", "fatigue", "itching")
        if symptom not in known.symptoms
    )
    return max(now, *questions, 0.0)


def _question(outlook: Outlook, known: Known, symptom: str, *, turns_left: int) -> float:
    truly = float(outlook.shares(known) @ chances(SMALL)[SMALL.symptoms.index(symptom)])
    says_yes = 0.85 * truly + 0.15 * (1 - truly)
    after = [_recursive(outlook, known.with_answer(symptom, held), turns_left - 1) for held in (True, False)]
    same = _recursive(outlook, known, turns_left - 1)
    return 0.8 * (says_yes * after[0] + (1 - says_yes) * after[1]) + 0.2 * same


def test_answers_that_no_patient_gives_are_refused() -> None:
    with pytest.raises(ValueError, match="cough"):
        OUTLOOK.shares(COUGH.with_answer("rash", True))


def test_telling_symptoms_are_those_of_the_complaint() -> None:
    assert telling_symptoms(SMALL, "cough") == {"fever", "fatigue"}
    assert telling_symptoms(SMALL, "rash") == {"itching", "swelling"}
    assert all(5 <= len(telling_symptoms(HARD, each)) <= 22 for each in HARD.symptoms[:8])


def test_symptoms_are_noisy_or() -> None:
    (disease,) = (each for each in HARD.diseases if each.name == "lumitis")

    column = chances(HARD)[:, HARD.diseases.index(disease)]

    symptom, strength = disease.causes[-1]
    assert column[HARD.symptoms.index(symptom)] == pytest.approx(1 - 0.95 * (1 - strength))
    assert np.isclose(column, 0.05).sum() == len(HARD.symptoms) - len(disease.causes)


class Backwards(frozenset[tuple[str, bool]]):
    """A set as another process may go through it."""

    def __iter__(self) -> Iterator[tuple[str, bool]]:
        return iter(sorted(super().__iter__(), reverse=True))


def test_chances_have_the_same_last_bits_whatever_the_order_of_a_set() -> None:
    told = [(symptom, place % 3 == 0) for place, symptom in enumerate(HARD.symptoms[8:20])]
    outlook = Outlook(HARD, Persona(mistakes=0.15))

    once, again = (outlook.shares(Known("cough", kind(told))) for kind in (frozenset, Backwards))

    assert once.tolist() == again.tolist()
