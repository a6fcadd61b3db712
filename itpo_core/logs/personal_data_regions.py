"""Whether a run of digits may hold a telephone number of one country, asked before the library: that is dear.

The library cuts candidates at gaps, takes the country's own code and its long-distance digits off their
beginning, and what is left has to be like one of the patterns in its metadata; where numbers of that pattern
are written with the long-distance digits, they have to be there. A run in which nothing between two gaps is
so holds no number, however it is grouped.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from phonenumbers import PhoneMetadata

_GROUP = re.compile(r"[0-9]+")
_LAST_GROUP = re.compile(r"\(([^()?][^()]*)\)(\)*\??)\Z")
_MOST_DIGITS = 20  # in one piece for the library, which cuts a longer one anywhere


@dataclass(frozen=True, slots=True)
class _Format:
    """How some numbers of a country are written: never without its long-distance digits, or also so."""

    begins: re.Pattern[str]
    whole: re.Pattern[str]
    needs_prefix: bool


@dataclass(frozen=True, slots=True)
class _Numbers:
    """Numbers of the countries with one code: bare, led by that code or long-distance digits, or either."""

    bare: re.Pattern[str]
    led: re.Pattern[str]
    either: re.Pattern[str]
    abroad: re.Pattern[str]
    formats: tuple[_Format, ...]
    fewest: int

    def may_be(self, digits: str, *, start: int, end: int) -> bool:
        """Whether the library may take the digits between these two for a number."""
        if end - start < self.fewest or self.either.match(digits, start, end) is None:
            return False
        if self.led.match(digits, start, end) is not None:
            return True
        return self.bare.match(digits, start, end) is not None and not self._is_cut(digits[start:end])

    def _is_cut(self, number: str) -> bool:
        for each in self.formats:
            if each.begins.match(number) and each.whole.fullmatch(number):
                return each.needs_prefix
        return False


def may_hold(run: str, region: str) -> bool:
    """False only where the library finds no number of the region in the run, however it is grouped."""
    numbers = _numbers(region)
    groups = list(_GROUP.finditer(run))
    digits = "".join(group[0] for group in groups)
    if numbers is None or "+" in run or len(digits) > _MOST_DIGITS:
        return True
    ends = _ends(groups)
    starts = [0, *ends[:-1]]
    return any(numbers.abroad.match(digits, start) for start in starts) or any(
        numbers.may_be(digits, start=start, end=end) for start in starts for end in ends
    )


def _ends(groups: list[re.Match[str]]) -> list[int]:
    ends: list[int] = []
    for group in groups:
        ends.append((ends[-1] if ends else 0) + len(group[0]))
    return ends


@cache
def _numbers(region: str) -> _Numbers | None:
    """None where nothing can be said: of no country, or where some digits are put in place of others."""
    metadata = _metadata_of(region)
    if metadata is None or metadata.country_code is None or not metadata.international_prefix:
        return None
    # Once its own code is off, a number is read by the rules of the first country that has that code.
    alike = _with_code(metadata.country_code)
    prefixes = [_prefix(each) for each in (metadata, alike[0])]
    if None in prefixes:
        return None
    prefix = "|".join(f"(?:{each})" for each in prefixes if each)
    kinds = [kind for each in alike for kind in _kinds(each)]
    number = "|".join(f"(?:{pattern})" for pattern, _ in kinds)
    led = f"{metadata.country_code}" + (f"(?:{prefix}){{0,2}}|(?:{prefix}){{1,2}}" if prefix else "")
    return _Numbers(
        bare=re.compile(rf"(?:{number})\Z"),
        led=re.compile(rf"(?:{led})(?:{number})\Z"),
        either=re.compile(rf"(?:{led}|)(?:{number})\Z"),
        abroad=re.compile(metadata.international_prefix),
        formats=tuple(_formats(alike[0])),
        fewest=min(length for _, lengths in kinds for length in lengths if length > 0),
    )


def _metadata_of(region: str) -> "PhoneMetadata | None":
    import phonenumbers

    return phonenumbers.PhoneMetadata.metadata_for_region(region, None)


def _with_code(code: int) -> "list[PhoneMetadata]":
    """All countries with this code, the main one first."""
    import phonenumbers

    every = (_metadata_of(region) for region in phonenumbers.COUNTRY_CODE_TO_REGION_CODE[code])
    return [each for each in every if each is not None]


def _prefix(metadata: "PhoneMetadata") -> str | None:
    """What is taken off the beginning of a number; None where other digits may be put in its place.

    A rule may name the last group of the pattern: where the pattern ends with it, that group stays.
    """
    pattern, rule = metadata.national_prefix_for_parsing or "", metadata.national_prefix_transform_rule
    if not rule:
        return pattern
    ending = _LAST_GROUP.search(pattern)
    if ending is None or rule != rf"\{re.compile(pattern).groups}":
        return None
    return f"{pattern[: ending.start()]}(?={ending[1]}){ending[2]}"


def _kinds(metadata: "PhoneMetadata") -> Iterator[tuple[str, tuple[int, ...]]]:
    """Patterns and lengths of everything that is a valid number there."""
    for kind in (
        metadata.fixed_line,
        metadata.mobile,
        metadata.toll_free,
        metadata.premium_rate,
        metadata.shared_cost,
        metadata.personal_number,
        metadata.voip,
        metadata.pager,
        metadata.uan,
        metadata.voicemail,
    ):
        if kind is not None and kind.national_number_pattern:
            # A kind that names no lengths has any.
            yield kind.national_number_pattern, tuple(kind.possible_length) or (1,)


def _formats(metadata: "PhoneMetadata") -> Iterator[_Format]:
    for each in metadata.number_format:
        rule = each.national_prefix_formatting_rule or ""
        # A rule that holds nothing but the first digits, perhaps in brackets, asks for no others before them.
        first_only = re.fullmatch(r"\(?\\1\)?", rule) is not None
        needs = bool(rule) and not each.national_prefix_optional_when_formatting and not first_only
        begins = each.leading_digits_pattern[-1] if each.leading_digits_pattern else ""
        yield _Format(re.compile(f"(?:{begins})"), re.compile(str(each.pattern)), needs)
