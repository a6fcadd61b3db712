"""Telephone numbers, as the library `phonenumbers` knows them by country."""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

from itpo_core.logs.personal_data_numbers import Number
from itpo_core.logs.personal_data_regions import may_hold
from itpo_core.logs.personal_data_text import is_day
from itpo_core.logs.personal_data_words import is_named

_RUN = re.compile(r"(?<![0-9A-Za-z_#$€£₹])[+(]{0,2}[0-9](?:[ ./()\-]{0,3}[0-9]){6,40}(?![0-9A-Za-z_])")
_LEAD = 2  # signs that may stand before the first digit of a run
_APART = re.compile(r"[ ./()\-]")
_ANYWHERE = "ZZ"  # what the library calls no country: only numbers that name theirs
_ABROAD = "DE"  # a country where 00 leads abroad


def phones(
    text: str, many: Sequence[tuple[int, int]], *, regions: Sequence[str], before: str = ""
) -> Iterator[Number]:
    """Numbers with a country code; national ones of `regions` grouped as there, or named by a word.

    Only the clusters `many` of the text are read: its digits beside each other.
    """
    for run in _runs(text, many):
        if is_day(run[0]):
            continue
        named = is_named("phone", text, start=run.start(), end=run.end(), before=before)
        for start, end, value in _numbers_in(run[0], tuple(regions), named=named):
            yield Number(run.start() + start, run.start() + end, value)


def _runs(text: str, many: Sequence[tuple[int, int]]) -> Iterator[re.Match[str]]:
    last = 0
    for start, end in many:
        # One letter more than the cluster, so that what may not follow a number is seen.
        yield from _RUN.finditer(text, max(last, start - _LEAD), end + 1)
        last = end


@lru_cache(maxsize=65_536)
def _numbers_in(run: str, regions: tuple[str, ...], *, named: bool) -> tuple[tuple[int, int, str], ...]:
    """The numbers in a run of digits; the longest where they overlap: a part may be a number elsewhere."""
    import phonenumbers

    grouping = phonenumbers.Leniency.VALID if named else phonenumbers.Leniency.EXACT_GROUPING
    tries = [(_ANYWHERE, phonenumbers.Leniency.VALID)] if "+" in run else []
    tries += [(_ABROAD, phonenumbers.Leniency.VALID)] if run.lstrip("(").startswith("00") else []
    tries += [(region, grouping) for region in regions] if named or _APART.search(run) else []
    e164 = phonenumbers.PhoneNumberFormat.E164
    found: list[tuple[int, int, str]] = []
    for region, leniency in tries:
        if may_hold(run, region):
            matches = phonenumbers.PhoneNumberMatcher(run, region, leniency=leniency)
            found += [
                (each.start, each.end, phonenumbers.format_number(each.number, e164)) for each in matches
            ]
        if any(end - start == len(run) for start, end, _ in found):
            break  # no other can be longer, and of equal ones the first is taken
    return _apart(sorted(found, key=lambda each: each[0] - each[1]))


def _apart(found: Sequence[tuple[int, int, str]]) -> tuple[tuple[int, int, str], ...]:
    kept: list[tuple[int, int, str]] = []
    for start, end, value in found:
        if all(end <= other_start or other_end <= start for other_start, other_end, _ in kept):
            kept.append((start, end, value))
    return tuple(kept)
