"""What is passed over quickly in a search for personal data would not have been found by a full search."""

import random
import re

import phonenumbers
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from itpo_core.logs.openai_messages import parse
from itpo_core.logs.parsed import ParsedConversation
from itpo_core.logs.personal_data import DEFAULT_REGIONS, Search, found_in
from itpo_core.logs.personal_data_masks import Masks, Walk, masked
from itpo_core.logs.personal_data_regions import may_hold
from itpo_core.logs.personal_data_text import worth_a_search
from tests.full_search import full_search
from tests.log_shapes import assistant, openai_row, user

SEARCH = Search()
# Written in the languages of the logs; digits are changed now and then, so that some are near misses.
PERSONAL = (
    "ann@example.org", "jürgen.groß@bücher.example", "+49 (0)171 234 56 78",
    "Tel. 0171/2345678",
    "(415) 555-2671", "je suis au 06 12 34 56 78", "mi móvil es 612345678", "telemóvel 912 345 678",
    "020 7946 0018",
    "मेरा मोबाइल 9876543210", "电话+86 138 0013 8000", "WhatsApp (11) 96123-4567", "0049 171 2345678",
    "4111 1111 1111 1111", "3782 822463 10005", "Karte 4222222222222222224", "4111111111111111",
    "DE89 3704 0044 0532 0130 00", "gb29nwbk60161331926819", "SSN is 123-45-6789",
    "Steuer-ID: 36574261809",
    "1 51 02 46102 043 25", "DNI 54.362.315-K", "NIE x-2482300-w", "rssmra85t10a562s", "PAN ACUPA7085R",
    "529.982.247-25", "2341 2341 2346", "आधार 234123412346", "phone ٤١٥٥٥٥٢٦٧١", "415\u2011555\u20112671",
)  # fmt: skip
OTHERS = (
    "order", "call", "phone", "card", "NIF", "$", "#", "[phone 1]", "2026-05-03", "03.05.2026 14",
    "1990-1995",
    "10am", "7th", "12:30", "1,234.50", "HAT039", "\\n", "é", "中", "²", "_", "x", "@", "٤", "17",
)  # fmt: skip
BETWEEN = (" ", "", ".", "-", "/", " (", ") ", ", ", "   ", "\n", "\u00a0")


@st.composite
def texts(draw: st.DrawFn) -> str:
    """Some of these after each other, some digits changed."""
    pieces = draw(
        st.lists(st.tuples(st.sampled_from(BETWEEN), st.sampled_from(PERSONAL + OTHERS)), max_size=8)
    )
    text = "".join(before + piece for before, piece in pieces)
    places = draw(st.lists(st.integers(0, max(0, len(text) - 1)), max_size=2))
    for place in places:
        if text[place : place + 1].isdigit():
            text = text[:place] + draw(st.sampled_from("0123456789")) + text[place + 1 :]
    return text


@settings(max_examples=60, deadline=None)
@given(text=texts(), before=st.sampled_from(["", "your phone number?", "Your SSN, DNI or PAN?", "カード"]))
def test_no_shortcut_loses_what_a_full_search_finds(text: str, before: str) -> None:
    found = [
        (each.kind.value, each.start, each.end, each.value) for each in found_in(text, SEARCH, before=before)
    ]

    expected = full_search(text, SEARCH, before=before)

    if worth_a_search(text):
        assert found == expected
    else:
        assert found == expected == []


@pytest.mark.parametrize("text", PERSONAL)
def test_each_of_them_is_found_by_both(text: str) -> None:
    found = [(each.kind.value, each.start, each.end, each.value) for each in found_in(text, SEARCH)]

    assert len(found) == 1
    assert found == full_search(text, SEARCH)


@pytest.mark.parametrize("taken", ["529.982.247-25", "4111 1111 1111 1111"])
def test_beside_what_is_taken_a_telephone_number_is_looked_for(taken: str) -> None:
    found = found_in(f"{taken}/(415) 555-2671", SEARCH)

    assert [each.end - each.start for each in found] == [len(taken), len("(415) 555-2671")]


def test_what_most_messages_hold_is_worth_no_search() -> None:
    passed = [
        "no digits",
        "it costs $1,234.50",
        "at 12:30 in room 412",
        "2 of 31 people",
        "HAT039",
        "7th, 10am",
    ]

    assert [text for text in passed if worth_a_search(text)] == []


def runs(regions: tuple[str, ...], count: int) -> list[tuple[str, str]]:
    """A region, and a number of one of them as it may be written, with some digits changed."""
    draw = random.Random(0)
    kinds = range(11)  # of numbers, as the library counts them
    examples = [phonenumbers.example_number_for_type(region, kind) for region in regions for kind in kinds]
    written: list[tuple[str, str]] = []
    while len(written) < count:
        number = phonenumbers.format_number(
            draw.choice([each for each in examples if each]), draw.randrange(3)
        )
        text = number.replace("+", draw.choice(["+", "00", "0", ""])).replace(" ", draw.choice(" -./"))
        text = re.sub(r"\d", lambda each: str(draw.randrange(10)) if draw.random() < 0.05 else each[0], text)
        text += draw.choice(["", "", " 17", "/1234"])
        if re.fullmatch(r"[+(]{0,2}\d(?:[ ./()\-]{0,3}\d){6,40}", text):
            written.append((draw.choice(regions), text))
    return written


@pytest.mark.parametrize("regions", [DEFAULT_REGIONS, ("AR", "MX", "AG", "KZ", "JP", "SM")])
def test_a_run_that_is_passed_over_holds_no_number_of_the_region(regions: tuple[str, ...]) -> None:
    passed = [(region, run) for region, run in runs(regions, 600) if not may_hold(run, region)]

    lost = [
        (region, run)
        for region, run in passed
        if any(phonenumbers.PhoneNumberMatcher(run, region, leniency=phonenumbers.Leniency.VALID))
    ]

    assert lost == []
    assert len(passed) > 50


def test_years_and_scores_are_no_numbers_anywhere() -> None:
    texts = ("1990-1995", "10-12-9-11-8", "12 34 56 78")

    assert [(run, region) for run in texts for region in DEFAULT_REGIONS if may_hold(run, region)] == []


@settings(max_examples=30, deadline=None)
@given(st.dictionaries(st.sampled_from(OTHERS), texts() | st.integers(), max_size=2))
def test_facts_are_passed_over_as_if_they_had_been_walked(facts: dict[str, object]) -> None:
    parsed = talk({"scenario": facts})

    done = masked(parsed, SEARCH).conversation.latent_json

    assert done == Walk(Masks(SEARCH, [parsed.latent_json])).encoded(parsed.latent_json)


def talk(metadata: dict[str, object]) -> ParsedConversation:
    """A conversation that is worth a search, with these facts."""
    row = openai_row(user("on 2026-05-03"), assistant("thanks"), metadata=metadata)
    (parsed,) = parse([(1, row)], outcome_column="outcome")
    assert isinstance(parsed, ParsedConversation)
    return parsed
