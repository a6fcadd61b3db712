"""A simulated patient: answers questions about one symptom, may err, may leave when his time is wasted."""

from collections.abc import Collection, Sequence
from random import Random

from itpo_core.envs.acts import Question, SeveralQuestions, SmallTalk
from itpo_core.envs.base import Reply
from itpo_core.envs.dice import pick
from itpo_core.envs.medical_illness import Illness, fact_text
from itpo_core.envs.medical_language import (
    Act,
    Diagnosis,
    parse_in,
    told_facts,
)
from itpo_core.envs.medical_ward import Ward
from itpo_core.envs.personas import Persona
from itpo_core.envs.replies import not_spoken_to, rambled, stop_after
from itpo_core.types import Failure, Message, StopReason


class Patient:
    """One patient of one conversation, with random numbers of his own.

    What he has told already he reads off the transcript, so only the dice are state.
    """

    def __init__(self, illness: Illness, ward: Ward, *, persona: Persona, seed: int) -> None:
        self._illness = illness
        self._ward = ward
        self._persona = persona
        self._random = Random(seed)

    def reply(self, messages: Sequence[Message]) -> Reply | Failure:
        """Answer the last message, which must be the assistant's; otherwise a Failure says so."""
        failure = not_spoken_to(messages, who="patient")
        if failure is not None:
            return failure
        act = parse_in(self._ward, messages[-1].content)
        if isinstance(act, Diagnosis):
            return Reply(None, StopReason.COMPLETED)
        told = {*told_facts(messages, self._ward.symptoms), self._illness.complaint}
        text = self._answer(act, told)
        stop = stop_after(
            messages,
            is_useless=is_useless(act, told),
            leaves=self._persona.leaves,
            max_turns=self._ward.max_turns,
            random=self._random,
        )
        return Reply(text) if stop is None else stop

    def _answer(self, act: Act, told: Collection[str]) -> str:
        phrases = self._ward.phrases
        match act:
            case Question(symptom) if symptom in told:
                return pick(self._random, phrases.told_before)
            case Question(symptom):
                return self._rambled(self._fact_or_evasion(symptom))
            case SeveralQuestions():
                return pick(self._random, phrases.several)
            case SmallTalk() | Diagnosis():
                return pick(self._random, phrases.small_talk)

    def _fact_or_evasion(self, symptom: str) -> str:
        if self._random.random() < self._persona.evades:
            return pick(self._random, self._ward.phrases.unsure).format(symptom=symptom)
        is_mistaken = self._random.random() < self._persona.mistakes
        is_held = (symptom in self._illness.symptoms) != is_mistaken
        return fact_text(symptom, is_held, ward=self._ward, random=self._random)

    def _rambled(self, text: str) -> str:
        phrases = self._ward.phrases.ramble
        return rambled(text, phrases, chance=self._persona.rambles, random=self._random)


def is_useless(act: Act, told: Collection[str]) -> bool:
    """Whether a turn wastes the patient's time: he cannot know which symptoms matter, so no new one does."""
    return not isinstance(act, Question) or act.slot in told
