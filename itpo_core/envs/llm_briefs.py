"""What a language model that plays a user is told of its scenario: who it is, what it wants, what it knows.

Never what a right answer would be where the user himself could not know it.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from itpo_core.types import Scenario

Latent = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Brief:
    """`facts` are what the user keeps to himself until asked, each by its name."""

    role: str
    wants: str
    facts: tuple[tuple[str, str], ...]

    @property
    def secrets(self) -> tuple[str, ...]:
        """The facts alone; all of them in one message are the whole hidden goal."""
        return tuple(value for _, value in self.facts)


PERSONA_WORDS: Mapping[str, str] = MappingProxyType(
    {
        "default": "An ordinary person: friendly, a little absent-minded.",
        "vague": "You find it hard to say what you mean, and often answer beside the point at first.",
        "verbose": "You like to talk: before you answer you say something about your day.",
        "impatient": "You have little time. A useless question annoys you, and after two of them you leave.",
        "mistaken": "You mix things up: about one fact in seven you tell wrongly, and believe it.",
        "cooperative": "You are glad of the help and answer what you are asked at once and plainly.",
        "hurried": "You are in a hurry: you answer plainly, and leave when your time is wasted.",
        "patient": "You have all the time in the world, and often have to think before you answer.",
    }
)


def brief_of(scenario: Scenario) -> Brief:
    """The brief of a scenario. Raises ValueError for a domain that has none, or facts that do not fit it."""
    if scenario.domain not in BRIEFS:
        raise ValueError(
            f"scenario {scenario.scenario_id} is of the domain {scenario.domain!r}, for which no user of a "
            f"language model is described; there is one for {', '.join(BRIEFS)}"
        )
    try:
        return BRIEFS[scenario.domain](json.loads(scenario.latent_json))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"scenario {scenario.scenario_id} holds other facts than those of {scenario.domain} "
            f"({type(error).__name__} {error}): use the environment that made it"
        ) from None


def persona_words(persona_id: str) -> str:
    """How a persona behaves, in words; one without habits of its own is like everybody."""
    return PERSONA_WORDS.get(persona_id, PERSONA_WORDS["default"])


def _sales(latent: Latent) -> Brief:
    return Brief(
        "a customer of a shop",
        f"the {latent['product']} that suits you; you buy what the assistant recommends if it does",
        _named(latent["values"]),
    )


def _document(latent: Latent) -> Brief:
    if "topic" not in latent:
        text = (("the text that you have in mind", str(latent["reference"])),)
        return Brief("somebody who has a text in mind", f"help with this task: {latent['goal']}", text)
    wants = f"a short text about the {latent['topic']} written for you"
    return Brief("somebody who needs a text", wants, _named(latent["values"]))


def _medical(latent: Latent) -> Brief:
    if "complaint" not in latent:
        facts = (("what you feel and what happened", str(latent["description"])),)
        return Brief("a patient", "to know what you have and what helps", facts)
    symptoms = [(f"symptom {place + 1}", name) for place, name in enumerate(_texts(latent["symptoms"]))]
    facts = (("age", str(latent["age"])), *symptoms)
    wants = "to know what you have and what helps; a symptom that is not listed you do not have"
    return Brief("a patient", wants, facts)


def _math(latent: Latent) -> Brief:
    if "kind" not in latent:
        problem = (("the problem", str(latent["problem"])),)
        return Brief("a pupil who is stuck on a problem", "its answer, with help", problem)
    wants = f"help with a {latent['kind']} problem, until the assistant says the answer"
    return Brief("a pupil who is stuck on homework", wants, _named(latent["values"]))


def _logs(latent: Latent) -> Brief:
    told = "".join(f'; later you said "{text}"' for text in _texts(latent["told"]))
    wants = f'what you asked for in your first message, "{latent["opening"]}"{told}'
    return Brief("somebody", wants, (("all you know", "what stands above"),))


BRIEFS: Mapping[str, Callable[[Latent], Brief]] = MappingProxyType(
    {"sales": _sales, "document": _document, "medical": _medical, "math": _math, "logs": _logs}
)


_SAMPLES: Mapping[str, Latent] = MappingProxyType(
    {
        "sales": {"product": "thing", "values": {"color": "red"}},
        "document": {"topic": "thing", "values": {"place": "here"}},
        "medical": {"age": "adult", "complaint": "cough", "symptoms": ["cough"]},
        "math": {"kind": "thing", "values": {"apples": 2}},
        "logs": {"opening": "help", "told": ["here"]},
    }
)


def wording(domain: str) -> str:
    """The brief of a made-up scenario: a text that changes with the words of the domain's briefs."""
    return repr(BRIEFS[domain](_SAMPLES[domain]))


def _named(values: object) -> tuple[tuple[str, str], ...]:
    if not isinstance(values, Mapping):
        raise TypeError("no facts by name")
    return tuple((str(name), str(value)) for name, value in sorted(values.items()))


def _texts(values: object) -> tuple[str, ...]:
    if not isinstance(values, Sequence) or isinstance(values, str):
        raise TypeError("no list of facts")
    return tuple(map(str, values))
