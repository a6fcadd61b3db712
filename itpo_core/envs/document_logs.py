"""A scripted writer, decent but not good; a first policy starts from his conversations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random

from itpo_core.envs.dice import pick
from itpo_core.envs.document import DocumentEnvironment
from itpo_core.envs.document_article import (
    Article,
    article_of,
    draw_article_of,
    first_message,
    rendered,
    scenario_of,
)
from itpo_core.envs.document_language import ASSISTANT_PHRASES, told_facts
from itpo_core.envs.document_oracle import DocumentOracle
from itpo_core.envs.document_press import Press, press_of
from itpo_core.envs.scripted_logs import ScriptedTalk, numbered, to_ask_about, told_at_once
from itpo_core.identifiers import derive_seed
from itpo_core.types import Conversation, Message, Role, Scenario, Split


@dataclass(frozen=True, slots=True)
class WriterHabits:
    """How the scripted writer chooses; all are probabilities."""

    drafts: float = 0.9  # once he knows enough, or has one turn left
    drafts_early: float = 0.05  # before that, guessing what he does not know
    chats: float = 0.2  # otherwise
    remembers: float = 0.8  # asks only what he was not told, when he asks
    request_extra: float = 0.3  # of a direct request: one fact more than the article tells


class ScriptedWriter:
    """Logged conversations of one preset, over seen scenarios only.

    A conversation depends on the seed and its place alone. Those of one scenario share a group and are
    numbered by `sample_index` within the call.
    """

    def __init__(self, preset: str, habits: WriterHabits | None = None) -> None:
        self._press = press_of(preset)
        self._habits = WriterHabits() if habits is None else habits
        self._talk = ScriptedTalk(DocumentEnvironment(preset), DocumentOracle(preset))

    def conversations(self, *, count: int, seed: int) -> list[Conversation]:
        """Ordinary ones: the writer asks, chats and drafts, the user evades and may leave."""
        return self._talk.conversations(self.speak, count=count, seed=seed)

    def direct_requests(self, *, count: int, seed: int) -> list[Conversation]:
        """Short ones: the user says all facts at once, the writer drafts them in his own wording."""
        return numbered([self._request(derive_seed(seed, "request", index)) for index in range(count)])

    def speak(self, scenario: Scenario, messages: Sequence[Message], *, random: Random) -> str:
        """What he says next: he asks, chats or drafts."""
        topic, told = article_of(scenario, self._press).topic, told_facts(messages, self._press)
        spoken = sum(message.role is Role.ASSISTANT for message in messages)
        knows_all = {slot.name for slot in self._press.needs_of(topic)} <= told.keys()
        is_time = knows_all or spoken == self._press.habits.max_turns - 1
        if random.random() < (self._habits.drafts if is_time else self._habits.drafts_early):
            return draft(topic, told, press=self._press, random=random)
        if random.random() < self._habits.chats:
            return pick(random, ASSISTANT_PHRASES.small_talk)
        return question(self._press, random=random, told=told, remembers=self._habits.remembers)

    def _request(self, seed: int) -> Conversation:
        random = Random(derive_seed(seed, "user"))
        article = draw_request(self._press, random, extra=self._habits.request_extra)
        opening = first_message(article, self._press, random=random)
        scenario = scenario_of(article, self._press, opening=opening)
        answer = draft(article.topic, article.values, press=self._press, random=random)
        return self._talk.answered(scenario, answer, seed=seed)


def draw_request(press: Press, random: Random, *, extra: float) -> Article:
    """A seen article whose user volunteers every fact, in any order, and sometimes one that it lacks."""
    article = draw_article_of(press, Split.SEEN, random=random)
    needed = [slot.name for slot in press.needs_of(article.topic)]
    names = [slot.name for slot in press.slots]
    return replace(article, volunteered=told_at_once(needed, names, extra=extra, random=random))


def draft(topic: str, told: Mapping[str, str], *, press: Press, random: Random) -> str:
    """A draft in the first wording that tells every fact of the topic: the one told, or a guess."""
    values = {slot.name: told.get(slot.name) or pick(random, slot.values) for slot in press.needs_of(topic)}
    return pick(random, ASSISTANT_PHRASES.draft).format(text=rendered(press, topic, values=values, wording=0))


def question(press: Press, *, random: Random, told: Mapping[str, str], remembers: float) -> str:
    """A question about one slot, told by the article or not: one not yet said, or (forgetful) any."""
    names = [slot.name for slot in press.slots]
    choices = to_ask_about(names, told=told, remembers=remembers, random=random)
    return pick(random, ASSISTANT_PHRASES.question).format(slot=pick(random, choices))
