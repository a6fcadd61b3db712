"""Payment cards, IBANs and national numbers: by written shape, check digits, and words beside them.

Check digits and structures are those of python-stdnum. One check digit lets every tenth order number pass: a
bare number needs a word for it nearby; a written form that little else has, or two check digits, do not.
What stands before and after is looked at in ASCII only: Chinese and Japanese put no space beside a number.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Protocol, cast

from itpo_core.logs.personal_data_text import islands
from itpo_core.logs.personal_data_words import is_named, is_national


class _Standard(Protocol):
    def is_valid(self, number: str) -> bool: ...


@dataclass(frozen=True, slots=True)
class Number:
    """A stretch of a text that is such a number; `value` is the same however it is written."""

    start: int
    end: int
    value: str


@dataclass(frozen=True, slots=True)
class NationalNumber:
    """Of one country: `free` shapes need its check digits only, `named` ones a word beside it too."""

    standard: str  # a module of python-stdnum
    free: str = ""
    named: str = ""


_NATIONAL = (
    NationalNumber("fr.nir", free=r"[12] ?\d\d ?[0-9]\d ?(?:\d\d|2[AB]) ?\d{3} ?\d{3} ?\d\d"),
    NationalNumber("es.nie", free=r"[XYZ]-?\d{7}-?[A-Z]", named=r"[XYZxyz][- ]?\d{7}[- ]?[A-Za-z]"),
    NationalNumber(
        "es.dni", free=r"\d{8}-?[A-Z]|\d\d\.\d{3}\.\d{3}-?[A-Z]", named=r"\d\d\.?\d{3}\.?\d{3}[- ]?[A-Za-z]"
    ),
    NationalNumber("it.codicefiscale", free=r"(?i:[A-Z]{3} ?[A-Z]{3} ?\d\d[A-Z]\d\d ?[A-Z]\d{3} ?[A-Z])"),
    NationalNumber("pt.cc", free=r"\d{8}[ -]?\d[ -]?[A-Z]{2}\d"),
    NationalNumber("br.cpf", free=r"\d{3}\.\d{3}\.\d{3}-\d\d", named=r"\d{9}-?\d\d|\d{3} \d{3} \d{3} \d\d"),
    NationalNumber("ch.ssn", free=r"756\.\d{4}\.\d{4}\.\d\d", named=r"756[ -]?\d{4}[ -]?\d{4}[ -]?\d\d"),
    NationalNumber("be.nn", free=r"\d\d\.\d\d\.\d\d-\d{3}\.\d\d", named=r"\d{6}[- ]?\d{3}[-. ]?\d\d"),
    NationalNumber("se.personnummer", free=r"(?:\d\d)?\d{6}[-+]\d{4}", named=r"(?:\d\d)?\d{10}"),
    NationalNumber("de.idnr", free=r"\d\d \d{3} \d{3} \d{3}", named=r"\d{2}[ -]?\d{3}[ -]?\d{3}[ -]?\d{3}"),
    NationalNumber(
        "in_.aadhaar",
        free=r"(?<!\d[ -])\d{4}(?P<gap>[ -])\d{4}(?P=gap)\d{4}(?!(?P=gap)\d{4}(?!\d))",
        named=r"\d{12}",
    ),
    NationalNumber("in_.pan", named=r"(?i:[A-Z]{3}[ABCFGHJLPT][A-Z]\d{4}[A-Z])"),
    NationalNumber("us.ssn", named=r"\d{3}[- .]\d\d[- .]\d{4}|\d{9}"),
    NationalNumber("ca.sin", named=r"\d{3}[- ]?\d{3}[- ]?\d{3}"),
    NationalNumber("gb.nhs", named=r"\d{3}[- ]?\d{3}[- ]?\d{4}"),
    NationalNumber("pt.nif", named=r"\d{3}[ .]?\d{3}[ .]?\d{3}"),
    NationalNumber("nl.bsn", named=r"\d{8,9}|\d{4}[. ]\d\d[. ]\d{3}|\d{3}[. ]\d{3}[. ]\d{3}"),
    NationalNumber("pl.pesel", named=r"\d{11}"),
)
# Four by four, the groups of American Express and Diners, or in one piece.
_GROUPED_CARD = re.compile(
    r"(?<![0-9A-Za-z_.])(?:\d{4}([ .-])\d{4}\1\d{4}\1\d{4}|3\d{3}([ .-])\d{6}\2\d{4,5})(?![0-9A-Za-z_])"
)
_BARE_CARD = re.compile(r"(?<![0-9A-Za-z_.])\d{13,19}(?![0-9A-Za-z_])")
# Issuers and the usual lengths of their numbers: Visa, Mastercard, American Express, Discover, Diners, JCB,
# UnionPay, RuPay, Maestro.
_ISSUED = re.compile(
    r"4\d{15}(?:\d{3})?|5[1-5]\d{14}|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}|3[47]\d{13}"
    r"|6(?:011|5\d\d|4[4-9]\d)\d{12}|3(?:0[0-5]|[689]\d)\d{11,13}|35\d{14}|62\d{14,17}|(?:508|60|81|82)\d{13,14}"
    r"|(?:50|5[6-9]|6\d)\d{14}"
)
_USUAL_LENGTHS = (15, 16)
_CARD_DIGITS = 13
_IBAN_START = re.compile(r"[0-9]{2}(?<=[A-Za-z]{2}\d\d)(?<![A-Za-z0-9]{3}\d\d)(?=[ -]?[A-Za-z0-9]{2})")
_IBAN_LENGTHS = range(34, 14, -1)
_IBAN_DIGITS = 8


def cards(text: str, many: Sequence[tuple[int, int]], *, before: str = "") -> Iterator[Number]:
    """Payment cards: an issuer's prefix, Luhn's check digit; one of unusual length also a word.

    Only the clusters `many` of the text are read: its digits beside each other.
    """
    # One letter more than the cluster, so that what may not follow a number is seen.
    spans = [(start, end + 1) for start, end in many if end - start >= _CARD_DIGITS]
    for match in (match for span in spans for match in _GROUPED_CARD.finditer(text, *span)):
        number = _number(match)
        if _is_card(number.value):
            yield number
    for match in (match for span in spans for match in _BARE_CARD.finditer(text, *span)):
        number = _number(match)
        usual = len(number.value) in _USUAL_LENGTHS
        if _is_card(number.value) and (
            usual or is_named("card", text, start=number.start, end=number.end, before=before)
        ):
            yield number


def ibans(text: str) -> Iterator[Number]:
    """Account numbers of the international form: the country's structure, and its two check digits."""
    for match in _IBAN_START.finditer(text):
        number = _iban(text, match.start() - 2)
        if number is not None:
            yield number


