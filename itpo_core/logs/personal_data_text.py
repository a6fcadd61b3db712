"""Text made plain for searching, letter for letter, and the cheap question whether a search is worth it."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from functools import cache

# Spaces and marks that nobody sees: numbers copied out of address books and web pages are full of them.
_BLANKS = (
    "\u00a0\u1680\u2007\u2009\u200a\u202f\u205f\u3000"
    + "\u200b\u200c\u200d\u200e\u200f\u202a\u202c\u2060\ufeff\u00ad"
)
_DASHES = "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe63\uff0d\u30fc"
_FULL_WIDTH = range(0xFF01, 0xFF5F)  # ！ to ～, in the order of ASCII
_ESCAPED = re.compile(r"\\[nrt]")
# Four digits close to each other, an at sign, or the shape of an Italian tax code (which never has four).
_HINT = re.compile(r"[@\uff20]|\d(?:\W{0,3}\d){3}|\d\d[A-Za-z]\d\d")
_NO_DIGITS = bytes(set(range(128)) - set(b"0123456789"))
_FEWEST = 4  # digits that a hint needs
# What follows reads plain text, whose digits are those of ASCII: a set of ten is searched for fastest.
_ISLAND = re.compile(r"[0-9](?:[ .+\-]?[0-9]){7,}")
_TOKEN = re.compile(r"[0-9][0-9]+")
_CLUSTER = re.compile(r"[0-9](?:[ ./()+\-]{0,3}[0-9]){6,}")
# What every number has that is looked for: seven digits together, or the middle of an Italian tax code or of
# an Indian one. A digit comes first in each of them, so that all else of a text is passed over quickly.
_CORE = re.compile(
    r"[0-9](?:(?:[ ./()+\-]{0,3}[0-9]){6}|[0-9](?i:[A-Z])[0-9]{2}"
    r"|[0-9]{3}(?<=(?i:[A-Z]){5}[0-9]{4})(?i:[A-Z]))"
)
_LONG = 7  # digits of the shortest number that one letter may follow at a distance
_DAY = re.compile(
    r"(?:(?:19|20)\d\d([-./ ])\d\d?\1\d\d?|\d\d?([-./ ])\d\d?\2(?:19|20)\d\d)(?:[ ,-]{1,3}\d\d?)?"
)
_BESIDE = 10  # letters, spaces and dashes that may belong to an island of digits
_ADDRESS_HINT = re.compile(r":[0-9A-Fa-f]{0,4}:")


def worth_a_search(text: str, *, addresses: bool = False) -> bool:
    """Whether personal data may stand in the text at all; `addresses` asks for those of machines too.

    False only where a search would find nothing.
    """
    if addresses:
        return (not _is_poor(text) and _HINT.search(text) is not None) or (
            _ADDRESS_HINT.search(text) is not None
        )
    if _is_poor(text):
        return False
    if _is_plain(text):  # all of it is hinted at by what comes next
        return _has_core(text)
    return _HINT.search(text) is not None and _has_core(plain(text))


def _is_poor(text: str) -> bool:
    """Whether an ASCII text has hardly a digit and no at sign: as most, and quickest to tell."""
    return text.isascii() and "@" not in text and len(text.encode().translate(None, _NO_DIGITS)) < _FEWEST


def _is_plain(text: str) -> bool:
    """Whether `plain` would leave it as it is."""
    return text.isascii() and "\\" not in text


def _has_core(text: str) -> bool:
    return "@" in text or _CORE.search(text) is not None


def plain(text: str) -> str:
    """The text with ASCII digits, spaces and dashes for those of any script; every place stays."""
    if not text.isascii():
        text = text.translate(_plain_characters())
    return _ESCAPED.sub("  ", text) if "\\" in text else text


@cache
def _plain_characters() -> Mapping[int, str]:
    others = re.findall(r"\d", "".join(map(chr, range(0x80, 0x20000))))
    digits = {ord(each): str(unicodedata.decimal(each)) for each in others}
    wide = {code: chr(code - 0xFEE0) for code in _FULL_WIDTH}
    return {
        **digits,
        **wide,
        **dict.fromkeys(map(ord, _BLANKS), " "),
        **dict.fromkeys(map(ord, _DASHES), "-"),
    }


def is_day(text: str) -> bool:
    """Whether it is a date, perhaps with the hour after it: what most runs of digits in logs are."""
    return _DAY.fullmatch(text) is not None


def clusters(text: str) -> list[tuple[int, int]]:
    """Where so many digits stand together that they may be a telephone number, or anything longer."""
    return [match.span() for match in _CLUSTER.finditer(text)]


def islands(text: str, many: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Stretches where national numbers may stand: in the clusters `many`, or between letters; no dates."""
    numbers = (match for span in many for match in _ISLAND.finditer(text, *span))
    digits = [match.span() for match in numbers if not is_day(match[0])]
    lettered = [match.span() for match in _TOKEN.finditer(text) if _in_letters(text, *match.span())]
    joined: list[tuple[int, int]] = []
    for start, end in sorted([*digits, *lettered]):
        begin = max(0, start - _BESIDE)
        if joined and begin <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end + _BESIDE))
        else:
            joined.append((begin, end + _BESIDE))
    return joined


def _in_letters(text: str, start: int, end: int) -> bool:
    """Whether the digits may belong to a number with letters: 1234567 L, 85T10, 1234F; not 10am."""
    next_one, after = text[end : end + 1], text[end + 1 : end + 2]
    return (next_one.isalpha() and not after.isalpha()) or (
        end - start == _LONG and (next_one == "-" or after.isalpha() or text[start - 1 : start].isalpha())
    )
