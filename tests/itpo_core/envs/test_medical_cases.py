"""Rows of MTMedDialog, written by hand in its shapes, become cases; what is wrong is named."""

import copy
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from itpo_core.envs.medical_cases import read_cases
from itpo_core.envs.medical_illness import illness_of
from itpo_core.types import Scenario, Split
from storage.log_files import read_rows
from tests.itpo_core.envs.medical_scenes import SMALL

Row = dict[str, Any]


def read(rows: Iterable[Row]) -> list[Scenario]:
    return read_cases(enumerate(rows, start=1))


def training_row(report: str = "Sore elbow since Monday (female, 30 years old)") -> Row:
    prompt = f"Patient's description: {report}\nDecide next action:\nAlways output: one answer.\n"
    return {
        "prompt": [{"role": "system", "content": "be a doctor"}, {"role": "user", "content": prompt}],
        "reward_model": {
            "ground_truth": {"diagnosis": "tennis elbow", "recommendation": "rest the arm"},
            "patient_information": [
                {"doctor_question": ["Did you", "fall?"], "patient_response": "No, I play a lot."}
            ],
        },
    }


def final_item(report: str = "My elbow hurts.") -> Row:
    return {
        "self_report": report,
        "diagnosis": "tennis elbow",
        "recommendation": "rest the arm",
        "enhanced_description": "She plays tennis.",
        "category": "joints",
    }


def test_a_training_row_opens_with_the_patients_words_alone() -> None:
    (case,) = read([training_row()])

    assert [message.content for message in case.opening] == ["Sore elbow since Monday (female, 30 years old)"]
    assert json.loads(case.latent_json) == {
        "self_report": "Sore elbow since Monday (female, 30 years old)",
        "description": "Asked: Did you fall? Answered: No, I play a lot.",
        "diagnosis": "tennis elbow",
        "recommendation": "rest the arm",
    }


def test_a_record_in_prose_is_taken_before_questions_and_answers() -> None:
    row = training_row()
    row["reward_model"]["enhanced_description"] = "She plays tennis."

    (case,) = read([row])

    assert json.loads(case.latent_json)["description"] == "She plays tennis."


def test_a_question_that_nobody_answered_tells_nothing() -> None:
    row = training_row()
    row["reward_model"]["patient_information"].append(
        {"doctor_question": ["Still there?"], "patient_response": None}
    )

    assert read([row]) == read([training_row()])

    del row["reward_model"]["patient_information"][0]
    with pytest.raises(ValueError, match="no answered question"):
        read([row])


def test_an_item_of_the_test_file_is_a_case() -> None:
    (case,) = read([final_item()])

    assert case.opening[0].content == "My elbow hurts."
    assert json.loads(case.latent_json)["description"] == "She plays tennis."
    assert case.domain == "medical"


def test_rows_of_one_patient_are_one_case_and_cases_depend_on_the_row_alone() -> None:
    later = training_row()
    later["prompt"] += [
        {"role": "assistant", "content": "Since when?"},
        {"role": "user", "content": "Monday."},
    ]

    cases = read([training_row(), later, final_item()])

    assert cases == [*read([later]), *read([final_item()])]


def test_about_a_fifth_of_the_patients_is_unseen() -> None:
    cases = read(final_item(f"It hurts for {days} days.") for days in range(400))

    assert 50 < sum(case.split is Split.UNSEEN for case in cases) < 110


def test_the_rule_based_patient_refuses_a_real_case() -> None:
    (case,) = read([final_item()])

    with pytest.raises(ValueError, match="played by a language model"):
        illness_of(case, SMALL)


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (("prompt",), None, "row 2: key 'prompt' is missing or null"),
        (("prompt",), [], "row 2: key 'prompt'"),
        (("prompt",), [{"role": "system", "content": "x"}], "row 2: key 'prompt' has no message of a user"),
        (("prompt", 1), "hello", "row 2, message 1 of prompt is 'hello', a str"),
        (("prompt", 1, "content"), 7, "row 2, message 1 of prompt: key 'content' is 7, a int"),
        (("prompt", 1, "content"), "Patient's description: \nDecide next action:", "key 'self report'"),
        (("reward_model",), None, "row 2: key 'reward_model' is missing or null"),
        (("reward_model", "ground_truth"), "x", "row 2, in reward_model: key 'ground_truth' is 'x', a str"),
        (("reward_model", "ground_truth", "diagnosis"), " ", "in reward_model.ground_truth: key 'diagnosis'"),
        (("reward_model", "patient_information"), [], "in reward_model: key 'patient_information'"),
        (
            ("reward_model", "patient_information", 0, "patient_response"),
            [1],
            r"entry 0 of patient_information: key 'patient_response' is \[1\], a list",
        ),
    ],
)
def test_a_wrong_row_is_refused_with_its_number_and_key(
    place: tuple[str | int, ...], value: object, words: str
) -> None:
    row: Any = copy.deepcopy(training_row())
    inside = row
    for key in place[:-1]:
        inside = inside[key]
    inside[place[-1]] = value

    with pytest.raises(ValueError, match=words):
        read([training_row(), row])


@pytest.mark.real_data
@pytest.mark.slow
def test_the_public_rows_are_993_patients(real_data: Path) -> None:
    files = [real_data / "mtmeddialog" / name for name in ("sft_train.parquet", "sft_val.parquet")]

    cases = read(dict(row) for file in files for _, row in read_rows(file) if isinstance(row, dict))

    assert len(cases) == 993
    assert not any("Decide next action" in case.opening[0].content for case in cases)
    assert 150 < sum(case.split is Split.UNSEEN for case in cases) < 250
