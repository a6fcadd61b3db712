"""What a judge of each domain is asked, and how code turns its answer into an outcome in [0, 1]."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from itpo_core.envs.document_article import article_of, reference_of
from itpo_core.envs.document_articles import reference_text
from itpo_core.envs.document_press import press_of
from itpo_core.envs.document_score import score_document
from itpo_core.envs.llm_user_checks import share_in, words_of
from itpo_core.envs.sales_need import need_of
from itpo_core.envs.sales_shop import shop_of
from itpo_core.llm.usable import Answer
from itpo_core.types import Message, Role, Scenario, Scored

GRADES = 10.0
OWN_WORDS = 0.8  # share of a document's word triples that the assistant has to have written
INVENTED = "the document holds words that the assistant never wrote"
_HEAD = {"rationale": {"type": "string"}, "cannot_judge": {"type": "boolean"}}


@dataclass(frozen=True, slots=True)
class JudgeTask:
    """`asks` is what to judge; `reference` what the judge is told beside the transcript, by preset.

    `key` is the answer's own field of `schema`; `score` makes the outcome of a checked answer, `fault` says
    what else is wrong with one. `hears` are the roles that the judge is shown.
    """

    asks: str
    key: str
    kind: Mapping[str, object]
    reference: Callable[[Scenario, str], str]
    score: Callable[[Answer, str], Scored]
    fault: Callable[[Answer, Sequence[Message]], str | None]
    hears: frozenset[Role] = frozenset({Role.USER, Role.ASSISTANT})

    @property
    def schema(self) -> Mapping[str, object]:
        """The form of the answer."""
        properties = {**_HEAD, self.key: dict(self.kind)}
        return {
            "type": "object",
            "properties": properties,
            "required": list(properties),
            "additionalProperties": False,
        }


def _right_or_wrong(key: str) -> Callable[[Answer, str], Scored]:
    return lambda answer, reference: Scored(float(_number(answer[key])))


def _graded(answer: Answer, reference: str) -> Scored:
    grade = _number(answer["grade"])
    return Scored(grade / GRADES, {"grade": grade})


def _written(answer: Answer, reference: str) -> Scored:
    return score_document(reference, str(answer["document"]))


def no_fault(answer: Answer, messages: Sequence[Message]) -> str | None:
    """Nothing is looked at but the form."""
    return None


def invented(answer: Answer, messages: Sequence[Message]) -> str | None:
    """Whether the document is not made of the assistant's words."""
    words = words_of(str(answer["document"]))
    written = words_of(" ".join(each.content for each in messages if each.role is Role.ASSISTANT))
    return INVENTED if words and share_in(words, written) < OWN_WORDS else None


def sales_reference(scenario: Scenario, preset: str) -> str:
    """What suits the customer: the product, and the values that decide about it."""
    shop = shop_of(preset)
    need = need_of(scenario, shop)
    facts = ", ".join(f"{slot.name} {need.values[slot.name]}" for slot in shop.needs_of(need.product))
    return f"a {need.product} with {facts}"


def document_reference(scenario: Scenario, preset: str) -> str:
    """The text that the user has in mind."""
    latent = json.loads(scenario.latent_json)
    if "topic" not in latent:
        return reference_text(scenario)
    press = press_of(preset)
    return reference_of(article_of(scenario, press), press)


def whole_latent(scenario: Scenario, preset: str) -> str:
    """All that the scenario hides."""
    return scenario.latent_json


_BINARY = MappingProxyType({"type": "integer", "enum": [0, 1]})
_GRADE = MappingProxyType({"type": "number", "minimum": 0, "maximum": 10})
JUDGE_TASKS: Mapping[str, JudgeTask] = MappingProxyType(
    {
        "math": JudgeTask(
            "Was the final answer of the assistant right? Put 1 into `correct` when its last answer agrees "
            "with the reference (another form of the same number is right), else 0; 0 too when it gave none.",
            "correct", _BINARY, whole_latent, _right_or_wrong("correct"), no_fault,
        ),
        "medical": JudgeTask(
            "How good are the diagnosis and the advice of the assistant? Put a number from 0 to 10 into "
            "`grade`: 8 to 10 for a right diagnosis with sensible advice, 4 to 7 where one of them is right, "
            "0 to 3 else.",
            "grade", _GRADE, whole_latent, _graded, no_fault,
        ),
        "document": JudgeTask(
            "Put together the final document from the assistant's messages below, word for word, without the "
            "talk around it, into `document`; an empty text when the assistant wrote none.",
            "document", MappingProxyType({"type": "string"}), document_reference, _written, invented,
            hears=frozenset({Role.ASSISTANT}),
        ),
        "sales": JudgeTask(
            "Did the customer get what he needs? Put 1 into `satisfied` when the first recommendation of the "
            "assistant is the product of the reference with exactly its properties, else 0.",
            "satisfied", _BINARY, sales_reference, _right_or_wrong("satisfied"), no_fault,
        ),
    }
)  # fmt: skip
GENERIC = JudgeTask(
    "How well did the assistant serve the user's goal, which the reference tells? Put a number from 0 to 10 "
    "into `grade`.",
    "grade", _GRADE, whole_latent, _graded, no_fault,
)  # fmt: skip


def _number(value: object) -> float:
    return float(str(value))