def national_numbers(text: str, many: Sequence[tuple[int, int]], *, before: str = "") -> Iterator[Number]:
    """Numbers that a state gave to a person; `many` are the clusters of the text."""
    for begin, end in islands(text, many):
        if _any_shape().search(text, begin, end) is None:
            continue
        words = _Beside(text, before)
        for kind, free, named in _shapes():
            found = [] if free is None else [_number(match) for match in free.finditer(text, begin, end)]
            if named is not None:
                others = [_number(match) for match in named.finditer(text, begin, end)]
                found += [each for each in others if words.name(kind, each)]
            yield from (each for each in found if _standard(kind.standard).is_valid(each.value))


class _Beside:
    """The words beside the numbers of a text; most have none that any kind of number goes by."""

    def __init__(self, text: str, before: str) -> None:
        self._text = text
        self._before = before
        self._known: dict[tuple[int, int], bool] = {}

    def name(self, kind: NationalNumber, number: Number) -> bool:
        """Whether one of them says that the number is of this kind."""
        place = (number.start, number.end)
        if place not in self._known:
            self._known[place] = is_national(self._text, start=place[0], end=place[1], before=self._before)
        return self._known[place] and is_named(
            kind.standard, self._text, start=place[0], end=place[1], before=self._before
        )


def _iban(text: str, start: int) -> Number | None:
    places: list[int] = []
    position = start
    while position < len(text) and len(places) < _IBAN_LENGTHS[0]:
        if text[position].isalnum() and text[position].isascii():
            places.append(position)
        elif text[position] not in " -" or position - places[-1] > 1:
            break
        position += 1
    for length in _IBAN_LENGTHS:
        if length <= len(places) and not text[places[length - 1] + 1 :][:1].isalnum():
            value = "".join(text[place] for place in places[:length]).upper()
            if _is_iban(value):
                return Number(start, places[length - 1] + 1, value)
    return None


def _is_iban(value: str) -> bool:
    enough = sum(character.isdigit() for character in value) >= _IBAN_DIGITS
    return enough and _standard("iban").is_valid(value)


def _is_card(value: str) -> bool:
    return _ISSUED.fullmatch(value) is not None and len(set(value)) > 1 and _standard("luhn").is_valid(value)


def _number(match: re.Match[str]) -> Number:
    return Number(match.start(), match.end(), re.sub(r"[^0-9A-Za-z]", "", match[0]).upper())


@cache
def _shapes() -> list[tuple[NationalNumber, re.Pattern[str] | None, re.Pattern[str] | None]]:
    return [(kind, _shape(kind.free), _shape(kind.named)) for kind in _NATIONAL]


@cache
def _any_shape() -> re.Pattern[str]:
    """What at least one kind of number looks like."""
    patterns = (pattern for kind in _NATIONAL for pattern in (kind.free, kind.named) if pattern)
    return _between("|".join(f"(?:{pattern})" for pattern in patterns))


def _shape(pattern: str) -> re.Pattern[str] | None:
    return _between(pattern) if pattern else None


def _between(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![0-9A-Za-z_.])(?:{pattern})(?![0-9A-Za-z_])")


@cache
def _standard(name: str) -> _Standard:
    """A module of python-stdnum, read in when it is first needed."""
    return cast(_Standard, import_module(f"stdnum.{name}"))
