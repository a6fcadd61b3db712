"""Personal data in a text: where it stands and of what kind it is, by shape, check digits and words beside.

No model is asked, so names and addresses of houses are not found. What is found is never printed.
"""

import ipaddress
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from itpo_core.logs.personal_data_numbers import Number, cards, ibans, national_numbers
from itpo_core.logs.personal_data_phones import phones
from itpo_core.logs.personal_data_text import clusters, plain, worth_a_search

DEFAULT_REGIONS = ("US", "GB", "DE", "FR", "ES", "IT", "PT", "NL", "IN", "BR")
# The name begins where no other letter precedes, so that a long word is read once.
_EMAIL = re.compile(r"(?<![\w+%-])\w[\w.+%-]{0,63}@(?:[\w-]{1,63}\.)+[^\W\d_]{2,24}(?!\w)")
_IPV4 = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w]|\.\d)")
_IPV6 = re.compile(r"(?<![\w:.])[0-9A-Fa-f:]{2,39}(?:\d|[A-Fa-f]|::)(?![\w:])")


class Kind(StrEnum):
    """What was found; the word in its placeholder."""

    EMAIL = "email"
    IBAN = "iban"
    CARD = "card"
    NATIONAL_ID = "national id"
    PHONE = "phone"
    IP = "ip"


@dataclass(frozen=True, slots=True)
class Search:
    """What to look for: telephone numbers of which countries, and whether addresses of machines count."""

    phone_regions: tuple[str, ...] = DEFAULT_REGIONS
    ip_addresses: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """A stretch of a text; `value` tells equal ones from others and goes into nothing that is stored."""

    kind: Kind
    start: int
    end: int
    value: str

    def __repr__(self) -> str:
        return f"Found({self.kind.value}, {self.start}, {self.end})"


def found_in(text: str, search: Search, *, before: str = "") -> list[Found]:
    """What stands in the text, in its order, nothing twice; `before` is what had been said just before it."""
    if not worth_a_search(text, addresses=search.ip_addresses):
        return []
    read, said = plain(text), plain(before)
    many = clusters(read)
    kept = _apart(_surer(read, search, many=many, before=said), [])
    # Of those that are taken already the library need not be asked: it is the dearest of all.
    free = [span for span in many if not any(each.start <= span[0] and span[1] <= each.end for each in kept)]
    kept = _apart(_of(Kind.PHONE, phones(read, free, regions=search.phone_regions, before=said)), kept)
    return sorted(kept, key=lambda each: each.start)


def _apart(found: Iterable[Found], kept: list[Found]) -> list[Found]:
    """Of two that overlap the first is taken: the surer kinds come first, telephones last."""
    for each in found:
        if all(each.end <= other.start or other.end <= each.start for other in kept):
            kept.append(each)
    return kept


def _surer(text: str, search: Search, *, many: Sequence[tuple[int, int]], before: str) -> Iterator[Found]:
    if "@" in text:
        yield from (Found(Kind.EMAIL, *match.span(), match[0].casefold()) for match in _EMAIL.finditer(text))
    if many:
        yield from _of(Kind.IBAN, ibans(text))
        yield from _of(Kind.CARD, cards(text, many, before=before))
    yield from _of(Kind.NATIONAL_ID, national_numbers(text, many, before=before))
    if search.ip_addresses:
        yield from _of(Kind.IP, _machines(text))


def _of(kind: Kind, numbers: Iterator[Number]) -> Iterator[Found]:
    return (Found(kind, each.start, each.end, each.value) for each in numbers)


def _machines(text: str) -> Iterator[Number]:
    for shape in (_IPV4, _IPV6):
        for match in shape.finditer(text):
            try:
                address = ipaddress.ip_address(match[0])
            except ValueError:
                continue
            yield Number(*match.span(), str(address))


def unknown_regions(regions: Sequence[str]) -> list[str]:
    """Those that `phonenumbers` does not know."""
    import phonenumbers

    return [region for region in regions if region not in phonenumbers.SUPPORTED_REGIONS]
