"""What is measured of every answer of a user, the same for logged and for simulated ones."""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from itpo_core.fidelity_spelling import Spelling, is_slip, is_spelled, spelling_of
from itpo_core.fidelity_talks import Exchange, Talk, words_of
from itpo_core.statistics import auc

QUESTION_MARKS = frozenset("?\uff1f\u061f\u037e\u055e\u1367")
# Words by which people refuse, contradict or are not sure, in the languages that logs are mostly in.
NEGATIONS = frozenset(
    {
        *("no", "not", "never", "nope", "none", "nothing", "neither", "nor", "wrong", "disagree", "cannot"),
        *("nein", "nicht", "kein", "keine", "nie", "falsch"),
        *("non", "pas", "jamais", "faux", "nunca", "nada", "falso", "mai", "n\u00e3o", "jam\u00e1s"),
        *("niet", "nee", "nie", "nej", "inte", "ikke", "de\u011fil"),
        *(
            "\u043d\u0435\u0442",
            "\u043d\u0435",
            "\u043d\u0438\u043a\u043e\u0433\u0434\u0430",
        ),  # Russian: no, not, never
        *("\u4e0d", "\u6ca1", "\u522b", "\u65e0"),  # Chinese
        *("\u0644\u0627", "\u0644\u064a\u0633"),  # Arabic
    }
)
_CONTRACTED = re.compile("n['\u2019]t\\b", re.IGNORECASE)
SAME = 0.8  # of all words of two texts these many are common to both: said again
COMMON = 0.5  # a word, or pair of words, of more conversations than this share is no content


class Scale(StrEnum):
    """How far two distributions lie apart; all from 0 to 1."""

    KOLMOGOROV = "Kolmogorov-Smirnov"
    SHARES = "difference of shares"
    WORDS = "difference of shares of words"
    CHANGE = "difference of mean chances"
    JENSEN_SHANNON = "Jensen-Shannon (bits)"
    SURVIVAL = "largest difference of the survival curves"
    HAZARD = "mean difference of the hazards by turn"


@dataclass(frozen=True, slots=True)
class Reference:
    """How users and assistants of some logs speak: log-probabilities by word, words (and pairs of words)
    without content, and how words are spelled.
    """

    user: Mapping[str, float]
    assistant: Mapping[str, float]
    unknown_user: float
    unknown_assistant: float
    common: frozenset[str]
    spelling: Spelling


# The value of one answer; None where the feature says nothing about it.
Measure = Callable[[Exchange, Reference], float | None]
# All values of one conversation.
Values = Callable[[Talk, Reference], list[float]]


@dataclass(frozen=True, slots=True)
class Feature:
    """One feature: its name for people, its scale, and what is wrong with users who have more or less of it.

    `none` names the fault of those who have none of it, where that has a name of its own; `unit` is what has
    a value.
    """

    title: str
    scale: Scale
    values: Values
    more: str
    less: str
    none: str = ""
    unit: str = "answers"


def of_answers(measure: Measure) -> Values:
    """The value of every answer of which there is one."""

    def values(talk: Talk, reference: Reference) -> list[float]:
        found = [measure(each, reference) for each in talk]
        return [value for value in found if value is not None]

    return values


def change_of(measure: Measure) -> Values:
    """How a user changes: the chance that a later answer has more of it than an earlier one, ties half.

    Of all pairs of one answer in the first and one in the second half of what he heard (of an odd number the
    middle one belongs to neither): one half for somebody who stays as he began, whatever he is like. No value
    for a conversation in which a half has none.
    """

    def values(talk: Talk, reference: Reference) -> list[float]:
        half = len(talk) // 2
        sides = [(each, False) for each in talk[:half]] + [(each, True) for each in talk[len(talk) - half :]]
        found = [(measure(each, reference), is_later) for each, is_later in sides]
        said = [(value, is_later) for value, is_later in found if value is not None]
        chance = auc([value for value, _ in said], [is_later for _, is_later in said])
        return [] if chance is None else [chance]

    return values


def reference_of(talks: Sequence[Talk]) -> Reference:
    """Unigram models of both speakers, each with one more count for every word of either (Laplace)."""
    user = Counter(word for talk in talks for text in _user_texts(talk) for word in words_of(text))
    assistant = Counter(word for talk in talks for each in talk for word in words_of(each.heard))
    known = user.keys() | assistant.keys()
    met = Counter(gram for talk in talks for gram in _all_grams(talk))
    return Reference(
        user=_log_shares(user, known),
        assistant=_log_shares(assistant, known),
        unknown_user=-math.log(user.total() + len(known) + 1),
        unknown_assistant=-math.log(assistant.total() + len(known) + 1),
        common=frozenset(gram for gram, count in met.items() if count > COMMON * len(talks)),
        spelling=spelling_of(user + assistant),
    )


def _user_texts(talk: Talk) -> list[str]:
    return [*(talk[-1].before if talk else ()), *(each.said for each in talk[-1:] if each.said)]


def _all_grams(talk: Talk) -> set[str]:
    return _grams([*_user_texts(talk), *(each.heard for each in talk)])


def _grams(texts: Iterable[str]) -> set[str]:
    """Words and pairs of words: in a world so small that every word is common, pairs still are not."""
    said = [words_of(text) for text in texts]
    pairs = {f"{first} {second}" for words in said for first, second in pairwise(words)}
    return pairs.union(*said)


def _log_shares(counts: Counter[str], known: Iterable[str]) -> dict[str, float]:
    vocabulary = list(known)
    total = counts.total() + len(vocabulary) + 1
    return {word: math.log((counts[word] + 1) / total) for word in vocabulary}


def _length(exchange: Exchange, _: Reference) -> float | None:
    return None if exchange.said is None else float(len(words_of(exchange.said)))


