"""What can be known of a patient from what was told: Bayes over diseases, and the value of asking on.

Axes: S symptoms, D diseases, A items of diseases, N beliefs side by side. A belief is a row of joint weights
P(disease, all that was told), so that sums over answers are expectations. Chances and scores are in [0, 1].
Exact for patients drawn as the domain defines them; that a fifth of the cases is held out is not exploited.
"""

from dataclasses import dataclass, replace
from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray

from itpo_core.envs.medical_language import Diagnosis
from itpo_core.envs.medical_ward import TELLING_SPREAD, THOUGHT_OF, Ward
from itpo_core.envs.personas import Persona

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
REMEMBERED = 100_000  # values kept per kind of patient, newest first
AT_ONCE = 2  # so many last questions are looked ahead by arrays


@dataclass(frozen=True, slots=True)
class Known:
    """The complaint, the answers told (symptom, held or not), and which of them are certainly true.

    What is volunteered at once is certain; an answer to a question may be mistaken.
    """

    complaint: str
    told: frozenset[tuple[str, bool]] = frozenset()
    certain: frozenset[str] = frozenset()

    def with_answer(self, symptom: str, is_held: bool) -> "Known":
        """One answer more."""
        return replace(self, told=self.told | {(symptom, is_held)})

    @property
    def symptoms(self) -> frozenset[str]:
        """Every symptom about which nothing is left to ask."""
        return frozenset(symptom for symptom, _ in self.told) | {self.complaint}


@cache
def chances(ward: Ward) -> Floats:
    """P(symptom | disease), (S, D)."""
    return np.array([[ward.chance(disease, each) for disease in ward.diseases] for each in ward.symptoms])


def complaint_weights(ward: Ward, complaint: str) -> Floats:
    """P(disease, complaint), (D,): diseases are alike often, and so are the complaints of each."""
    shares = [(complaint in each.complaints) / len(each.complaints) for each in ward.diseases]
    return np.array(shares) / len(ward.diseases)


@cache
def telling_symptoms(ward: Ward, complaint: str) -> frozenset[str]:
    """Symptoms whose chances differ clearly between the diseases that this complaint makes one think of."""
    weights_D = complaint_weights(ward, complaint)
    chances_SD = chances(ward)[:, weights_D >= THOUGHT_OF * weights_D.sum()]
    spread_S = chances_SD.max(axis=1) - chances_SD.min(axis=1)
    named = zip(ward.symptoms, spread_S >= TELLING_SPREAD, strict=True)
    return frozenset(name for name, is_telling in named if is_telling and name != complaint)


