"""A scripted salesperson, decent but not good; a first policy starts from its conversations."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random

from itpo_core.envs.base import Businesses, Sent
from itpo_core.envs.sales import SalesEnvironment
from itpo_core.envs.sales_language import ASSISTANT_PHRASES, told_slots
from itpo_core.envs.sales_need import DOMAIN, Need, draw_need_of, need_of, pick, scenario_of
from itpo_core.envs.sales_oracle import SalesOracle
from itpo_core.envs.sales_shop import Shop, Slot, shop_of
from itpo_core.identifiers import derive_seed, stable_id
from itpo_core.types import (
    Acceptance,
    Conversation,
    Failure,
    FinishReason,
    Message,
    Role,
    Scenario,
    Split,
    StopReason,
    Turn,
)


@dataclass(frozen=True, slots=True)
class SalesHabits:
    """How the scripted assistant chooses; all are probabilities."""

    recommends: float = 0.9  # once it knows enough, or has one turn left
    recommends_early: float = 0.03  # before that, guessing what it does not know
    chats: float = 0.15  # otherwise
    remembers: float = 0.85  # asks only what it was not told, when it asks
    request_extra: float = 0.3  # of a direct request: one fact more than needed


class ScriptedSalesperson:
    """Logged conversations of one preset, over seen scenarios only.

    A conversation depends on the seed and its place alone. Those of one scenario share a group and are
    numbered by `sample_index` within the call. With `businesses` somebody stands between him and the customer
    in ordinary conversations, and what he says is a suggestion.
    """

    def __init__(
        self, preset: str, habits: SalesHabits | None = None, *, businesses: Businesses | None = None
    ) -> None:
        self._businesses = businesses
        self._shop = shop_of(preset)
        self._habits = SalesHabits() if habits is None else habits
        self._environment = SalesEnvironment(preset)
        self._oracle = SalesOracle(preset)

    def conversations(self, *, count: int, seed: int) -> list[Conversation]:
        """Ordinary ones: the assistant asks, chats and recommends, the customer evades and may leave."""
        scenarios = self._environment.scenarios(Split.SEEN, count=count, seed=derive_seed(seed, "logs"))
        seeds = [derive_seed(seed, "log", index) for index in range(count)]
        return _numbered([self._talk(*each) for each in zip(scenarios, seeds, strict=True)])

    def direct_requests(self, *, count: int, seed: int) -> list[Conversation]:
        """Short ones: the customer says all that is needed at once, the assistant recommends rightly."""
        seeds = [derive_seed(seed, "request", index) for index in range(count)]
        return _numbered([self._request(each) for each in seeds])

    def _talk(self, scenario: Scenario, seed: int) -> Conversation:
        random = Random(derive_seed(seed, "assistant"))
        user = self._environment.user(scenario, seed=seed)
        send = self._desk(scenario, seed=seed)
        need, messages = need_of(scenario, self._shop), list(scenario.opening)
        said: list[tuple[str, Sent]] = []
        while True:
            text = self._speak(need, messages, random=random)
            said.append((text, send(messages, text)))
            messages.append(Message(Role.ASSISTANT, said[-1][1].text))
            reply = user.reply(messages)
            if isinstance(reply, Failure):
                raise RuntimeError(f"scenario {scenario.scenario_id}: {reply.cause}")
            if reply.text is not None:
                messages.append(Message(Role.USER, reply.text))
            if reply.stop is not None:
                return self._finished(scenario, messages, said=said, seed=seed, stop=reply.stop)

    def _desk(self, scenario: Scenario, *, seed: int) -> Callable[[Sequence[Message], str], Sent]:
        """What becomes of his words: nobody is asked, or the business person of this conversation."""
        if self._businesses is None:
            return lambda messages, text: Sent(text, Acceptance.AUTONOMOUS)
        person = self._businesses.person(scenario, seed=derive_seed(seed, "business"))

        def send(messages: Sequence[Message], text: str) -> Sent:
            sent = person.send(messages, text)
            if isinstance(sent, Failure):
                raise RuntimeError(f"scenario {scenario.scenario_id}: {sent.cause}")
            return sent

        return send

    def _request(self, seed: int) -> Conversation:
        random = Random(derive_seed(seed, "customer"))
        need = draw_request(self._shop, random, extra=self._habits.request_extra)
        scenario = scenario_of(need, self._shop, opening=request_message(need, self._shop, random=random))
        answer = recommendation(need, self._shop, random=random, told=frozenset(need.volunteered))
        messages = [*scenario.opening, Message(Role.ASSISTANT, answer)]
        said = [(answer, Sent(answer, Acceptance.AUTONOMOUS))]
        return self._finished(scenario, messages, said=said, seed=seed, stop=StopReason.COMPLETED)

    def _speak(self, need: Need, messages: Sequence[Message], *, random: Random) -> str:
        told = told_slots(messages, self._shop.slots)
        knows_all = {slot.name for slot in self._shop.needs_of(need.product)} <= told
        spoken = sum(message.role is Role.ASSISTANT for message in messages)
        is_time = knows_all or spoken == self._shop.habits.max_turns - 1
        if random.random() < (self._habits.recommends if is_time else self._habits.recommends_early):
            return recommendation(need, self._shop, random=random, told=told)
        if random.random() < self._habits.chats:
            return pick(random, ASSISTANT_PHRASES.small_talk)
        return question(self._shop.slots, random=random, told=told, remembers=self._habits.remembers)

    def _finished(
        self,
        scenario: Scenario,
        messages: Sequence[Message],
        *,
        said: Sequence[tuple[str, Sent]],
        seed: int,
        stop: StopReason,
    ) -> Conversation:
        return Conversation(
            conversation_id="",  # named by _numbered
            group_id=stable_id(DOMAIN, "logs", scenario.scenario_id),
            sample_index=0,
            seed=seed,
            scenario=scenario,
            messages=tuple(messages),
            turns=self._turns(scenario, messages, said=said),
            outcome=self._environment.outcome(scenario, messages),
            stop=stop,
        )

    def _turns(
        self, scenario: Scenario, messages: Sequence[Message], *, said: Sequence[tuple[str, Sent]]
    ) -> tuple[Turn, ...]:
        truths = self._oracle.truths(scenario, messages)
        return tuple(
            Turn(
                turn_index=index,
                text=text,
                finish=FinishReason.END_OF_TURN,
                truth=truth,
                sent_text=None if sent.acceptance is Acceptance.AUTONOMOUS else sent.text,
                acceptance=sent.acceptance,
            )
            for index, ((text, sent), truth) in enumerate(zip(said, truths, strict=True))
        )


def draw_request(shop: Shop, random: Random, *, extra: float) -> Need:
    """A seen need whose customer volunteers every needed slot, in any order, and sometimes one more."""
    need = draw_need_of(shop, Split.SEEN, random=random)
    needed = [slot.name for slot in shop.needs_of(need.product)]
    told = sorted(needed, key=lambda _: random.random())
    if random.random() < extra:
        other = pick(random, [slot.name for slot in shop.slots if slot.name not in needed])
        told.insert(int(random.random() * (len(told) + 1)), other)
    return replace(need, volunteered=tuple(told))


def request_message(need: Need, shop: Shop, *, random: Random) -> str:
    """One message with the product and every volunteered value."""
    facts = [pick(random, shop.phrases.fact).format(value=need.values[slot]) for slot in need.volunteered]
    return " ".join([pick(random, shop.phrases.opening).format(product=need.product), *facts])


def recommendation(need: Need, shop: Shop, *, random: Random, told: frozenset[str]) -> str:
    """A recommendation that names every needed slot before its value: the one told, or a guess."""
    facts = []
    for slot in shop.needs_of(need.product):
        value = need.values[slot.name] if slot.name in told else pick(random, slot.values)
        facts.append(f"{slot.name} {value}")
    return pick(random, ASSISTANT_PHRASES.recommendation).format(product=need.product, facts=" ".join(facts))


def question(slots: Sequence[Slot], *, random: Random, told: frozenset[str], remembers: float) -> str:
    """A question about one slot, needed or not: one not yet told, or (forgetful) any."""
    names = [slot.name for slot in slots]
    untold = [name for name in names if name not in told]
    choices = untold if untold and random.random() < remembers else names
    return pick(random, ASSISTANT_PHRASES.question).format(slot=pick(random, choices))


def _numbered(conversations: Sequence[Conversation]) -> list[Conversation]:
    met: Counter[str] = Counter()
    numbered = []
    for conversation in conversations:
        scenario_id = conversation.scenario.scenario_id
        name = stable_id(DOMAIN, scenario_id, conversation.seed, met[scenario_id])
        numbered.append(replace(conversation, conversation_id=name, sample_index=met[scenario_id]))
        met[scenario_id] += 1
    return numbered