def _asks(exchange: Exchange, _: Reference) -> float | None:
    return None if exchange.said is None else float(bool(QUESTION_MARKS & set(exchange.said)))


def disagrees(exchange: Exchange, _: Reference) -> float | None:
    """Whether a word of the answer refuses, contradicts or is not sure."""
    if exchange.said is None:
        return None
    negated = NEGATIONS.intersection(words_of(exchange.said)) or _CONTRACTED.search(exchange.said)
    return float(bool(negated))


def _echo(exchange: Exchange, _: Reference) -> float | None:
    """Share of his words that stood in what he had just heard."""
    words = words_of(exchange.said or "")
    heard = set(words_of(exchange.heard))
    return sum(word in heard for word in words) / len(words) if words else None


def _role_flip(exchange: Exchange, reference: Reference) -> float | None:
    """Whether the logs' assistants would rather say so than their users."""
    words = words_of(exchange.said or "")
    return float(log_ratio(words, reference) > 0) if words else None


def log_ratio(words: Sequence[str], reference: Reference) -> float:
    """Log-likelihood of the words under the assistants' unigram model less that under the users'."""
    return math.fsum(
        reference.assistant.get(word, reference.unknown_assistant)
        - reference.user.get(word, reference.unknown_user)
        for word in words
    )


def _repeats_opening(exchange: Exchange, _: Reference) -> float | None:
    if exchange.said is None or not exchange.before:
        return None
    return float(is_said_again(exchange.said, exchange.before[:1]))


def _repeats_himself(exchange: Exchange, _: Reference) -> float | None:
    if exchange.said is None or len(exchange.before) < 2:
        return None
    return float(is_said_again(exchange.said, exchange.before[1:]))


def is_said_again(text: str, before: Sequence[str]) -> bool:
    """Whether one of the earlier texts has nearly the same words."""
    words = set(words_of(text))
    earlier = [set(words_of(each)) for each in before]
    return any(bool(words | each) and len(words & each) >= SAME * len(words | each) for each in earlier)


def _when(exchange: Exchange, _: Reference) -> float | None:
    """2 t for going on after turn t, 2 t + 1 for ending there."""
    return float(2 * exchange.turn + exchange.ends)


def _ends_on_confirmation(exchange: Exchange, reference: Reference) -> float | None:
    """Of questions that repeat the user's own words (is it that?) only."""
    if not QUESTION_MARKS & set(exchange.heard):
        return None
    repeated = _grams(exchange.before) & _grams([exchange.heard])
    return float(exchange.ends) if repeated - reference.common else None


def _slips(talk: Talk, reference: Reference) -> list[float]:
    """Of every word that is long enough to be judged, whether it looks mistyped."""
    return [
        float(is_slip(word, reference.spelling, heard=heard))
        for each in talk
        for heard in [frozenset(words_of(each.heard))]
        for word in words_of(each.said or "")
        if is_spelled(word)
    ]


PERSONS = "conversations with two halves"
DISAGREEMENT, REFUSALS_CHANGE = "disagreement", "refusals_change"
FEATURES: Mapping[str, Feature] = {
    "turns": Feature(
        "answers until the end", Scale.SURVIVAL, of_answers(_when), "stays too long", "leaves too soon"
    ),
    "ending": Feature(
        "ending, by turn", Scale.HAZARD, of_answers(_when),
        "stops too soon", "stops too seldom", "never stops",
    ),
    "confirmation": Feature(
        "ending at a question that repeats his words", Scale.SHARES, of_answers(_ends_on_confirmation),
        "stops on confirm", "goes on after a confirmation",
    ),
    "length": Feature(
        "words per message", Scale.KOLMOGOROV, of_answers(_length), "long-winded", "too terse"
    ),
    "questions": Feature(
        "messages that ask", Scale.SHARES, of_answers(_asks), "asks too often", "asks too seldom"
    ),
    DISAGREEMENT: Feature(
        "messages that refuse or negate", Scale.SHARES, of_answers(disagrees), "too contrary", "too agreeable"
    ),
    "echo": Feature(
        "words copied from the assistant's last message", Scale.KOLMOGOROV, of_answers(_echo),
        "copies the assistant", "does not take up the assistant's words",
    ),
    "role_flip": Feature(
        "messages that an assistant would rather say", Scale.SHARES, of_answers(_role_flip),
        "answers as the assistant", "speaks too unlike the assistant",
    ),
    "repeats_opening": Feature(
        "messages that say the opening again", Scale.SHARES, of_answers(_repeats_opening),
        "repeats its opening", "repeats its opening too seldom",
    ),
    "repeats_itself": Feature(
        "messages that say an earlier answer again", Scale.SHARES, of_answers(_repeats_himself),
        "repeats itself", "repeats itself too seldom",
    ),
    "typos": Feature(
        "words that look mistyped", Scale.WORDS, _slips,
        "mistypes too often", "mistypes too seldom", "never mistypes", unit="words",
    ),
    "length_change": Feature(
        "later messages longer than earlier ones", Scale.CHANGE, change_of(_length),
        "turns long-winded", "turns terse", unit=PERSONS,
    ),
    "questions_change": Feature(
        "asking later rather than earlier", Scale.CHANGE, change_of(_asks),
        "begins to ask", "gives up asking", unit=PERSONS,
    ),
    REFUSALS_CHANGE: Feature(
        "refusing later rather than earlier", Scale.CHANGE, change_of(disagrees),
        "turns contrary", "turns agreeable", unit=PERSONS,
    ),
}  # fmt: skip
ACTS = "acts"
ACTS_TITLE, ACTS_FAULT = "kinds of answers", "answers in other ways"
