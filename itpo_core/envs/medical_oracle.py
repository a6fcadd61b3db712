"""Turn truth of the medical domain, replayed from what was said; how exact it is depends on the preset."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from itpo_core.envs.acts import Question, SeveralQuestions
from itpo_core.envs.asking_values import (
    ASK,
    CHAT,
    IRRELEVANT,
    REPEAT,
    SEVERAL,
    STEP,
    act_weights,
    policy_advantage,
    policy_values,
)
from itpo_core.envs.medical_belief import Known, Outlook, telling_symptoms
from itpo_core.envs.medical_illness import Illness, illness_of
from itpo_core.envs.medical_language import Act, Diagnosis, parse_in, told_facts
from itpo_core.envs.medical_ward import Ward, ward_of
from itpo_core.envs.personas import Persona, persona_of
from itpo_core.envs.scenarios import assistant_places
from itpo_core.types import Message, Scenario, TurnTruth

DIAGNOSE = "diagnose"


@dataclass(frozen=True, slots=True)
class Bedside:
    """How patients behave, as the recursion over missing facts takes it."""

    evades: float
    leaves: float
    max_turns: int


class MedicalOracle:
    """Truth of every turn of one preset: exact in "small"; in "hard" V* and Q* look two questions ahead."""

    def __init__(self, preset: str) -> None:
        self._ward = ward_of(preset)
        self._outlooks: dict[Persona, Outlook] = {}

    def truths(self, scenario: Scenario, messages: Sequence[Message]) -> list[TurnTruth]:
        """One truth per assistant message. `success_if_final` is the expected score of a diagnosis.

        `missing` counts the symptoms that tell apart the diseases behind this complaint and were not told.
        Raises ValueError when there are more assistant messages than a conversation can have, and for answers
        that this patient cannot have given.
        """
        illness, limit = illness_of(scenario, self._ward), self._ward.max_turns
        places = assistant_places(scenario, messages, limit=limit)
        outlook = self._outlook(scenario.persona_id)
        return [
            turn_truth(
                parse_in(self._ward, messages[place].content),
                known_from(messages[:place], illness, ward=self._ward),
                ward=self._ward,
                outlook=outlook,
                age=illness.age,
                turns_left=limit - turn,
            )
            for turn, place in enumerate(places)
        ]

    def policy_advantages(
        self, truths: Sequence[Sequence[TurnTruth]], *, personas: Sequence[str] | None = None
    ) -> list[list[float]]:
        """A^pi = Q^pi - V^pi of every turn under the average policy of these conversations.

        The policy is read as frequencies of telling questions, questions beside the point, useless turns and
        diagnoses per (missing, turns left), over patients of every persona; evaded answers and departures are
        averaged with the exact chances of his own. What the answers were is not part of the state: that is
        exact where diseases are symmetric ("small", patients who do not err), an approximation elsewhere.
        """
        replayed = [[_as_step(truth) for truth in conversation] for conversation in truths]
        turns = [truth for conversation in replayed for truth in conversation]
        met = ["default"] * len(truths) if personas is None else personas
        bedsides = {name: self._bedside(persona_of(name)) for name in set(met)}
        blind = self._blind_value()
        values = {
            name: policy_values(act_weights(turns, own), own, answer_now=lambda missing: blind)
            for name, own in bedsides.items()
        }
        return [
            [policy_advantage(truth, values[name], patience=bedsides[name]) for truth in conversation]
            for conversation, name in zip(replayed, met, strict=True)
        ]

    def _outlook(self, persona_id: str) -> Outlook:
        persona = persona_of(persona_id)
        if persona not in self._outlooks:
            self._outlooks[persona] = Outlook(self._ward, persona)
        return self._outlooks[persona]

    def _bedside(self, persona: Persona) -> Bedside:
        return Bedside(persona.evades, persona.leaves, self._ward.max_turns)

    def _blind_value(self) -> float:
        """What a diagnosis on the complaint alone is worth: taken for states that nobody ever came to."""
        complaints = [each for disease in self._ward.diseases for each in disease.complaints]
        outlook = self._outlook("default")
        return sum(outlook.value(Known(each), 1) for each in complaints) / len(complaints)


def known_from(messages: Sequence[Message], illness: Illness, *, ward: Ward) -> Known:
    """What these messages tell about the patient."""
    told = told_facts(messages, ward.symptoms)
    return Known(illness.complaint, frozenset(told.items()), certain=frozenset(illness.volunteered))


def turn_truth(
    act: Act, known: Known, *, ward: Ward, outlook: Outlook, age: str, turns_left: int
) -> TurnTruth:
    """The truth of one turn, given what the patient has told before it."""
    missing = telling_symptoms(ward, known.complaint) - known.symptoms
    kind = kind_of(act, missing=missing, told=known.symptoms)
    final = None
    if isinstance(act, Diagnosis):
        action = final = outlook.diagnosis_value(known, act, age=age)
    elif isinstance(act, Question) and kind in (ASK, IRRELEVANT):
        action = outlook.question_value(known, act.slot, turns_left=turns_left)
    else:
        action = outlook.idle_value(known, turns_left)
    return TurnTruth(
        kind=kind,
        missing=len(missing),
        turns_left=turns_left,
        optimal_value=outlook.value(known, turns_left),
        optimal_action_value=action,
        success_if_final=final,
    )


def kind_of(act: Act, *, missing: frozenset[str], told: frozenset[str]) -> str:
    """The name of a turn: what the act does for a patient of whom this is missing and that was told."""
    match act:
        case Diagnosis():
            return DIAGNOSE
        case SeveralQuestions():
            return SEVERAL
        case Question(symptom) if symptom in told:
            return REPEAT
        case Question(symptom):
            return ASK if symptom in missing else IRRELEVANT
        case _:
            return CHAT


def _as_step(truth: TurnTruth) -> TurnTruth:
    """A new symptom that tells nothing annoys nobody: to the recursion it is a step, not a useless turn."""
    return replace(truth, kind=STEP) if truth.kind == IRRELEVANT else truth
