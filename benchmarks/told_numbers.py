"""Numbers as people write them into chats: most are dates, prices and orders, some are personal data."""

from collections.abc import Callable, Sequence

import numpy as np

Draw = np.random.Generator

_MONTHS = ("January", "March", "April", "June", "August", "October", "December")


def number_of_no_person(draw: Draw) -> str:
    """A date, an hour, a price, an order, a version: what a search has to leave alone."""
    return _HARMLESS[int(draw.integers(len(_HARMLESS)))](draw)


def personal_datum(draw: Draw) -> str:
    """An address, a telephone number, a card, an account or a national number, with words of its language."""
    return _PERSONAL[int(draw.integers(len(_PERSONAL)))](draw)


def _digits(draw: Draw, count: int) -> str:
    return "".join(map(str, draw.integers(0, 10, count)))


def _email(draw: Draw) -> str:
    name = "".join(draw.choice(list("abcdefghiklmnoprstuvw"), draw.integers(4, 10)))
    return f"you reach me at {name}{draw.integers(100)}@mail{draw.integers(50)}.example.org thanks"


def _card(draw: Draw) -> str:
    number = "4" + _digits(draw, 14)
    whole = number + luhn_digit(number)
    return f"card {whole[:4]} {whole[4:8]} {whole[8:12]} {whole[12:]} valid 12/28"


def _iban(draw: Draw) -> str:
    inner = _digits(draw, 18)
    check = 98 - int(f"{inner}131400") % 97  # DE00 behind the number, its letters as 13 and 14
    return f"IBAN DE{check:02d} {inner[:4]} {inner[4:8]} {inner[8:12]} {inner[12:16]} {inner[16:]}"


def luhn_digit(number: str) -> str:
    """The check digit that a payment card of these first digits has."""
    doubled = [int(each) * 2 for each in number[::-2]]
    total = sum(each - 9 * (each > 9) for each in doubled) + sum(map(int, number[-2::-2]))
    return str(-total % 10)


_HARMLESS: Sequence[Callable[[Draw], str]] = (
    lambda draw: f"on 20{draw.integers(20, 30)}-{draw.integers(1, 13):02d}-{draw.integers(1, 29):02d}",
    lambda draw: f"am {draw.integers(1, 29):02d}.{draw.integers(1, 13):02d}.2026 um 14 Uhr",
    lambda draw: f"{draw.choice(_MONTHS)} {draw.integers(1, 29)}, 2026 at {draw.integers(1, 13)}:30 pm",
    lambda draw: f"it costs ${draw.integers(1, 9)},{_digits(draw, 3)}.{_digits(draw, 2)} in all",
    lambda draw: f"order {_digits(draw, 9)} has shipped",
    lambda draw: f"order no. #W{_digits(draw, 7)}",
    lambda draw: f"flight HAT{_digits(draw, 3)} at {draw.integers(10, 24)}:{draw.integers(10, 60)}",
    lambda draw: f"item {_digits(draw, 10)} for {draw.integers(5, 90)} euros",
    lambda draw: f"version 3.{draw.integers(20)}.{draw.integers(20)}, build 2026.{_digits(draw, 4)}",
    lambda draw: f"{draw.integers(2, 30)} of {draw.integers(30, 90)} people in room {_digits(draw, 3)}",
    lambda draw: f"between {_digits(draw, 4)} and {_digits(draw, 5)} a year",
    lambda draw: f"tracking 1Z{_digits(draw, 3)}AA{_digits(draw, 10)}",
)
_PERSONAL: Sequence[Callable[[Draw], str]] = (
    _email,
    _email,
    _email,
    _card,
    _iban,
    lambda draw: f"my number is 415-555-{_digits(draw, 4)}",
    lambda draw: f"call me at (212) 555-{_digits(draw, 4)} after six",
    lambda draw: f"ruf an: +49 171 {_digits(draw, 7)} abends",
    lambda draw: f"Tel. 0171/{_digits(draw, 7)}",
    lambda draw: f"je suis au 06 {_digits(draw, 2)} {_digits(draw, 2)} {_digits(draw, 2)} {_digits(draw, 2)}",
    lambda draw: f"mi móvil es 612{_digits(draw, 6)}",
    lambda draw: f"my SSN is 1{draw.integers(10, 99)}-45-{draw.integers(1000, 9999)}",
)
