"""What words mean to a user: an assistant text becomes an act, user texts become told numbers.

Texts are split on spaces; a word counts only when it stands alone.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from itpo_core.envs.acts import Asking, asking_about
from itpo_core.envs.math_reckoning import OPERATIONS, steps
from itpo_core.envs.math_school import Kind, School, school_of
from itpo_core.types import Message, Role

ANSWER, MAKES = "answer", "makes"


@dataclass(frozen=True, slots=True)
class Answer:
    """The final act: the number said last, after the word "answer"."""

    number: int


@dataclass(frozen=True, slots=True)
class Step:
    """An intermediate result: the number after the last "makes"."""

    number: int


Act = Answer | Step | Asking


@dataclass(frozen=True, slots=True)
class TutorPhrases:
    """What the scripted assistant says; `{name}` and `{working}` are filled in."""

    question: tuple[str, ...] = (
        "how many {name} are there ?",
        "what is the number of {name} ?",
        "tell me about the {name} please .",
    )
    small_talk: tuple[str, ...] = (
        "what a lovely day today !",
        "i love helping people like you .",
        "math is fun when you try .",
    )
    step: tuple[str, ...] = ("well , {working} .",)
    answer: tuple[str, ...] = ("answer : {working} .",)


TUTOR_PHRASES = TutorPhrases()


def parse(text: str, names: Collection[str]) -> Act:
    """The act of an assistant text; an answer wins over a step, a step over every name."""
    words = text.split()
    answer = _last_number(words, after=ANSWER)
    if answer is not None:
        return Answer(answer)
    step = _last_number(words, after=MAKES)
    if step is not None:
        return Step(step)
    return asking_about({word for word in words if word in names})


def _last_number(words: Sequence[str], *, after: str) -> int | None:
    """The last number after the first time that a word is said."""
    if after not in words:
        return None
    numbers = [word for word in words[words.index(after) :] if is_number(word)]
    return int(numbers[-1]) if numbers else None


def is_number(word: str) -> bool:
    """A whole number in plain digits, of a length that somebody would say."""
    return word.isascii() and word.isdigit() and len(word) <= 9


def told_numbers(messages: Iterable[Message], names: Collection[str]) -> dict[str, int]:
    """The number that the user gave first for each quantity, right before its name."""
    texts = [message.content.split() for message in messages if message.role is Role.USER]
    said = [
        (name, int(number))
        for words in texts
        for number, name in pairwise(words)
        if name in names and is_number(number)
    ]
    return dict(reversed(said))  # of several numbers the first stays


def told_first(kind: Kind, told: Mapping[str, int]) -> list[int]:
    """The numbers told of the first quantities, up to one that was not."""
    gap = next((place for place, name in enumerate(kind.quantities) if name not in told), None)
    return [told[name] for name in kind.quantities[:gap]]


def known_steps(kind: Kind, told: Mapping[str, int]) -> tuple[int, ...]:
    """The results that can be reckoned from what was told: from the first quantity on, without a gap."""
    numbers = told_first(kind, told)
    return steps(kind.operations, numbers) if numbers else ()


def working(kind: Kind, numbers: Sequence[int]) -> str:
    """How the result comes about, in words: `boxes 3 times apples 4 makes 12`; for fewer numbers a part."""
    words = [kind.quantities[0], str(numbers[0])]
    results = steps(kind.operations, numbers)
    for operation, name, number, result in zip(
        kind.operations, kind.quantities[1:], numbers[1:], results, strict=False
    ):
        words += [operation, name, str(number), MAKES, str(result)]
    return " ".join(words)


def vocabulary(preset: str) -> tuple[str, ...]:
    """Every word that a user or the scripted assistant of the preset can say, sorted."""
    school = school_of(preset)
    templates = [*_phrases(school), *_tutor_phrases()]
    words = {word for template in templates for word in template.split() if not word.startswith("{")}
    words |= {kind.name for kind in school.kinds} | set(school.names) | set(OPERATIONS) | {MAKES}
    return tuple(sorted(words | {str(number) for number in _numbers(school)}))


def _numbers(school: School) -> set[int]:
    """Every number that a quantity or a result can be."""
    found = {value for quantity in school.quantities for value in quantity.values}
    for kind in school.kinds:
        first, *others = school.values_of(kind)
        results = set(first)
        for operation, values in zip(kind.operations, others, strict=True):
            results = {OPERATIONS[operation](left, right) for left in results for right in values}
            found |= results
    return found


def _phrases(school: School) -> tuple[str, ...]:
    said = school.phrases
    return (
        *said.opening, *said.fact, *said.evasion, *said.told_before, *said.not_there, *said.several,
        *said.right_step, *said.wrong_step, *said.small_talk, *said.ramble,
    )  # fmt: skip


def _tutor_phrases() -> tuple[str, ...]:
    said = TUTOR_PHRASES
    return (*said.question, *said.small_talk, *said.step, *said.answer)
