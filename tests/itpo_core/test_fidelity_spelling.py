"""Words that look mistyped: one edit inside makes them a word that is often said."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from itpo_core.fidelity_spelling import LETTERS, LONGEST, OFTEN, is_slip, is_spelled, spelling_of

SPELLING = spelling_of({"please": 9, "color": 5, "purple": 4, "colors": 2, "hello": 1, "ma\u00f1ana": 7})
AB = st.text("ab", min_size=LETTERS, max_size=LETTERS + 2)


@pytest.mark.parametrize("word", ["plese", "pleease", "plexse", "plaese", "colour", "coolr", "manana"])
def test_a_letter_left_out_put_in_replaced_or_swapped_is_a_slip(word: str) -> None:
    assert is_slip(word, SPELLING)


@pytest.mark.parametrize(
    "word",
    [
        "please", "purple", "colors",  # said often, or said twice
        "pleases", "pleas", "xlease", "pleasx", "lpease", "pleaes",  # another beginning or ending
        "plaeze", "plxxse",  # two edits
        "purplle", "helllo",  # near a word that is not often said
        "windmill", "",
    ],
)  # fmt: skip
def test_other_words_are_none(word: str) -> None:
    assert not is_slip(word, SPELLING)


def test_what_was_just_heard_is_copied_and_no_slip() -> None:
    assert not is_slip("plese", SPELLING, heard=["plese"])


@pytest.mark.parametrize(
    ("word", "expected"),
    [("yelow", True), ("yell", False), ("12345", False), ("b2b2b2", False), ("x" * LONGEST, True),
     ("x" * (LONGEST + 1), False), ("\u0441\u043f\u0430\u0441\u0438\u0431\u043e", True)],
)  # fmt: skip
def test_words_are_judged_that_have_enough_letters_and_nothing_else(word: str, expected: bool) -> None:
    assert is_spelled(word) is expected


@given(AB, st.lists(AB, max_size=4))
def test_a_slip_is_at_distance_one_of_a_frequent_word_with_the_same_ends(word: str, often: list[str]) -> None:
    near = [each for each in often if (each[0], each[-1]) == (word[0], word[-1])]
    expected = word not in often and any(distance(word, each) == 1 for each in near)

    assert is_slip(word, spelling_of(dict.fromkeys(often, OFTEN))) == expected


def distance(first: str, second: str) -> int:
    """Damerau's distance (optimal string alignment), by its recursion."""
    if not first or not second:
        return len(first) + len(second)
    cost = int(first[-1] != second[-1])
    options = [
        distance(first[:-1], second) + 1,
        distance(first, second[:-1]) + 1,
        distance(first[:-1], second[:-1]) + cost,
    ]
    if len(first) > 1 < len(second) and first[-2:] == second[-2:][::-1]:
        options.append(distance(first[:-2], second[:-2]) + 1)
    return min(options)
