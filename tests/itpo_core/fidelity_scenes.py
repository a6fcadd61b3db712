"""Logs of scripted assistants who also ask for confirmation, and users put into their users' places."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from itpo_core.envs.base import Environment, Reply, TurnOracle
from itpo_core.envs.catalogue import ENVIRONMENTS
from itpo_core.envs.dice import pick
from itpo_core.envs.document_language import told_facts
from itpo_core.envs.document_logs import ScriptedWriter
from itpo_core.envs.document_press import PRESSES
from itpo_core.envs.math_language import told_numbers
from itpo_core.envs.math_logs import ScriptedTutor
from itpo_core.envs.math_school import SCHOOLS
from itpo_core.envs.medical_language import told_facts as told_symptoms
from itpo_core.envs.medical_logs import ScriptedDoctor
from itpo_core.envs.medical_ward import WARDS
from itpo_core.envs.sales_language import told_values
from itpo_core.envs.sales_logs import ScriptedSalesperson
from itpo_core.envs.sales_shop import SHOPS
from itpo_core.envs.scripted_logs import ScriptedTalk, Speak
from itpo_core.envs.user_acts import USER_ACTS, Acts
from itpo_core.fidelity_talks import Talk, replayed, talk_of
from itpo_core.identifiers import derive_seed
from itpo_core.types import Conversation, Message, Role, Scenario
from tests.itpo_core.bad_users import Facts

LOGS = 260
CONFIRMS = 0.3


@dataclass(frozen=True, slots=True)
class Scene:
    """A domain with its scripted assistant; `facts` are what the user has told, in words to repeat.

    `asks` is what an assistant of the domain says.
    """

    domain: str
    facts: Facts
    speak: Speak
    asks: str

    @property
    def environment(self) -> Environment:
        return ENVIRONMENTS[self.domain]("small").environment

    @property
    def oracle(self) -> TurnOracle:
        found = ENVIRONMENTS[self.domain]("small").oracle
        assert found is not None
        return found

    @property
    def acts(self) -> Acts:
        return USER_ACTS[self.domain]("small")

    def logs(
        self, seed: int, *, count: int = LOGS, environment: Environment | None = None
    ) -> list[Conversation]:
        """Logged conversations of that assistant with these users."""
        talk = ScriptedTalk(environment or self.environment, self.oracle)
        return talk.conversations(confirming(self.facts, self.speak), count=count, seed=seed)


def confirming(facts: Facts, otherwise: Speak) -> Speak:
    """Asks in a third of the turns whether it understood a fact."""

    def speak(scenario: Scenario, messages: Sequence[Message], *, random: Random) -> str:
        told = facts(messages)
        if told and random.random() < CONFIRMS:
            return f"{pick(random, sorted(told))} it is , right ?"
        return otherwise(scenario, messages, random=random)

    return speak


def _symptoms(messages: Sequence[Message]) -> list[str]:
    told = told_symptoms(messages, WARDS["small"].symptoms)
    return [f"{name} {'yes' if is_held else 'no'}" for name, is_held in told.items()]


FACTS: dict[str, Facts] = {
    "sales": lambda messages: list(told_values(messages, SHOPS["small"].slots).values()),
    "document": lambda messages: list(told_facts(messages, PRESSES["small"]).values()),
    "math": lambda messages: [
        f"{number} {name}" for name, number in told_numbers(messages, SCHOOLS["small"].names).items()
    ],
    "medical": _symptoms,
}
SPEAKERS: dict[str, Callable[[], Speak]] = {
    "sales": lambda: ScriptedSalesperson("small").speak,
    "document": lambda: ScriptedWriter("small").speak,
    "math": lambda: ScriptedTutor("small").speak,
    "medical": lambda: ScriptedDoctor("small").speak,
}
ASKS = {
    "sales": "which size do you prefer ?",
    "document": "which price is it ?",
    "math": "how many apples are there ?",
    "medical": "do you have fever ?",
}


def scene(domain: str) -> Scene:
    """The scene of a domain."""
    return Scene(domain, FACTS[domain], SPEAKERS[domain](), ASKS[domain])


def talks(conversations: Sequence[Conversation]) -> list[Talk]:
    """What their users did."""
    return [talk_of(each.messages, each.stop) for each in conversations]


def in_their_place(
    conversations: Sequence[Conversation], environment: Environment, *, seed: int
) -> list[Talk]:
    """What users of the environment answer to everything that the logged users heard."""
    return [_replayed(each, environment, seed=seed) for each in conversations]


def _replayed(conversation: Conversation, environment: Environment, *, seed: int) -> Talk:
    exchanges = []
    places = [i for i, each in enumerate(conversation.messages) if each.role is Role.ASSISTANT]
    for turn, place in enumerate(places):
        heard = conversation.messages[: place + 1]
        own_seed = derive_seed(seed, conversation.conversation_id, turn)
        reply = environment.user(conversation.scenario, seed=own_seed).reply(heard)
        assert isinstance(reply, Reply)
        exchange = replayed(heard, turn, reply=reply)
        exchanges += [] if exchange is None else [exchange]
    return tuple(exchanges)
