"""The final answer of a text in mathematical notation, and when two answers are the same."""

import re
from fractions import Fraction

BOXES = ("\\boxed", "\\fbox")
_STATED = re.compile(r"\banswer\s*:\s*(.*\S)", re.IGNORECASE)
_SPACING = re.compile(r"\\[!,;: ]|\\left(?![a-z])|\\right(?![a-z])|\$|~|\s+")
_UNITS = re.compile(r"\\?%|\^\{?\\circ\}?|\\degree")
_WORDS = re.compile(r"\\(?:text|textbf|mathrm|mbox)\{([^{}]*)\}")
_SHORT_FRACTION = re.compile(r"\\frac([0-9])([0-9])")
_THOUSANDS = re.compile(r"-?[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]+)?")
# Lengths are limited: Python refuses to read numbers of thousands of digits.
_NUMBER = re.compile(r"-?(?:[0-9]{1,400}(?:\.[0-9]{0,400})?|\.[0-9]{1,400})")
_QUOTIENT = re.compile(r"(-?)(?:\\frac\{(-?[0-9]{1,400})\}\{([0-9]{1,400})\}|([0-9]{1,400})/([0-9]{1,400}))")


def final_answer(text: str) -> str | None:
    r"""What the last \boxed{…} (or \fbox{…}) of a text holds, braces balanced; None without a whole one."""
    ends = [text.rfind(box) + len(box) for box in BOXES if box in text]
    if not ends:
        return None
    rest = text[max(ends) :].lstrip()
    if rest.startswith("{"):
        return _in_braces(rest)
    first = re.match(r"[^\s$.,]+", rest)  # the old notation without braces: \boxed 5
    return first.group() if first else None


def stated_answer(text: str) -> str | None:
    r"""The answer that a text gives: what its last \boxed{…} holds, or else the rest of the line behind the
    last "answer:", without a full stop; None where it gives none."""
    boxed = final_answer(text)
    if boxed is not None:
        return boxed
    marked = _STATED.findall(text)
    return (marked[-1].removesuffix(".").strip() or None) if marked else None


def _in_braces(text: str) -> str | None:
    depth, escaped = 0, False
    for place, character in enumerate(text):
        if escaped:
            escaped = False
            continue
        escaped = character == "\\"
        depth += (character == "{") - (character == "}")
        if depth == 0:
            return text[1:place].strip() or None
    return None


def same_answer(given: str, right: str) -> bool:
    """Whether both write the same: alike but for spacing and units, or the same number.

    Only whole numbers, decimals and fractions count as numbers; terms that are equal by algebra differ here.
    """
    first, second = _plain(given), _plain(right)
    if first == second:
        return bool(first)
    number = _number(first)
    return number is not None and number == _number(second)


def _plain(answer: str) -> str:
    text = _WORDS.sub(r"\1", answer.replace("\\dfrac", "\\frac").replace("\\tfrac", "\\frac"))
    text = _SHORT_FRACTION.sub(r"\\frac{\1}{\2}", _UNITS.sub("", _SPACING.sub("", text)))
    text = text.removesuffix(".")
    return text.replace(",", "") if _THOUSANDS.fullmatch(text) else text


def _number(text: str) -> Fraction | None:
    if _NUMBER.fullmatch(text):
        return Fraction(text.removesuffix("."))
    found = _QUOTIENT.fullmatch(text)
    if found is None:
        return None
    sign, above, below, left, right = found.groups()
    denominator = int(below or right)
    if denominator == 0:
        return None
    return (-1 if sign else 1) * Fraction(int(above or left), denominator)
