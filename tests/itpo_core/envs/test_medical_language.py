"""What a doctor's and a patient's words mean."""

import pytest

from itpo_core.envs.acts import Question, SeveralQuestions, SmallTalk
from itpo_core.envs.medical_language import (
    Act,
    Diagnosis,
    overlap,
    parse_in,
    scores,
    told_facts,
)
from itpo_core.types import Message, Role
from tests.itpo_core.envs.medical_scenes import SMALL, said


@pytest.mark.parametrize(
    ("text", "act"),
    [
        ("do you have fever ?", Question("fever")),
        ("Any FEVER, perhaps?", Question("fever")),
        ("is it fever or fatigue ?", SeveralQuestions()),
        ("what a lovely day !", SmallTalk()),
        ("feverish ?", SmallTalk()),
        (
            "Diagnosis: Moritis.\nRecommendation: honey, steam and tablets.",
            Diagnosis(frozenset({"moritis"}), frozenset({"honey", "steam", "tablets"})),
        ),
        ("diagnosis moritis", Diagnosis(frozenset({"moritis"}), frozenset())),
        ("diagnosis fever recommendation moritis honey", Diagnosis(frozenset(), frozenset({"honey"}))),
    ],
)
def test_a_text_is_one_act(text: str, act: Act) -> None:
    assert parse_in(SMALL, text) == act


def test_facts_are_symptoms_with_yes_or_no_right_behind_them() -> None:
    messages = said(
        "do you have fever ?",
        "well fever yes .",
        "fatigue yes , is it ?",
        "fatigue i am not sure .",
        "rash yes",
    )

    told = told_facts([*messages, Message(Role.USER, "itching no i do not .")], SMALL.symptoms)

    assert told == {"fever": True, "itching": False}


def test_overlap_is_shared_items_over_the_longer_list() -> None:
    right = ("honey", "steam", "tablets")

    assert overlap({"honey", "steam", "tablets"}, right) == 1.0
    assert overlap({"honey"}, right) == pytest.approx(1 / 3)
    assert overlap({"honey", "steam", "tablets", "rest", "tea", "oats"}, right) == 0.5
    assert overlap(set(), right) == 0.0


def test_the_score_is_half_diagnosis_and_half_recommendation() -> None:
    act = Diagnosis(frozenset({"moritis"}), frozenset({"honey", "rest", "tablets"}))

    found = scores(act, "moritis", right=("honey", "steam", "tablets"))

    assert found["score"] == pytest.approx(0.5 + 0.5 * 2 / 3)
    assert (found["diagnosis"], found["overlap"]) == (1.0, pytest.approx(2 / 3))
    assert found["judge_scale"] == pytest.approx(10 * found["score"])


def test_two_diseases_named_are_no_diagnosis() -> None:
    act = Diagnosis(frozenset({"moritis", "lumitis"}), frozenset())

    assert scores(act, "moritis", right=("honey",))["score"] == 0.0
