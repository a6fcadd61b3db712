"""MTMedDialog rows that the user supplies become cases for a patient played by a language model.

Two shapes are known by their keys. A row of the training files has `prompt` (messages, the first of a user is
the self report) and `reward_model`: `ground_truth.diagnosis`, `ground_truth.recommendation`,
`patient_information` (a list of {doctor_question, patient_response}, each a text or a list of texts; a null
response is a question that nobody answered) and, where there is one, `enhanced_description`. An item of the
test file has `self_report`, `diagnosis`, `recommendation` and `enhanced_description`. Other keys are not
looked at.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence

from itpo_core.envs.medical_illness import DOMAIN, HASH_SPACE
from itpo_core.envs.scenarios import UNSEEN_SHARE
from itpo_core.identifiers import stable_id
from itpo_core.types import Message, Role, Scenario, Split

Row = Mapping[str, object]
# What the training files put around the patient's own words.
SELF_REPORT = re.compile(r"\A\s*Patient's description:(.*?)(?:\n\s*Decide next action:.*)?\Z", re.DOTALL)
# The bare word may be asked for or talked about; only what is marked ends a conversation.
STATED = re.compile(r"\bdiagnosis\s*:\s*\S", re.IGNORECASE)


def read_cases(rows: Iterable[tuple[int, Row]]) -> list[Scenario]:
    """One scenario per patient, in order: the self report opens, the rest is hidden in `latent_json`.

    Rows of one patient (the training files have one per turn of the doctor) make one case. A fifth of the
    patients is unseen, by a hash. Raises ValueError naming the row by its number and the key for whatever is
    missing, empty or of another type.
    """
    found = (_case(row, where=f"row {number}") for number, row in rows)
    return list({case.scenario_id: case for case in found}.values())


def has_diagnosis(text: str) -> bool:
    """Whether a doctor's free text states a diagnosis: the word with a colon behind it, and then more."""
    return STATED.search(text) is not None


def _case(row: Row, *, where: str) -> Scenario:
    if "self_report" in row:
        truth, place = row, where
        opening = _text(row, "self_report", where=where)
        description = _text(row, "enhanced_description", where=where)
    else:
        model, inside = _mapping(row, "reward_model", where=where), f"{where}, in reward_model"
        truth, place = _mapping(model, "ground_truth", where=inside), f"{inside}.ground_truth"
        opening = _self_report(row, where=where)
        description = _description(model, where=inside)
    latent = {
        "self_report": opening,
        "description": description,
        "diagnosis": _text(truth, "diagnosis", where=place),
        "recommendation": _text(truth, "recommendation", where=place),
    }
    return _scenario(latent)


def _scenario(latent: Mapping[str, str]) -> Scenario:
    text = json.dumps(latent, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    place = stable_id(DOMAIN, "case", text)
    return Scenario(
        scenario_id=f"{DOMAIN}-case-{place[:16]}",
        domain=DOMAIN,
        split=Split.UNSEEN if int(place[:8], 16) < UNSEEN_SHARE * HASH_SPACE else Split.SEEN,
        opening=(Message(Role.USER, latent["self_report"]),),
        latent_json=text,
    )


def _self_report(row: Row, *, where: str) -> str:
    """The first words of a user, without what the training files put around them."""
    for place, message in enumerate(_list(row, "prompt", where=where)):
        inside = f"{where}, message {place} of prompt"
        given = _object(message, where=inside)
        if given.get("role") == Role.USER.value:
            said = _text(given, "content", where=inside)
            found = SELF_REPORT.match(said)
            report = said if found is None else found.group(1).strip()
            return _text({"self report": report}, "self report", where=inside)
    raise ValueError(f"{where}: key 'prompt' has no message of a user; the self report is the first of them")


def _description(model: Row, *, where: str) -> str:
    """The patient's record in prose; without one the questions and answers of the real consultation."""
    if model.get("enhanced_description") is not None:
        return _text(model, "enhanced_description", where=where)
    lines = []
    for place, entry in enumerate(_list(model, "patient_information", where=where)):
        inside = f"{where}, entry {place} of patient_information"
        given = _object(entry, where=inside)
        if given.get("patient_response") is None:
            continue
        asked = _joined(given, "doctor_question", where=inside)
        lines.append(f"Asked: {asked} Answered: {_joined(given, 'patient_response', where=inside)}")
    if not lines:
        raise ValueError(f"{where}: key 'patient_information' has no answered question; leave out the row")
    return "\n".join(lines)


def _joined(row: Row, key: str, *, where: str) -> str:
    value = row.get(key)
    if (
        isinstance(value, Sequence)
        and not isinstance(value, str)
        and all(isinstance(each, str) for each in value)
    ):
        return _text({key: " ".join(value)}, key, where=where)
    return _text(row, key, where=where)


def _text(row: Row, key: str, *, where: str) -> str:
    value = row.get(key)
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{where}: key {key!r} is {_shown(value)}; give a text that is not empty")
    return value.strip()


def _list(row: Row, key: str, *, where: str) -> Sequence[object]:
    value = row.get(key)
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise ValueError(f"{where}: key {key!r} is {_shown(value)}; give a list that is not empty")
    return value


def _mapping(row: Row, key: str, *, where: str) -> Row:
    return _object(row.get(key), where=f"{where}: key {key!r}")


def _object(value: object, *, where: str) -> Row:
    if not isinstance(value, Mapping):
        raise ValueError(f"{where} is {_shown(value)}; give an object")
    return value


def _shown(value: object) -> str:
    return "missing or null" if value is None else f"{value!r:.60}, a {type(value).__name__}"
