"""The search for personal data without a shortcut: every text to every finder, every run to the library."""

import re

import phonenumbers

from itpo_core.logs import personal_data, personal_data_numbers, personal_data_phones
from itpo_core.logs.personal_data import Kind, Search
from itpo_core.logs.personal_data_numbers import Number, cards, ibans
from itpo_core.logs.personal_data_text import is_day, islands, plain
from itpo_core.logs.personal_data_words import WORDS, is_named

Place = tuple[str, int, int, str]


def full_search(text: str, search: Search, *, before: str = "") -> list[Place]:
    """Kind, place and value of everything that stands in the text."""
    read, said = plain(text), plain(before)
    everywhere = [(0, len(read))]
    found = [
        *(
            (Kind.EMAIL, Number(*each.span(), each[0].casefold()))
            for each in personal_data._EMAIL.finditer(read)
        ),
        *((Kind.IBAN, each) for each in ibans(read)),
        *((Kind.CARD, each) for each in cards(read, everywhere, before=said)),
        *((Kind.NATIONAL_ID, each) for each in _national(read, said)),
        *((Kind.PHONE, each) for each in _phones(read, search, before=said)),
    ]
    kept: list[Place] = []
    for kind, each in found:
        if all(each.end <= start or end <= each.start for _, start, end, _ in kept):
            kept.append((kind.value, each.start, each.end, each.value))
    return sorted(kept, key=lambda each: each[1])


def _national(text: str, before: str) -> list[Number]:
    places = islands(text, [(0, len(text))])
    return [
        number
        for begin, end in places
        for kind, free, named in personal_data_numbers._shapes()
        for shape, is_free in ((free, True), (named, False))
        for match in (shape.finditer(text, begin, end) if shape else ())
        for number in (personal_data_numbers._number(match),)
        if is_free or _named(kind.standard, text, number=number, before=before)
        if personal_data_numbers._standard(kind.standard).is_valid(number.value)
    ]


def _named(kind: str, text: str, *, number: Number, before: str) -> bool:
    """The same words, asked for in letters of any size whatever the text."""
    ahead = text[max(0, number.start - 48) : number.start]
    ahead = f"{before}\n{ahead}" if number.start < 48 else ahead
    said = re.sub(
        r"\[(?:email|phone|card|iban|national id|ip) \d+\]", " ", f"{ahead} \n {text[number.end :][:24]}"
    )
    return WORDS[kind].anywhere.search(said) is not None


def _phones(text: str, search: Search, *, before: str) -> list[Number]:
    found = []
    for run in personal_data_phones._RUN.finditer(text):
        if not is_day(run[0]):
            named = is_named("phone", text, start=run.start(), end=run.end(), before=before)
            numbers = sorted(_in_run(run[0], search, named=named), key=lambda each: each.start - each.end)
            found += [Number(run.start() + n.start, run.start() + n.end, n.value) for n in numbers]
    return found


def _in_run(run: str, search: Search, *, named: bool) -> list[Number]:
    grouping = phonenumbers.Leniency.VALID if named else phonenumbers.Leniency.EXACT_GROUPING
    tries = [("ZZ", phonenumbers.Leniency.VALID)] if "+" in run else []
    tries += [("DE", phonenumbers.Leniency.VALID)] if run.lstrip("(").startswith("00") else []
    tries += (
        [(each, grouping) for each in search.phone_regions] if named or re.search(r"[ ./()\-]", run) else []
    )
    return [
        Number(
            each.start, each.end, phonenumbers.format_number(each.number, phonenumbers.PhoneNumberFormat.E164)
        )
        for region, leniency in tries
        for each in phonenumbers.PhoneNumberMatcher(run, region, leniency=leniency)
    ]
