"""A scripted doctor, decent but not good; a first policy starts from his conversations."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

from itpo_core.envs.dice import pick
from itpo_core.envs.medical import MedicalEnvironment
from itpo_core.envs.medical_belief import Outlook, telling_symptoms
from itpo_core.envs.medical_illness import Illness, draw_illness_of, first_message, illness_of, scenario_of
from itpo_core.envs.medical_language import DOCTOR_PHRASES
from itpo_core.envs.medical_oracle import MedicalOracle, known_from
from itpo_core.envs.medical_ward import Ward, ward_of
from itpo_core.envs.personas import persona_of
from itpo_core.envs.scripted_logs import ScriptedTalk, numbered, to_ask_about
from itpo_core.identifiers import derive_seed
from itpo_core.types import Conversation, Message, Role, Scenario, Split


@dataclass(frozen=True, slots=True)
class DoctorHabits:
    """How the scripted doctor chooses; all are probabilities."""

    sure: float = 0.85  # he knows enough when one disease is as likely as this
    diagnoses: float = 0.9  # once he knows enough, or has one turn left
    diagnoses_early: float = 0.03  # before that, guessing among what is possible
    chats: float = 0.15  # otherwise
    remembers: float = 0.85  # asks only what he was not told, when he asks
    request_extra: float = 0.3  # of a direct request: one symptom more than needed


class ScriptedDoctor:
    """Logged conversations of one preset, over seen scenarios only.

    A conversation depends on the seed and its place alone. Those of one scenario share a group and are
    numbered by `sample_index` within the call.
    """

    def __init__(self, preset: str, habits: DoctorHabits | None = None) -> None:
        self._ward = ward_of(preset)
        self._habits = DoctorHabits() if habits is None else habits
        self._talk = ScriptedTalk(MedicalEnvironment(preset), MedicalOracle(preset))
        self._outlook = Outlook(self._ward, persona_of("default"))

    def conversations(self, *, count: int, seed: int) -> list[Conversation]:
        """Ordinary ones: the doctor asks, chats and diagnoses, the patient is unsure and may leave."""
        return self._talk.conversations(self.speak, count=count, seed=seed)

    def direct_requests(self, *, count: int, seed: int) -> list[Conversation]:
        """Short ones: the patient tells all that matters at once, the doctor is right."""
        return numbered([self._request(derive_seed(seed, "request", index)) for index in range(count)])

    def speak(self, scenario: Scenario, messages: Sequence[Message], *, random: Random) -> str:
        """What he says next: he asks, chats or diagnoses."""
        illness = illness_of(scenario, self._ward)
        known = known_from(messages, illness, ward=self._ward)
        shares = self._outlook.shares(known).tolist()
        spoken = sum(message.role is Role.ASSISTANT for message in messages)
        is_time = max(shares) >= self._habits.sure or spoken == self._ward.max_turns - 1
        if random.random() < (self._habits.diagnoses if is_time else self._habits.diagnoses_early):
            return diagnosis(self._ward, self._guess(shares, random), age=illness.age, random=random)
        if random.random() < self._habits.chats:
            return pick(random, DOCTOR_PHRASES.small_talk)
        return question(self._ward, random=random, told=known.symptoms, remembers=self._habits.remembers)

    def _request(self, seed: int) -> Conversation:
        random = Random(derive_seed(seed, "patient"))
        illness = draw_request(self._ward, random, extra=self._habits.request_extra)
        opening = first_message(illness, self._ward, random=random)
        scenario = scenario_of(illness, self._ward, opening=opening)
        answer = diagnosis(self._ward, illness.disease, age=illness.age, random=random)
        return self._talk.answered(scenario, answer, seed=seed)

    def _guess(self, shares: Sequence[float], random: Random) -> str:
        """A disease as likely to be named as he thinks it is."""
        dice = random.random()
        for disease, share in zip(self._ward.diseases, shares, strict=True):
            dice -= share
            if dice < 0:
                return disease.name
        return self._ward.diseases[-1].name


def draw_request(ward: Ward, random: Random, *, extra: float) -> Illness:
    """A seen illness whose patient tells about every telling symptom, in any order, perhaps one more."""
    illness = draw_illness_of(ward, Split.SEEN, random=random)
    telling = telling_symptoms(ward, illness.complaint)
    told = sorted(sorted(telling), key=lambda _: random.random())
    others = [each for each in ward.symptoms if each not in {*telling, illness.complaint}]
    if others and random.random() < extra:
        told.insert(int(random.random() * (len(told) + 1)), pick(random, others))
    return replace(illness, volunteered=tuple(told))


def diagnosis(ward: Ward, disease: str, *, age: str, random: Random) -> str:
    """The line that ends a consultation: the disease, then what helps against it at this age."""
    items = " ".join(ward.right_items(disease, age))
    return pick(random, DOCTOR_PHRASES.diagnosis).format(disease=disease, items=items)


def question(ward: Ward, *, random: Random, told: frozenset[str], remembers: float) -> str:
    """A question about one symptom, telling or not: one not yet told, or (forgetful) any."""
    choices = to_ask_about(ward.symptoms, told=told, remembers=remembers, random=random)
    return pick(random, DOCTOR_PHRASES.question).format(symptom=pick(random, choices))
