"""Slips of the typing, without a dictionary: words that are an edit away from a word that is often said."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

LETTERS = 5  # of shorter words nearly each is an edit away from another
LONGEST = 40  # letters: what is longer is no word, and looking it up takes its square
OFTEN = 5  # times: a word that is said so often in the logs is one that people mean
KNOWN = 2  # times: what is said again is a word, if a rare one
_BLANK = "*"


@dataclass(frozen=True, slots=True)
class Spelling:
    """Words of some logs: those that are no slips, those that are often said, and these with a letter inside
    left out (`shortened`) or blanked (`blanked`).
    """

    known: frozenset[str] = frozenset()
    often: frozenset[str] = frozenset()
    shortened: frozenset[str] = frozenset()
    blanked: frozenset[str] = frozenset()


def spelling_of(said: Mapping[str, int]) -> Spelling:
    """How words are spelled by those who said them so often, users and assistants alike."""
    often = frozenset(word for word, count in said.items() if count >= OFTEN and is_spelled(word))
    return Spelling(
        known=frozenset(word for word, count in said.items() if count >= KNOWN),
        often=often,
        shortened=frozenset(word for each in often for word in _shortened(each)),
        blanked=frozenset(word for each in often for word in _blanked(each)),
    )


def is_spelled(word: str) -> bool:
    """Whether it is a word of enough letters, and of nothing else, to be judged at all."""
    return LETTERS <= len(word) <= LONGEST and word.isalpha()


def is_slip(word: str, spelling: Spelling, *, heard: Collection[str] = ()) -> bool:
    """Whether hardly anybody says the word, and one edit inside it makes one that is often said.

    A letter left out, put in, replaced, or changed with its neighbour (Damerau), between the first and the
    last letter: at the ends there are mostly other forms of the word ("asked", "asks"). A word that was just
    `heard` is copied, not mistyped.
    """
    if word in spelling.known or word in heard:
        return False
    return (
        word in spelling.shortened
        or not spelling.often.isdisjoint(_shortened(word))
        or not spelling.blanked.isdisjoint(_blanked(word))
        or not spelling.often.isdisjoint(_swapped(word))
    )


def _inside(word: str) -> range:
    return range(1, len(word) - 1)


def _shortened(word: str) -> set[str]:
    return {word[:i] + word[i + 1 :] for i in _inside(word)}


def _blanked(word: str) -> set[str]:
    return {word[:i] + _BLANK + word[i + 1 :] for i in _inside(word)}


def _swapped(word: str) -> set[str]:
    return {word[:i] + word[i + 1] + word[i] + word[i + 2 :] for i in _inside(word)[:-1]}
