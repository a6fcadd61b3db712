"""The rules of math, document and medical as the brain of a model that plays user or judge.

As in `sales_brains`, what a brain knows it reads off the prompt, and its dice depend on the question alone.
"""

import json
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from itpo_core.envs.base import Reply, UserSimulator
from itpo_core.envs.document_article import Article
from itpo_core.envs.document_drafts import assembled
from itpo_core.envs.document_press import press_of
from itpo_core.envs.document_user import DocumentUser
from itpo_core.envs.math_language import Answer as Answered
from itpo_core.envs.math_language import parse
from itpo_core.envs.math_problem import Problem
from itpo_core.envs.math_school import school_of
from itpo_core.envs.math_user import MathUser
from itpo_core.envs.medical_illness import Illness
from itpo_core.envs.medical_language import Diagnosis, parse_in, scores
from itpo_core.envs.medical_patient import Patient
from itpo_core.envs.medical_ward import ward_of
from itpo_core.envs.personas import persona_of
from itpo_core.types import Message, StopReason
from tests.itpo_core.envs.sales_brains import AGAIN, OTHER, Answer, Spoken, brain, dice

SCHOOL, PRESS, WARD = school_of("small"), press_of("small"), ward_of("small")
LIKE_EVERYBODY = persona_of("default")
Facts = Mapping[str, str]
UserOf = Callable[[str, Facts, int], UserSimulator]
JudgeOf = Callable[[str, list[str]], Answer]


def math_user(prompt: str, facts: Facts, seed: int) -> UserSimulator:
    """The user of the problem that the prompt tells."""
    (name,) = re.findall(r"help with a (\w+) problem", prompt)
    kind = next(each for each in SCHOOL.kinds if each.name == name)
    values = MappingProxyType({key: int(value) for key, value in facts.items()})
    return MathUser(Problem(kind, values), SCHOOL, persona=LIKE_EVERYBODY, seed=seed)


def document_user(prompt: str, facts: Facts, seed: int) -> UserSimulator:
    """The user of the article that the prompt tells."""
    (topic,) = re.findall(r"a short text about the (\w+) written", prompt)
    return DocumentUser(Article(topic, MappingProxyType(dict(facts)), wording=0), PRESS, seed=seed)


def patient(prompt: str, facts: Facts, seed: int) -> UserSimulator:
    """The patient with the symptoms that the prompt tells; which of them brought him he told himself."""
    symptoms = [value for name, value in facts.items() if name.startswith("symptom")]
    illness = Illness("", facts["age"], symptoms[0], frozenset(symptoms))
    return Patient(illness, WARD, persona=LIKE_EVERYBODY, seed=seed)


def math_judge(reference: str, said: list[str]) -> Answer:
    """What the rule says of the first answer."""
    acts = [parse(text, SCHOOL.names) for text in said]
    number = next((act.number for act in acts if isinstance(act, Answered)), None)
    return {"correct": int(number == json.loads(reference)["answer"])}


def document_judge(reference: str, said: list[str]) -> Answer:
    """The marked draft, put together."""
    return {"document": assembled(said)}


def medical_judge(reference: str, said: list[str]) -> Answer:
    """What the rule says of the first diagnosis, from 0 to 10."""
    right = json.loads(reference)["values"]
    acts = [parse_in(WARD, text) for text in said]
    act = next((act for act in acts if isinstance(act, Diagnosis)), None)
    items = right["recommendation"].split()
    grade = scores(act, right["diagnosis"], right=items)["judge_scale"] if act is not None else 0.0
    return {"grade": grade}


USERS: Mapping[str, UserOf] = {"math": math_user, "document": document_user, "medical": patient}
JUDGES: Mapping[str, JudgeOf] = {"math": math_judge, "document": document_judge, "medical": medical_judge}


def brain_of(domain: str) -> Callable[[dict[str, Any]], Answer]:  # Any: JSON
    """Who answers as user and judge of a domain."""
    if domain == "sales":
        return brain

    def answer(request: dict[str, Any]) -> Answer:
        spoken = [each for each in request["messages"] if not each["content"].startswith(AGAIN)]
        if spoken[0]["content"].startswith("You play"):
            return played(spoken, USERS[domain])
        return judged(spoken, JUDGES[domain])

    return answer


def played(spoken: Spoken, user_of: UserOf) -> Answer:
    """What the domain's own user says, in the form that a model is asked for."""
    prompt, _, *said = spoken
    known = prompt["content"].partition("What you know")[2].partition("How you are")[0]
    facts = dict(re.findall(r"^- ([^:\n]+): (.+)$", known, re.MULTILINE))
    messages = [Message(OTHER[each["role"]], each["content"]) for each in said]
    reply = user_of(prompt["content"], facts, dice(spoken)).reply(messages)
    if not isinstance(reply, Reply):
        raise ValueError(reply.cause)
    is_leaving = reply.stop is StopReason.USER_LEFT
    return {"thought": "as ever", "message": reply.text or "", "wants_to_stop": is_leaving}


def judged(spoken: Spoken, judge_of: JudgeOf) -> Answer:
    """What the domain's rule says, in the form that a model is asked for."""
    reference, said = case_of(spoken)
    return {"rationale": "by the rule", "cannot_judge": False, **judge_of(reference, said)}


def case_of(spoken: Spoken) -> tuple[str, list[str]]:
    """The reference that a judge is told, and what the assistant said."""
    case = spoken[1]["content"].splitlines()
    border = next(place for place, line in enumerate(case) if line.startswith("====="))
    lines = [json.loads(line) for line in case[border:] if line.startswith("{")]
    said = [line["text"] for line in lines if line["speaker"] == "assistant"]
    return "\n".join(case[1:border]).strip(), said