class Outlook:
    """Values for one kind of patient: what an answer now is worth (exact), and what asking on is worth.

    The latter is expectimax over all questions and answers, to the end where the ward sets no `look_ahead`
    (exact V* and Q*), otherwise over so many questions at most (a lower bound of V*). Raises ValueError for
    answers that no patient of the ward can give.
    """

    def __init__(self, ward: Ward, persona: Persona) -> None:
        self._ward = ward
        self._persona = persona
        self._place = {symptom: place for place, symptom in enumerate(ward.symptoms)}
        self._chances_SD = chances(ward)
        items = sorted({item for disease in ward.diseases for item in disease.items})
        self._helps_DA = np.array([[item in each.items for item in items] for each in ward.diseases], float)
        self._items = len(ward.diseases[0].items)
        self._ahead = lru_cache(maxsize=REMEMBERED)(self._joint_value)

    def __reduce__(self) -> tuple[type["Outlook"], tuple[Ward, Persona]]:
        """Carried to another process it is made anew; what it remembers stays here."""
        return Outlook, (self._ward, self._persona)

    def shares(self, known: Known) -> Floats:
        """P(disease | what was told), (D,)."""
        weights_D = self._weights(known)
        return weights_D / self._total(known, weights_D)

    def value(self, known: Known, turns_left: int) -> float:
        """V*: the best of a diagnosis now and of asking on; `turns_left` counts this turn."""
        return self._ahead(known, self._steps(turns_left)) / self._total(known)

    def question_value(self, known: Known, symptom: str, *, turns_left: int) -> float:
        """Q* of asking about a symptom not yet told; without another turn after it that is worth nothing."""
        if turns_left == 1:
            return 0.0
        return self._asked(known, symptom, steps=self._steps(turns_left) - 1) / self._total(known)

    def idle_value(self, known: Known, turns_left: int) -> float:
        """Q* of a turn that wastes the patient's time, who may leave."""
        if turns_left == 1:
            return 0.0
        same = self._ahead(known, self._steps(turns_left) - 1) / self._total(known)
        return (1 - self._persona.leaves) * same

    def diagnosis_value(self, known: Known, act: Diagnosis, *, age: str) -> float:
        """Expected score of this diagnosis and recommendation for a patient of this age group."""
        diseases, shares_D = self._ward.diseases, self.shares(known)
        named = [shares_D[place] for place, each in enumerate(diseases) if each.name in act.diseases]
        right = named[0] if len(named) == 1 else 0.0
        own = dict(self._ward.ages)[age]
        hits_D = [len(act.items & {*each.items, own}) for each in diseases]
        return float(0.5 * right + 0.5 * (shares_D @ hits_D) / max(len(act.items), self._items + 1))

    def _steps(self, turns_left: int) -> int:
        """Questions that are looked ahead."""
        ahead = self._ward.look_ahead
        return turns_left - 1 if ahead is None else min(ahead, turns_left - 1)

    def _total(self, known: Known, weights_D: Floats | None = None) -> float:
        """P(what was told)."""
        total = float((self._weights(known) if weights_D is None else weights_D).sum())
        if total <= 0:
            raise ValueError(
                f"no patient of preset {self._ward.preset!r} comes with {known.complaint!r} and tells "
                f"{dict(sorted(known.told))}; use the preset and the persona that made the conversation"
            )
        return total

    def _weights(self, known: Known) -> Floats:
        """P(disease, what was told), (D,)."""
        weights_D = complaint_weights(self._ward, known.complaint)
        for symptom, is_held in sorted(known.told):  # the order of a set is not that of another process
            mistakes = 0.0 if symptom in known.certain else self._persona.mistakes
            weights_D = weights_D * _heard(self._chances_SD[self._place[symptom]], is_held, mistakes)
        return weights_D

    def _now(self, weights_ND: Floats) -> Floats:
        """Joint value of the best diagnosis and recommendation; the item of the age group is always known."""
        likely_NA = weights_ND @ self._helps_DA
        best_N = -np.partition(-likely_NA, self._items - 1, axis=1)[:, : self._items].sum(axis=1)
        return _half_each(weights_ND.max(axis=1), (best_N + weights_ND.sum(axis=1)) / (self._items + 1))

    def _joint_value(self, known: Known, steps: int) -> float:
        open_symptoms = [each for each in self._ward.symptoms if each not in known.symptoms]
        weights_ND = self._weights(known)[None]
        if steps > AT_ONCE and open_symptoms:
            asked = max(self._asked(known, each, steps=steps - 1) for each in open_symptoms)
            return max(float(self._now(weights_ND)[0]), asked)
        is_open_NS = np.array([[each in open_symptoms for each in self._ward.symptoms]])
        return float(self._ahead_of_all(weights_ND, is_open_NS, steps)[0])

    def _asked(self, known: Known, symptom: str, *, steps: int) -> float:
        """Joint value after a question: told yes or no, or nothing."""
        told = sum(self._ahead(known.with_answer(symptom, is_held), steps) for is_held in (True, False))
        return (1 - self._persona.evades) * told + self._persona.evades * self._ahead(known, steps)

    def _ahead_of_all(self, weights_ND: Floats, is_open_NS: Flags, steps: int) -> Floats:
        """`_joint_value` of many beliefs at once, by brute force."""
        now_N = self._now(weights_ND)
        if steps == 0:
            return now_N
        told_NS = self._told_of_all(weights_ND, is_open_NS, steps - 1)
        best_N = np.where(is_open_NS, told_NS, 0.0).max(axis=1)
        same_N = self._ahead_of_all(weights_ND, is_open_NS, steps - 1)
        return np.maximum(now_N, (1 - self._persona.evades) * best_N + self._persona.evades * same_N)

    def _told_of_all(self, weights_ND: Floats, is_open_NS: Flags, steps: int) -> Floats:
        """Joint values after each symptom was told, whichever way."""
        beliefs, symptoms = is_open_NS.shape
        still_NSS = is_open_NS[:, None, :] & ~np.eye(symptoms, dtype=bool)
        told_NS = np.zeros(is_open_NS.shape)
        for is_held in (True, False):
            after_NSD = weights_ND[:, None, :] * _heard(self._chances_SD, is_held, self._persona.mistakes)
            after = after_NSD.reshape(beliefs * symptoms, -1)
            values = self._ahead_of_all(after, still_NSS.reshape(beliefs * symptoms, symptoms), steps)
            told_NS += values.reshape(beliefs, symptoms)
        return told_NS


def _heard(chances_D: Floats, is_held: bool, mistakes: float) -> Floats:
    """P(told yes or no | disease) where a patient mixes both up with chance `mistakes`."""
    said_D = chances_D if is_held else 1 - chances_D
    return (1 - mistakes) * said_D + mistakes * (1 - said_D)


def _half_each(diagnosis_N: Floats, overlap_N: Floats) -> Floats:
    return 0.5 * diagnosis_N + 0.5 * overlap_N
