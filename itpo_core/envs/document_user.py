"""A simulated user with an article in mind: answers questions, takes the first draft, may leave before."""

from collections.abc import Sequence
from random import Random

from itpo_core.envs.acts import Question, SeveralQuestions, SmallTalk
from itpo_core.envs.base import Reply
from itpo_core.envs.dice import pick
from itpo_core.envs.document_article import Article
from itpo_core.envs.document_language import Act, Draft, parse, told_facts
from itpo_core.envs.document_press import Press
from itpo_core.envs.replies import not_spoken_to, rambled, said_value, stop_after
from itpo_core.types import Failure, Message, StopReason


class DocumentUser:
    """One user of one conversation, with random numbers of his own.

    What he has told already he reads off the transcript, so only the dice are state. He is done at the first
    message with a marked draft, whatever it is worth: that alone, and no word of his, completes.
    """

    def __init__(self, article: Article, press: Press, *, seed: int) -> None:
        self._article = article
        self._press = press
        self._needed = {slot.name for slot in press.needs_of(article.topic)}
        self._random = Random(seed)

    def reply(self, messages: Sequence[Message]) -> Reply | Failure:
        """Answer the last message, which must be the assistant's; otherwise a Failure says so."""
        failure = not_spoken_to(messages)
        if failure is not None:
            return failure
        act = parse(self._press, messages[-1].content)
        if isinstance(act, Draft):
            return Reply(None, StopReason.COMPLETED)
        told = told_facts(messages, self._press).keys()
        text = self._rambled(self._answer(act, told=frozenset(told)))
        stop = stop_after(
            messages,
            is_useless=not (isinstance(act, Question) and act.slot in self._needed - told),
            leaves=self._press.habits.leaves,
            max_turns=self._press.habits.max_turns,
            random=self._random,
        )
        return Reply(text) if stop is None else stop

    def _answer(self, act: Act, *, told: frozenset[str]) -> str:
        phrases = self._press.phrases
        match act:
            case Question(slot) if slot in told:
                return pick(self._random, phrases.told_before)
            case Question(slot):
                return self._fact_or_evasion(slot)
            case SeveralQuestions():
                return pick(self._random, phrases.several)
            case SmallTalk() | Draft():
                return pick(self._random, phrases.small_talk)

    def _fact_or_evasion(self, slot: str) -> str:
        if self._random.random() < self._press.habits.evades:
            return pick(self._random, self._press.phrases.evasion)
        return pick(self._random, self._press.phrases.fact).format(value=self._said_value(slot))

    def _said_value(self, slot: str) -> str:
        """The fact, or (mistaken) another value of its slot, all others alike."""
        true, options = self._article.values[slot], self._press.slot(slot).values
        return said_value(true, options, mistakes=self._press.habits.persona.mistakes, random=self._random)

    def _rambled(self, text: str) -> str:
        chance = self._press.habits.persona.rambles
        return rambled(text, self._press.phrases.rambling, chance=chance, random=self._random)
